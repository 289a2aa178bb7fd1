"""The table of archive readers. A format is one file here, one line in `READERS`, one test file.

A reader lists what an archive holds without reading pictures (`scan`), then reads one recording at a time (`read`).
A format of which a file holds frames that do not depend on other files derives from `file_reader.FileReader`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from data_prep.encoding import Unit
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import RadarFrame

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Product:
    """What frames show. name: the archive's own word for it, such as "PrecipRate". unit: that its RadarFrames have."""

    name: str
    unit: Unit

    @property
    def encoding(self) -> str:
        """The default encoding of its shards."""
        return "vil255" if self.unit == "kg/m2" else "dbz8"


@dataclass(frozen=True)
class Recording:
    """The frames that one read returns: a composite file's single frame, or a whole SEVIR event."""

    path: Path
    item: int  # which event or frame of the file; 0 where a file holds one
    times: tuple[datetime, ...]  # UTC, ends of the intervals, ascending
    product: Product
    event: str | None = None  # the archive's own name of a whole event; None where runs are found by their times
    event_time: datetime | None = None  # by which a whole event falls into a split
    incomplete: str = ""  # why, where the archive's catalog says that data are missing
    member: str = ""  # the file's name inside `path`, where that is a tar

    @property
    def name(self) -> str:
        """The file without its folder."""
        return self.member or self.path.name

    @property
    def label(self) -> str:
        """The file in messages."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)


class LeftOut(NamedTuple):
    """Something the builder passes over, and why."""

    what: str
    reason: str  # short and the same for all of its kind: the account counts by it
    detail: str = ""


@dataclass(frozen=True)
class Scan:
    """What an archive holds, of one product. cadence_s: the usual time from one frame to the next."""

    product: Product
    cadence_s: int
    recordings: list[Recording]
    left_out: list[LeftOut] = field(default_factory=list)


class Each(Protocol):
    """Applies a function that reads a file to each of many, in order; a file's RadarFileError takes its result's place."""

    def __call__(  # noqa: D102 - the class says it
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Result | RadarFileError]: ...


def in_turn(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result | RadarFileError]:
    """An `Each` in this process, one after the other."""
    for item in items:
        try:
            yield function(item)
        except RadarFileError as error:
            yield RadarFileError(error.path, error.reason)  # without its traceback, which holds all that had been read


class Reader(Protocol):
    """What a format's module offers as `READER`."""

    name: str
    split_dates: tuple[str, str] | None  # the archive's standard boundaries, where it has such: (val, test)

    def scan(self, sources: Sequence[str], product: str | None = None, each: Each = in_turn) -> Scan:
        """Lists recordings in any order. sources: paths or globs. product: which, where there are several.

        each: by which files are opened; the builder's does it in guarded processes. Raises UserError where there is nothing
        to list, or several products and none is named.
        """
        ...

    def read(self, recording: Recording) -> list[RadarFrame]:
        """The recording's frames, one per time, north-up, in the product's unit. Raises RadarFileError."""
        ...


READERS = {
    "sevir": "data_prep.readers.sevir",
    "knmi": "data_prep.readers.knmi",
    "netcdf": "data_prep.readers.netcdf",
    "zarr": "data_prep.readers.zarr",
    "fmi": "data_prep.readers.fmi",
    "geotiff": "data_prep.readers.geotiff",
    "mrms": "data_prep.readers.mrms",
    "radolan": "data_prep.readers.radolan",
    "meteonet": "data_prep.readers.meteonet",
    "npy": "data_prep.readers.npy",
    "odim": "data_prep.readers.odim",
}


def reader_named(name: str) -> Reader:
    """The reader of that format. Raises UserError naming those there are, or the extra that it needs."""
    if name not in READERS:
        raise UserError(f"format {name!r} is not known; choose one of {', '.join(READERS)}")
    reader: Reader = import_module(READERS[name]).READER
    return reader
