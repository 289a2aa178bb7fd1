"""`verify`: every byte of a shards folder against what its index, its `.idx` files and its JSONs say."""

from __future__ import annotations

import argparse
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from data_prep.building.splits import Membership, leaks, too_near
from data_prep.console import Advance, positive, progress
from data_prep.errors import DataError, counted
from data_prep.shards.check import check_shard
from data_prep.shards.index import ShardMembers, Shards, Split, open_shards, read_idx
from data_prep.shards.marks import FolderMarks, event_hashes, membership_of, seconds
from data_prep.shards.parts import ShardPart, each_part, parts_of
from data_prep.shards.statistics import statistics_of
from data_prep.shards.stored import meta_at
from data_prep.shards.tally import CodeTally
from data_prep.times import iso
from data_prep.workers import InProcess, Pool, Workers, cores

EXAMPLE = "python -m data_prep verify shards/sevir"
_KEPT_PLACES = 64  # tables of contents of shards, for naming samples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `verify`."""
    parser.add_argument("folder", metavar="DIR", help="a shards folder")
    parser.add_argument("--workers", type=positive, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--quiet", action="store_true", help="print faults only")


def run(args: argparse.Namespace) -> int:
    """Prints a line per fault; 0 where there is none, else 3."""
    shards = open_shards(args.folder, whole=False)
    samples = sum(split.samples for split in shards.index.splits.values())
    workers, count = args.workers or cores(), 0
    with Workers(workers) as pool, progress("sequences", samples, quiet=args.quiet) as advance:
        for fault in faults(shards, advance, pool):
            print(fault, flush=True)
            count += 1
    if count:
        raise DataError(f"{args.folder} has {counted(count, 'fault')}; copy it again or build it anew")
    if not args.quiet:
        print(f"{args.folder} is sound: {counted(samples, 'sequence')} in {counted(len(shards.index.splits), 'split')}")
    return 0


def faults(shards: Shards, advance: Advance = lambda amount: None, pool: Pool | None = None) -> Iterator[str]:
    """A sentence for each fault found, in the index's order; sums over a split only where all of its samples could be read.

    advance: told of the sequences that are done. pool: where shards are read, one by each worker, a few frames at a time.
    Raises DataError where a worker dies other than over a sequence.
    """
    yield from _index_faults(shards)
    parts, marks = parts_of(shards), FolderMarks()
    tallies = {name: CodeTally() for name in shards.index.splits}
    unread = set[str]()
    for part, checked in each_part(check_shard, parts, pool or InProcess()):
        yield from checked.faults
        if not checked.whole:
            unread.add(part.split)
        tallies[part.split].add(checked.tally)
        marks.add(part.split, checked.marks)
        advance(part.shard.samples)
    for name, split in shards.index.splits.items():
        if name not in unread:
            yield from _split_faults(name, split, tallies[name], marks)
    yield from _folder_faults(shards, marks, _Samples(shards, parts))


def _index_faults(shards: Shards) -> Iterator[str]:
    """Where the index contradicts itself."""
    index = shards.index
    names = Counter(shard.name for split in index.splits.values() for shard in split.shards)
    yield from (f"{name}: the index names it {count} times" for name, count in names.items() if count > 1)
    for name, split in index.splits.items():
        if split.statistics.differs_from(statistics_of(split.tally, index.codes)):
            yield f"{name}: the index's statistics are not those of its code counts; `python -m data_prep stats` mends them"
    yield from (f"the index says {count} were left out: {why}" for why, count in index.left_out.items() if count < 1)
    events = Counter(event for note in index.builds for event in note.events)
    yield from (f"event {event} belongs to {count} builds of the index" for event, count in events.items() if count > 1)
    for span in (span for note in index.builds for span in note.spans):
        if _span_s(span) is None:
            yield f"a build of the index has sequences from {span[0]!r} to {span[1]!r}"


def _span_s(span: tuple[str, str]) -> tuple[int, int] | None:
    try:
        first, last = map(seconds, span)
    except ValueError:
        return None
    return (first, last) if first <= last else None


def _split_faults(name: str, split: Split, tally: CodeTally, marks: FolderMarks) -> Iterator[str]:
    """Where the index says something else than the samples together."""
    if split.code_counts != tally.code_counts:
        yield f"{name}: the index's code counts are not those of its sequences"
    elif split.tally != tally:
        yield f"{name}: the index's counts of missing and wet are not those of its sequences"
    times = marks.times_s(name)
    if times and (split.first_time, split.last_time) != tuple(iso(datetime.fromtimestamp(s, UTC)) for s in times):
        yield f"{name}: the index's first and last time are not those of its sequences"


def _folder_faults(shards: Shards, marks: FolderMarks, samples: _Samples) -> Iterator[str]:
    """What only all samples together show: repeated keys, leaks between splits, samples of no build."""
    guard, builds = timedelta(seconds=shards.index.guard_s), shards.index.builds
    for one, other in map(samples.both, marks.repeated()):
        if one.key == other.key:
            yield f"key {other.key} occurs twice: in {one.split} and {other.split}"
    for pair in marks.shared():
        yield from leaks(samples.both(pair))
    for pair in marks.near(guard):
        yield from too_near(samples.both(pair), guard)
    spans = [found for note in builds for span in note.spans if (found := _span_s(span))]
    for sample in map(
        samples.one, marks.outside(spans, event_hashes(event for note in builds for event in note.events))
    ):
        what = f"shows event {sample.event}" if sample.event is not None else f"begins at {sample.frames[0][1]}"
        yield f"{sample.split}/{sample.key} {what}, which no build of the index has"


class _Samples:
    """Looks samples up by their numbers in the folder."""

    def __init__(self, shards: Shards, parts: list[ShardPart]) -> None:
        self._shards, self._parts = shards, parts
        self._firsts = [part.first for part in parts]
        self._places = lru_cache(maxsize=_KEPT_PLACES)(self._read_places)

    def one(self, number: int) -> Membership:
        """What the sample shows, by its JSON."""
        place = bisect_right(self._firsts, number) - 1
        part, places = self._parts[place], self._places(place)
        within = number - part.first
        meta = meta_at(self._shards, part.shard, places, within)
        return membership_of(part.split, places.keys[within], meta)

    def both(self, pair: tuple[int, int]) -> tuple[Membership, Membership]:
        """Of two samples."""
        return self.one(pair[0]), self.one(pair[1])

    def _read_places(self, place: int) -> ShardMembers:
        return read_idx(self._shards.source, self._parts[place].shard)
