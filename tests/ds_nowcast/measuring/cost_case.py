"""What timing and watching cost a step: `deepspeed ... --module tests.ds_nowcast.measuring.cost_case CONFIG SHARDS`.

Steps with and without, in turns, by two engines over the same weights.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from functools import partial
from statistics import median
from typing import Any

import torch

from ds_nowcast import ranks as process_group
from ds_nowcast.config import load_config
from ds_nowcast.engine import Engine
from ds_nowcast.launch.ending import Launch, ends_as_a_rank
from ds_nowcast.measuring.clock import StepClock, TimedEngine
from ds_nowcast.measuring.feeds import TrainingSteps, one_batch
from ds_nowcast.measuring.traffic import Traffic
from ds_nowcast.stream.windows import open_for
from ds_nowcast.training.parts import samples_of, start_engine
from ds_nowcast.training.start import FirstModel

ROUNDS, STEPS = 40, 5


class NoClock:
    """Times nothing."""

    def step(self) -> Any:
        """Nor this."""
        return nullcontext()

    waiting = running = step


def run(config_path: str, shards_path: str, launch: Launch) -> int:
    """Prints the medians of wall and CPU time of a step, in turns."""
    ranks = process_group.join(launch.store, always=True)
    torch.set_num_threads(ranks.threads)
    config = load_config(config_path)
    shards, batch, traffic = open_for(shards_path, config.nowcast.data), config.batch(ranks.world), Traffic()
    timing = StepClock(ranks.device, traffic)
    takes = {}
    for name, clock, kind in (("without", NoClock(), Engine), ("with", timing, partial(TimedEngine, timing))):
        engine = start_engine(FirstModel(config), config, batch, ranks, kind)  # type: ignore[arg-type]
        codes = one_batch(samples_of(shards, config.nowcast, batch, ranks, 0))
        takes[name] = clock, TrainingSteps(config, shards, batch, ranks, engine, clock, codes)  # type: ignore[arg-type]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in takes}
    for number in range(ROUNDS):
        for name in sorted(takes, reverse=bool(number % 2)):
            clock, steps = takes[name]
            ranks.barrier()
            with traffic if name == "with" else nullcontext():
                started = time.perf_counter(), time.process_time()
                for _ in range(STEPS):
                    with clock.step():
                        steps(False)
                took = time.perf_counter() - started[0], time.process_time() - started[1]
            if number >= 2:
                seconds[name].append((took[0] / STEPS, took[1] / STEPS))
    if ranks.first:
        for column, what in enumerate(("wall", "CPU")):
            found = {name: median(pair[column] for pair in pairs) for name, pairs in seconds.items()}
            ratio = median(
                one[column] / other[column] for one, other in zip(seconds["with"], seconds["without"], strict=True)
            )
            print(
                f"{what}: {1e3 * found['without']:.2f} ms without, {1e3 * found['with']:.2f} ms with, ratio {ratio:.3f}"
            )
    return 0


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")]
    process_group.end_process(ends_as_a_rank(lambda launch: run(given[0], given[1], launch)))
