"""The table of archive readers. A format is one file here, one line in `READERS`, one test file.

A reader lists what an archive holds without reading pictures (`scan`), then reads one recording at a time (`read`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

from data_prep.encoding import Unit
from data_prep.errors import UserError
from data_prep.frames import RadarFrame


@dataclass(frozen=True)
class Recording:
    """The frames that one read returns: a composite file's single frame, or a whole SEVIR event."""

    path: Path
    item: int  # which event of the file; 0 where a file holds one
    times: tuple[datetime, ...]  # UTC, ends of the intervals, ascending
    event: str | None = None  # the archive's own name of a whole event; None where runs are found by their times
    event_time: datetime | None = None  # by which a whole event falls into a split
    incomplete: str = ""  # why, where the archive's catalog says that data are missing


class LeftOut(NamedTuple):
    """Something the builder passes over, and why."""

    what: str
    reason: str  # short and the same for all of its kind: the account counts by it
    detail: str = ""


@dataclass(frozen=True)
class Scan:
    """What an archive holds."""

    recordings: list[Recording]
    left_out: list[LeftOut] = field(default_factory=list)


class Reader(Protocol):
    """What a format's module offers as `READER`."""

    name: str
    unit: Unit  # of every RadarFrame it returns
    encoding: str  # default encoding of its shards
    cadence_s: int
    split_dates: tuple[str, str] | None  # the archive's standard boundaries, where it has such: (val, test)

    def scan(self, sources: Sequence[str]) -> Scan:
        """Lists recordings in any order. sources: paths or globs. Raises UserError where there is nothing to list."""
        ...

    def read(self, recording: Recording) -> list[RadarFrame]:
        """The recording's frames, one per time, north-up. Raises RadarFileError."""
        ...


READERS = {
    "sevir": "data_prep.readers.sevir",
    "knmi": "data_prep.readers.knmi",
}


def reader_named(name: str) -> Reader:
    """The reader of that format. Raises UserError naming those there are, or the extra that it needs."""
    if name not in READERS:
        raise UserError(f"format {name!r} is not known; choose one of {', '.join(READERS)}")
    reader: Reader = import_module(READERS[name]).READER
    return reader
