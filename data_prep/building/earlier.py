"""What a shards folder already holds, for a build that adds to it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path

from data_prep.building.layout import Cutting, Layout
from data_prep.building.sequences import Sequence
from data_prep.errors import UserError
from data_prep.shards.index import ShardsIndex
from data_prep.times import iso


class Earlier:
    """The builds behind an index, or nothing."""

    def __init__(self, index: ShardsIndex | None) -> None:
        self._index = index
        self._notes = index.builds if index else []
        self._events = {event for note in self._notes for event in note.events}
        spans = sorted(span for note in self._notes for span in note.spans)
        self._firsts = [first for first, _ in spans]
        self._until = list(accumulate((last for _, last in spans), max))

    @property
    def plans(self) -> list[str]:
        """The hash of each earlier build."""
        return [note.plan for note in self._notes]

    def check(self, settings: str, out: Path) -> None:
        """Raises UserError where the folder was built by other settings."""
        if self._notes and self._notes[-1].settings != settings:
            raise UserError(
                f"{out} was built with other settings than these, so nothing can be appended to it; give the options it was "
                "built with, or another --out"
            )

    def lacks(self, sequence: Sequence) -> bool:
        """Whether a sequence was not considered before: by its event, or by where it begins among earlier ones."""
        if sequence.event is not None:
            return sequence.event not in self._events
        start = iso(sequence.times[0])
        place = bisect_right(self._firsts, start)
        return not place or self._until[place - 1] < start

    def layout(self, cutting: Cutting, encoding: str) -> Layout | None:
        """The layout of what is there; None where nothing is."""
        index = self._index
        if index is None:
            return None
        return Layout(index.archive_shape, index.archive_pixel, index.pixel_unit, cutting, encoding)


def spans_of(sequences: Iterable[Sequence], stride: timedelta) -> list[tuple[str, str]]:
    """From the first to the last start of sequences that follow each other at about `stride`; events have none."""
    starts = sorted(sequence.times[0] for sequence in sequences if sequence.event is None)
    spans: list[tuple[datetime, datetime]] = []
    for start in starts:
        if spans and start - spans[-1][1] <= 1.5 * stride:
            spans[-1] = (spans[-1][0], start)
        else:
            spans.append((start, start))
    return [(iso(first), iso(last)) for first, last in spans]
