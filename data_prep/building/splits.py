"""Train, val and test: by time and by whole event, so that no storm lies on both sides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from data_prep.building.sequences import Sequence
from data_prep.errors import UserError
from data_prep.readers import LeftOut
from data_prep.times import iso, utc

SPLITS = ("train", "val", "test")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SplitRule(Protocol):
    """Which split a moment belongs to."""

    def of(self, time: datetime) -> str:
        """The split's name."""
        ...


@dataclass(frozen=True)
class SplitDates:
    """The boundaries: train up to and with `val`, val after it up to and with `test`, test after that."""

    val: datetime
    test: datetime

    def of(self, time: datetime) -> str:
        """The split of a moment."""
        return "train" if time <= self.val else "val" if time <= self.test else "test"


@dataclass(frozen=True)
class SplitBlocks:
    """Days (UTC) in turn: so many for train, for val, for test, and again, counted from 1970-01-01.

    Counted so, days that come to an archive later change nothing for those that were there. Midnight ends a day.
    """

    train: int
    val: int
    test: int

    def of(self, time: datetime) -> str:
        """The split of a moment."""
        day = -(-(time - _EPOCH) // timedelta(days=1)) - 1  # midnight is the end of an interval of the day before
        place = day % (self.train + self.val + self.test)
        return "train" if place < self.train else "val" if place < self.train + self.val else "test"


def parse_split_dates(text: str) -> SplitDates:
    """The boundaries of `VAL,TEST`, two ISO dates in UTC. Raises UserError on anything else."""
    try:
        val, test = (utc(datetime.fromisoformat(part.strip())) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"split dates {text!r} are not two ISO dates; give VAL,TEST as in 2019-01-01,2019-06-01"
        ) from None
    if val > test:
        raise UserError(f"split dates {text!r} are the wrong way round; give the end of train, then of val")
    return SplitDates(val, test)


def parse_split_blocks(text: str) -> SplitBlocks:
    """The blocks of `TRAIN,VAL,TEST`, numbers of days. Raises UserError on anything else."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise UserError(f"split blocks {text!r} are not three numbers of days; give TRAIN,VAL,TEST as in 14,3,3")
    blocks = SplitBlocks(*map(int, parts))
    if blocks.train < 1:
        raise UserError(f"split blocks {text!r} leave no day for train; give TRAIN,VAL,TEST as in 14,3,3")
    return blocks


def check_split_name(name: str) -> str:
    """The name, if a folder can be called so. Raises UserError."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"split name {name!r} cannot be used; give letters, digits, _ and - only, such as train")
    return name


def assign(
    sequences: Iterable[Sequence], rule: SplitRule, guard: timedelta = timedelta(0)
) -> tuple[dict[str, list[Sequence]], list[LeftOut]]:
    """The sequences of each split, and those left out because their frames lie on both sides of a boundary.

    An event goes as a whole by its `event_time`. guard: so far apart are frames of two splits at least; the sequences after
    a boundary make way, and events count by their frames then, as all others do.
    """
    splits: dict[str, list[Sequence]] = {name: [] for name in SPLITS}
    left_out = []
    for sequence in sequences:
        by_event = sequence.event_time is not None and not guard
        moments = [sequence.event_time] if by_event and sequence.event_time else sequence.times
        names = {rule.of(time) for time in moments}
        detail = f"{iso(sequence.times[0])} to {iso(sequence.times[-1])}"
        if len(names) > 1:
            left_out.append(LeftOut(sequence.key, "crosses a split boundary", detail))
        elif guard and rule.of(sequence.times[0] - guard) not in names:
            left_out.append(LeftOut(sequence.key, "within the guard interval after a split boundary", detail))
        else:
            splits[names.pop()].append(sequence)
    return splits, left_out


class Membership(NamedTuple):
    """What a sample shows, for `leaks`: its event, or else each frame as (source, time)."""

    split: str
    key: str
    event: str | None
    frames: tuple[tuple[str, str], ...]


def leaks(samples: Iterable[Membership]) -> list[str]:
    """A sentence for each sample that shows an event or a frame which another split shows too."""
    owners: dict[object, Membership] = {}
    found = []
    for sample in samples:
        shown: Iterable[object] = [sample.event] if sample.event is not None else sample.frames
        for part in shown:
            other = owners.setdefault(part, sample)
            if other.split != sample.split:
                what = f"event {part}" if sample.event is not None else f"a frame of {sample.frames[0][0]}"
                found.append(f"{sample.split}/{sample.key} and {other.split}/{other.key} both show {what}")
                break
    return found


def too_near(samples: Iterable[Membership], guard: timedelta) -> list[str]:
    """A sentence for each sample that begins less than `guard` after another split's last frame before it."""
    found = []
    latest: dict[str, tuple[datetime, str]] = {}  # of each split: its last frame so far, and whose
    ordered = sorted(samples, key=lambda sample: sample.frames[0][1])
    for sample in ordered if guard else []:
        first, last = (datetime.fromisoformat(sample.frames[place][1]) for place in (0, -1))
        for split, (end, key) in latest.items():
            if split != sample.split and first < end + guard:
                found.append(f"{sample.split}/{sample.key} begins {first - end} after {split}/{key}, not {guard}")
                break
        latest[sample.split] = max(latest.get(sample.split, (last, sample.key)), (last, sample.key))
    return found
