"""What a training would take at N ranks: hours, what limits it, and how many shards it needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ds_nowcast.projecting.projection import Band, Batch, Figures, Limit, Mode, Step, batch_at, step


@dataclass(frozen=True)
class Task:
    """What is trained."""

    samples: float  # to see until the end
    base: Batch  # of a rank in weak scaling
    total: int  # samples of a step in strong scaling
    windows: int  # of an epoch
    per_shard: float  # windows in a shard


@dataclass(frozen=True)
class Outlook:
    """A projection of one mode to one number of ranks. `likely` is None where the ranks outnumber a step's samples."""

    mode: Mode
    ranks: int
    task: Task
    band: Band
    likely: Step | None
    best: Step | None
    worst: Step | None
    alone: Step

    def hours(self, of: Step | None) -> float | None:
        """Of the whole training."""
        return None if of is None else self.task.samples / of.samples_per_s / 3600.0

    @property
    def efficiency(self) -> float | None:
        """Samples a second against as many times one rank's."""
        return None if self.likely is None else self.likely.samples_per_s / (self.ranks * self.alone.samples_per_s)

    @property
    def limit(self) -> Limit:
        """What limits it; the batch where a step has fewer samples than ranks, or more than an epoch has windows."""
        if self.likely is None or self.likely.samples > self.task.windows:
            return "batch"
        return self.likely.limit

    @property
    def shards_to_read(self) -> int | None:
        """Files that are read at once, each giving what one file can. None where that is not known."""
        figures = self.band.likely
        if self.likely is None or math.isinf(figures.file_bytes_per_s):
            return None
        return math.ceil(self.likely.samples_per_s * figures.stored_bytes / figures.file_bytes_per_s)

    @property
    def shards_to_mix(self) -> int | None:
        """Of a group of the shuffle, so that a step comes out of one; at most what an epoch has."""
        if self.likely is None:
            return None
        return math.ceil(min(self.likely.samples, self.task.windows) / self.task.per_shard)

    @property
    def shards(self) -> int | None:
        """At least so many, in a group of the shuffle; None where nothing is known of them."""
        known = [number for number in (self.shards_to_read, self.shards_to_mix) if number is not None]
        return max(known, default=None)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        likely = self.likely
        return {
            "mode": self.mode,
            "ranks": self.ranks,
            "samples_per_step": None if likely is None else likely.samples,
            "samples_per_s": None if likely is None else likely.samples_per_s,
            "efficiency": self.efficiency,
            "split_s": None if likely is None else split(likely),
            "hours": self.hours(likely),
            "hours_best": self.hours(self.best),
            "hours_worst": self.hours(self.worst),
            "steps": None if likely is None else self.task.samples / likely.samples,
            "limit": self.limit,
            "shards": self.shards,
            "shards_to_read": self.shards_to_read,
            "shards_to_mix": self.shards_to_mix,
        }


def split(of: Step) -> dict[str, float]:
    """A step's seconds by what they are spent on."""
    return {
        "compute": of.compute,
        "communication": of.communication,
        "data_wait": of.data_wait,
        "optimizer": of.optimizer,
        "other": of.other,
    }


def outlook(mode: Mode, ranks: int, task: Task, band: Band) -> Outlook:
    """One projection."""
    batch, one = batch_at(mode, ranks, task.base, task.total), batch_at(mode, 1, task.base, task.total)
    assert one is not None

    def at(figures: Figures) -> Step | None:
        return None if batch is None else step(figures, ranks, batch)

    alone = step(band.likely, 1, one)
    return Outlook(mode, ranks, task, band, at(band.likely), at(band.best), at(band.worst), alone)


def outlooks(modes: Sequence[Mode], ranks: Sequence[int], task: Task, band: Band) -> list[Outlook]:
    """All of them."""
    return [outlook(mode, number, task, band) for mode in modes for number in ranks]
