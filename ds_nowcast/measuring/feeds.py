"""Steps as a training makes them, with samples from the stream or ever the same, or nothing but the stream."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import repeat

from data_prep.shards.index import Shards
from ds_nowcast.config import Batch, RunConfig
from ds_nowcast.engine import Engine
from ds_nowcast.measuring.clock import Split, StepClock
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.pipeline import CodeStream, StepCodes
from ds_nowcast.training.damage import note_damage
from ds_nowcast.training.step import TrainingStep

FEEDS = ("full", "synthetic", "stream")
FEWEST = 3  # steps that are measured however little time there is

# Makes a step, or, where all ranks have agreed that this one wants no more, none; returns whether it did.
Make = Callable[[bool], bool]


def training_steps(
    config: RunConfig, shards: Shards, batch: Batch, ranks: Ranks, engine: Engine, clock: StepClock,
    codes: Iterator[StepCodes],
) -> Make:  # fmt: skip
    """The steps of `ds_nowcast.train`, without what it does now and then. Raises as they do, on all ranks."""
    keys = config.nowcast
    step = TrainingStep(
        engine, keys, ModelSpace(shards.index.codes, keys.data.input_frames, ranks.device), batch, ranks
    )
    bad: dict[str, str] = {}

    def make(enough: bool) -> bool:
        with clock.waiting():
            samples = next(codes)
        codes_BTHW, valid = step.prepare(samples)
        totals = ranks.sum([valid, len(samples.bad), enough, 0])  # as many numbers as a training's
        if totals[2]:
            return False
        if totals[1]:
            note_damage(bad, samples.bad, keys.data.max_bad_samples, shards.source.location, ranks, _warn(ranks))
        with clock.running():
            step.run(samples, codes_BTHW, int(totals[0]))
        return True

    return make


def _warn(ranks: Ranks) -> Callable[[str], None]:
    return lambda text: print(f"warning: {text}", file=sys.stderr) if ranks.first else None


def stream_steps(stream: CodeStream, ranks: Ranks, clock: StepClock, *, ends_early: bool) -> Make:
    """Batches taken from the stream, copied to the device and dropped. ends_early: whether ranks may want to end."""

    def make(enough: bool) -> bool:
        if ends_early and ranks.any(enough):
            return False
        with clock.waiting():
            samples = next(stream)
        samples.codes_BTHW.to(ranks.device, non_blocking=True)
        return True

    return make


def one_batch(stream: CodeStream) -> Iterator[StepCodes]:
    """The stream's first batch, in memory of its own, again and again. Ends the stream."""
    with stream:
        first = next(stream)
        codes_BTHW = first.codes_BTHW.clone()
    if first.codes_BTHW.is_pinned():
        codes_BTHW = codes_BTHW.pin_memory()
    return repeat(StepCodes(codes_BTHW, first.samples))


def timed(make: Make, clock: StepClock, steps: int, seconds: float | None) -> list[Split]:
    """So many steps, or as many as are done in that time, at least a few; every rank the same number."""
    splits, started = list[Split](), time.monotonic()
    while len(splits) < steps:
        enough = seconds is not None and len(splits) >= FEWEST and time.monotonic() - started >= seconds
        with clock.step():
            made = make(enough)
        if not made:
            break
        splits.append(clock.split)
    return splits
