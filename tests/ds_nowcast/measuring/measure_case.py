"""Run on ranks by test_measure: several measurements in one launch, then whether timing changes what is computed.

Arguments: a JSON file of {OUT file: the command's other arguments}; a file for whether weights were the same.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from ds_nowcast import measure
from ds_nowcast import ranks as process_group
from ds_nowcast.config import load_config
from ds_nowcast.engine import Engine
from ds_nowcast.launch.ending import Launch, ends_as_a_rank
from ds_nowcast.measuring.clock import StepClock, TimedEngine
from ds_nowcast.measuring.feeds import TrainingSteps, timed
from ds_nowcast.measuring.traffic import Traffic
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.windows import open_for
from ds_nowcast.training.parts import samples_of, start_engine
from ds_nowcast.training.start import FirstModel


def run(measurements: dict[str, list[str]], same: Path, launch: Launch) -> int:
    """Each as the command would run it, but in one process group. Returns the highest exit code."""
    ranks = process_group.join(launch.store, always=True)
    process_group.join = lambda *_, **__: ranks
    measure.ends_as_a_rank = lambda run: run(launch)  # type: ignore[attr-defined]
    codes = [measure.main([*arguments, "--out", out]) for out, arguments in measurements.items()]
    arguments = list(measurements.values())[-1]
    plain, watched = (weights_after(arguments, ranks, watched=watched) for watched in (False, True))
    if ranks.first:
        equal = [torch.equal(plain[name], watched[name]) for name in plain]
        same.write_text(json.dumps(equal))
    ranks.barrier()
    return max(codes)


def weights_after(arguments: list[str], ranks: Ranks, *, watched: bool, steps: int = 4) -> dict[str, torch.Tensor]:
    """Weights of the first rank after steps that were timed and watched, or not."""
    config = load_config(arguments[1], ["csv_monitor.enabled=false"])
    shards, batch, traffic = open_for(arguments[3], config.nowcast.data), config.batch(ranks.world), Traffic()
    clock = StepClock(ranks.device, traffic)
    kind = partial(TimedEngine, clock) if watched else Engine
    engine = start_engine(FirstModel(config), config, batch, ranks, kind)
    with samples_of(shards, config.nowcast, batch, ranks, 0) as stream:
        make = TrainingSteps(config, shards, batch, ranks, engine, clock, stream)
        if watched:
            with traffic:
                timed(make, clock, steps, None)
        else:
            deque(islice(iter(lambda: make(False), False), steps), 0)
    return dict(engine.weights())


if __name__ == "__main__":
    first, second = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")][:2]
    code = ends_as_a_rank(lambda launch: run(json.loads(Path(first).read_text()), Path(second), launch))
    process_group.end_process(code)
