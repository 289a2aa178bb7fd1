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


class TrainingSteps:
    """The steps of `ds_nowcast.train`, without what it does now and then. They raise as those do, on all ranks."""

    def __init__(
        self, config: RunConfig, shards: Shards, batch: Batch, ranks: Ranks, engine: Engine, clock: StepClock,
        codes: Iterator[StepCodes],
    ) -> None:  # fmt: skip
        """codes: this rank's samples, step by step."""
        keys = config.nowcast
        space = ModelSpace(shards.index.codes, keys.data.input_frames, ranks.device)
        self._step = TrainingStep(engine, keys, space, batch, ranks)
        self._codes, self._clock, self._ranks = codes, clock, ranks
        self._most_bad, self._where, self._bad = keys.data.max_bad_samples, shards.source.location, dict[str, str]()
        self.idle = 0  # steps without an update: gradients overflowed, or no pixel was valid

    def __call__(self, enough: bool) -> bool:
        """See `Make`."""
        with self._clock.waiting():
            samples = next(self._codes)
        codes_BTHW, valid = self._step.prepare(samples)
        totals = self._ranks.sum([valid, len(samples.bad), enough, 0])  # as many numbers as a training's
        if totals[2]:
            return False
        if totals[1]:
            note_damage(self._bad, samples.bad, self._most_bad, self._where, self._ranks, self._warn)
        with self._clock.running():
            stepped = self._step.run(samples, codes_BTHW, int(totals[0])).stepped
        self.idle += stepped is None or not stepped.applied
        return True

    def _warn(self, text: str) -> None:
        if self._ranks.first:
            print(f"warning: {text}", file=sys.stderr)


def stream_steps(stream: Iterator[StepCodes], ranks: Ranks, clock: StepClock, *, ends_early: bool) -> Make:
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
