"""What a shards folder holds: from its index, and from the JSONs of a few hundred samples all over it."""

from __future__ import annotations

from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any, NamedTuple

from data_prep.errors import DataError
from data_prep.frames import Grid
from data_prep.inspection.places import Places, places_of
from data_prep.inspection.samples import evenly_chosen
from data_prep.shards.index import Shard, Shards, read_idx
from data_prep.shards.stored import meta_at
from data_prep.times import utc

SAMPLES = 400  # looked at, of all splits together
_AT_ONCE = 16  # shards that are asked for, for those that lie far away


class Sample(NamedTuple):
    """What a sample's JSON says. number: in its split."""

    number: int
    key: str
    times: tuple[datetime, ...]
    grid: Grid
    probability: float


class Hole(NamedTuple):
    """Between the last frame before it and the first after it, longer than the cadence."""

    after: datetime
    before: datetime

    @property
    def length(self) -> timedelta:
        """How long."""
        return self.before - self.after


@dataclass(frozen=True)
class SplitView:
    """What some of a split's samples say. all_seen: whether these are all. holes: between them, the longest first."""

    samples: list[Sample]
    all_seen: bool
    holes: list[Hole]


@dataclass(frozen=True)
class FolderView:
    """A shards folder and what was seen of its splits."""

    shards: Shards
    splits: dict[str, SplitView]

    @property
    def grids(self) -> list[Grid]:
        """Of the samples that were looked at, distinct."""
        return list(dict.fromkeys(sample.grid for split in self.splits.values() for sample in split.samples))

    @property
    def places(self) -> Places:
        """Where the samples are that were looked at."""
        return places_of(self.grids)


def look_at_folder(shards: Shards, most: int = SAMPLES) -> FolderView:
    """Reads the JSONs of at most `most` samples, spread over each split. Raises DataError where one is damaged."""
    each, cadence = max(most // len(shards.index.splits), 1), timedelta(seconds=shards.index.cadence_s)
    splits = dict[str, SplitView]()
    for name, split in shards.index.splits.items():
        samples = samples_at(shards, name, evenly_chosen(split.samples, each))
        splits[name] = SplitView(samples, len(samples) == split.samples, _holes(samples, cadence))
    return FolderView(shards, splits)


def samples_at(shards: Shards, split: str, numbers: list[int]) -> list[Sample]:
    """The samples of those ascending numbers; shards are asked for several at a time. Raises DataError."""
    of_shards = groupby(((number, shard_with(shards, split, number)) for number in numbers), key=itemgetter(1))
    jobs = [(shard, first, [number for number, _ in some]) for (shard, first), some in of_shards]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return [sample for found in threads.map(lambda job: _of_shard(shards, *job), jobs) for sample in found]


def shard_with(shards: Shards, split: str, number: int) -> tuple[Shard, int]:
    """The shard that holds a split's sample of that number, and the number of its first."""
    in_split = shards.split(split).shards
    lasts = list(accumulate(shard.samples for shard in in_split))
    place = bisect_right(lasts, number)
    return in_split[place], lasts[place] - in_split[place].samples


def _of_shard(shards: Shards, shard: Shard, first: int, numbers: list[int]) -> list[Sample]:
    places = read_idx(shards.source, shard)
    found = []
    for number in numbers:
        meta = meta_at(shards, shard, places, number - first)
        try:
            found.append(_sample(number, meta))
        except (LookupError, TypeError, ValueError) as error:
            key = places.keys[number - first]
            raise DataError(f"{shard.name}: the JSON of {key} is damaged: {error!r}") from None
    return found


def _sample(number: int, meta: dict[str, Any]) -> Sample:
    times = tuple(utc(datetime.fromisoformat(time)) for time in meta["times"])
    if not times:
        raise ValueError("no times")
    return Sample(number, str(meta["key"]), times, Grid.from_dict(meta["grid"]), float(meta["probability"]))


def _holes(samples: list[Sample], cadence: timedelta) -> list[Hole]:
    spans = sorted((sample.times[0], sample.times[-1]) for sample in samples)
    until, holes = spans[0][1], list[Hole]()
    for first, last in spans:
        if first - until > 1.5 * cadence:
            holes.append(Hole(until, first))
        until = max(until, last)
    return sorted(holes, key=lambda hole: hole.length, reverse=True)
