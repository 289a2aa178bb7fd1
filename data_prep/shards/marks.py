"""What must be known of all samples at once to find repeated keys and leaks, in few bytes for each.

A folder may hold millions of samples. Of each are kept hashes of 8 bytes of its key and of what it shows (its event, or
else each frame), its first and last time, and its number in the folder: 29 bytes, and 12 for each event or frame that no
earlier sample of its split shows. Whatever two hashes say is then looked up in the two samples' JSONs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.building.splits import Membership
from data_prep.times import utc

Pair = tuple[int, int]  # numbers of two samples
_MERGED_AT = 1 << 18


class Marks(NamedTuple):
    """Of some samples of one split, equally long arrays; then what they show, and the number of the first that does."""

    numbers: NDArray[np.uint32]
    keys: NDArray[np.uint64]
    first_s: NDArray[np.int64]  # since 1970, UTC
    last_s: NDArray[np.int64]
    by_event: NDArray[np.bool_]
    shown: NDArray[np.uint64]
    shown_by: NDArray[np.uint32]


def membership_of(split: str, key: str, meta: dict[str, Any]) -> Membership:
    """What a sample's JSON says it shows. Raises KeyError, TypeError or ValueError where it is damaged."""
    times, sources = meta["times"], meta["sources"]
    if not times or not sources:
        raise ValueError("it has no times or no sources")
    each = sources * len(times) if len(sources) == 1 else sources[:: max(len(sources) // len(times), 1)]
    sample = Membership(split, key, meta["event"], tuple(zip(each, times, strict=True)))
    _mark(0, sample)  # that times are times
    return sample


def marks_of(samples: Iterable[tuple[int, Membership]]) -> Marks:
    """The marks of samples of one split, given with their numbers."""
    rows, shown = list[tuple[int, int, int, int, bool]](), dict[int, int]()
    for number, sample in samples:
        rows.append(_mark(number, sample))
        for one in event_hashes([sample.event]) if sample.event is not None else map(_hash, sample.frames):
            shown.setdefault(int(one), number)
    return Marks(
        numbers=np.array([row[0] for row in rows], np.uint32),
        keys=np.array([row[1] for row in rows], np.uint64),
        first_s=np.array([row[2] for row in rows], np.int64),
        last_s=np.array([row[3] for row in rows], np.int64),
        by_event=np.array([row[4] for row in rows], np.bool_),
        shown=np.array(list(shown), np.uint64),
        shown_by=np.array(list(shown.values()), np.uint32),
    )


def event_hashes(events: Iterable[str]) -> NDArray[np.uint64]:
    """As `Marks.shown` has them."""
    return np.array([_hash(("event", event, "")) for event in events], np.uint64)


def seconds(time: str) -> int:
    """Since 1970 of a time as JSONs have it. Raises ValueError, TypeError."""
    return round(utc(datetime.fromisoformat(time)).timestamp())


def _mark(number: int, sample: Membership) -> tuple[int, int, int, int, bool]:
    first, last = seconds(sample.frames[0][1]), seconds(sample.frames[-1][1])
    return number, _hash(sample.key), first, last, sample.event is not None


def _hash(what: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(what).encode(), digest_size=8).digest(), "little")


class FolderMarks:
    """Of all samples, added split by split."""

    def __init__(self) -> None:
        self._splits: dict[str, _SplitMarks] = {}

    def add(self, split: str, marks: Marks) -> None:
        """Takes in the marks of some samples."""
        self._splits.setdefault(split, _SplitMarks()).add(marks)

    def _of_all(self, *columns: str) -> list[NDArray[Any]]:
        """Columns of all splits after each other."""
        parts = [marks_of([]), *(split.marks() for split in self._splits.values())]
        return [np.concatenate([getattr(part, column) for part in parts]) for column in columns]

    def times_s(self, split: str) -> tuple[int, int] | None:
        """The first and the last time of a split's samples; None where it has none."""
        marks = self._splits[split].marks() if split in self._splits else None
        return (int(marks.first_s.min()), int(marks.last_s.max())) if marks and len(marks.numbers) else None

    def repeated(self) -> Iterator[Pair]:
        """Samples whose keys are equal, next to each other."""
        keys, numbers = self._of_all("keys", "numbers")
        order = np.argsort(keys, kind="stable")
        keys, numbers = keys[order], numbers[order]
        for place in np.flatnonzero(keys[1:] == keys[:-1]):
            yield int(numbers[place]), int(numbers[place + 1])

    def shared(self) -> Iterator[Pair]:
        """Samples of two splits that show the same: of those of the later split each that is the first there to show it."""
        for one, other in combinations([split.marks() for split in self._splits.values()], 2):
            _, in_one, in_other = np.intersect1d(one.shown, other.shown, assume_unique=True, return_indices=True)
            later, places = np.unique(other.shown_by[in_other], return_index=True)
            yield from zip(one.shown_by[in_one][places].tolist(), later.tolist(), strict=True)

    def near(self, guard: timedelta) -> Iterator[Pair]:
        """For each sample that begins less than `guard` after another split's last frame before it: that one, and it."""
        if not guard:
            return
        counts = [len(one.marks().numbers) for one in self._splits.values()]
        numbers, first_s, last_s = self._of_all("numbers", "first_s", "last_s")
        order = np.argsort(first_s, kind="stable")
        split = np.repeat(np.arange(len(counts), dtype=np.uint16), counts)[order]
        numbers, first_s, last_s = numbers[order], first_s[order], last_s[order]
        told = np.zeros(len(order), bool)
        for which in range(len(self._splits)):
            latest = _latest_before(np.where(split == which, last_s, np.iinfo(np.int64).min))
            after = (split != which) & (latest >= 0) & ~told
            after &= first_s < last_s[latest] + round(guard.total_seconds())
            told |= after
            yield from zip(numbers[latest[after]].tolist(), numbers[after].tolist(), strict=True)

    def outside(self, spans: Iterable[tuple[int, int]], events: NDArray[np.uint64]) -> Iterator[int]:
        """Samples that begin in none of the spans (seconds), or whose event is none of the events (hashes)."""
        ordered = np.array(sorted(spans), np.int64).reshape(-1, 2)
        until = np.maximum.accumulate(ordered[:, 1]) if len(ordered) else ordered[:, 1]
        for split in self._splits.values():
            marks = split.marks()
            strange = marks.shown_by[~np.isin(marks.shown, events)]
            whole = marks.numbers[marks.by_event]
            yield from np.intersect1d(strange, whole).tolist()
            runs = ~marks.by_event
            place = np.searchsorted(ordered[:, 0], marks.first_s[runs], "right") - 1
            within = place >= 0
            within[within] &= marks.first_s[runs][within] <= until[place[within]]
            yield from marks.numbers[runs][~within].tolist()


def _latest_before(last_s: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where, before each place, the greatest value is that is not the least there can be; -1 where there is none."""
    if not len(last_s):
        return last_s
    so_far = np.maximum.accumulate(last_s)
    new = (last_s == so_far) & (last_s > np.iinfo(np.int64).min)
    latest = np.maximum.accumulate(np.where(new, np.arange(len(last_s)), -1))
    return np.concatenate([[-1], latest[:-1]])


def _together(parts: Sequence[Marks]) -> Marks:
    return Marks._make(np.concatenate(column) for column in zip(*parts, strict=True))


class _SplitMarks:
    """What was added, put together now and then, so that what many samples show is kept once."""

    def __init__(self) -> None:
        self._parts: list[Marks] = []
        self._waiting, self._kept = 0, 0

    def add(self, marks: Marks) -> None:
        self._parts.append(marks)
        self._waiting += len(marks.shown) + len(marks.numbers)
        if self._waiting > max(self._kept, _MERGED_AT):
            merged = self.marks()
            self._waiting, self._kept = 0, len(merged.shown) + len(merged.numbers)

    def marks(self) -> Marks:
        if len(self._parts) > 1:
            whole = _together(self._parts)
            shown, first = np.unique(whole.shown, return_index=True)
            self._parts = [whole._replace(shown=shown, shown_by=whole.shown_by[first])]
        return self._parts[0]
