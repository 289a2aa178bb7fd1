"""Training, validation and test data, parted by time and by whole events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from data_prep.building.sequences import Sequence, iso, utc
from data_prep.errors import UserError
from data_prep.readers import LeftOut


@dataclass(frozen=True)
class SplitDates:
    """The boundaries: train up to and with `val`, val after it up to and with `test`, test after that."""

    val: datetime
    test: datetime

    def of(self, time: datetime) -> str:
        """The split of a moment."""
        return "train" if time <= self.val else "val" if time <= self.test else "test"


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


def check_split_name(name: str) -> str:
    """The name, if a folder can be called so. Raises UserError."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"split name {name!r} cannot be used; give letters, digits, _ and - only, such as train")
    return name


def assign(sequences: Iterable[Sequence], dates: SplitDates) -> tuple[dict[str, list[Sequence]], list[LeftOut]]:
    """The sequences of each split, and those left out because their frames lie on both sides of a boundary.

    An event goes as a whole by its `event_time`.
    """
    splits: dict[str, list[Sequence]] = {"train": [], "val": [], "test": []}
    left_out = []
    for sequence in sequences:
        moments = [sequence.event_time] if sequence.event_time else sequence.times
        names = {dates.of(time) for time in moments}
        if len(names) > 1:
            detail = f"{iso(moments[0])} to {iso(moments[-1])}"
            left_out.append(LeftOut(sequence.key, "crosses a split boundary", detail))
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
