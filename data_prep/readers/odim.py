"""ODIM_H5 composites, OPERA's and those of many weather services: reflectivity, rain rates and rain sums in HDF5.

`datasetN/dataM/data` (rows, columns), row 0 in the north, of any type of number; value = gain * raw + offset, with raw
values for "never looked" (nodata) and "looked, saw nothing" (undetect, which is dry). What describes it stands in the
groups `what` and `where` beside it or of a level above. The time is the end, enddate and endtime, or, where a file has
none, the nominal date and time. `where` gives the outer corners of the corner pixels.
(EUMETNET OPERA information model for HDF5, ODIM_H5 2.3, January 2019: table 1 nominal time, table 5 `where` of
geographical images, table 14 `what` of datasets, table 17 quantities; 2.0 to 2.4 agree in these.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from data_prep.encoding import Unit
from data_prep.errors import RadarFileError
from data_prep.frames import Grid, RadarFrame, unit_of, wrapped
from data_prep.projection import corner_of, metric_proj
from data_prep.readers import Product, Reader
from data_prep.readers.coding import Coding
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import RadarFile
from data_prep.readers.hdf5 import dataset, find, member, names, numbers, open_hdf5, text
from data_prep.readers.hdf5_pictures import pixels

QUANTITIES: dict[str, Unit] = {"DBZH": "dBZ", "TH": "dBZ", "RATE": "mm/h", "ACRR": "mm/h"}  # ACRR: a sum in mm
OBJECTS = ("COMP", "IMAGE")
MOST_PICTURES = 1024  # of one file; OPERA's have two
_DATASET, _DATA = re.compile(r"dataset([1-9]\d{0,5})"), re.compile(r"data([1-9]\d{0,5})")
_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d) (\d\d)(\d\d)(\d\d)")


@dataclass(frozen=True)
class Picture:
    """One `data` group of a file. start: of the interval, None where the file says none. kind: product and parameter."""

    path: str
    quantity: str
    kind: str
    start: datetime | None
    end: datetime

    @property
    def interval_s(self) -> int | None:
        """Of a sum, seconds; None where its times do not say."""
        if self.quantity != "ACRR" or self.start is None or self.start >= self.end:
            return None
        return round((self.end - self.start).total_seconds())


class OdimReader(FileReader):
    """Composites and images of ODIM_H5 2.0 to 2.4: DBZH and TH (dBZ), RATE (mm/h), ACRR (mm, becomes mm/h)."""

    name = "odim"
    patterns = ("*.h5", "*.hdf", "*.hdf5")
    modules = (("h5py", "hdf5"), ("pyproj", "geo"))

    def contents(self, file: RadarFile) -> list[Entry]:
        """One entry per picture of a known quantity; quality fields and other quantities are passed over."""
        with open_hdf5(file) as opened:
            pictures = list(_pictures(opened))
        known = [(item, one) for item, one in enumerate(pictures) if one.quantity in QUANTITIES]
        if not known:
            held = ", ".join(sorted({one.quantity for one in pictures})) or "no dataset1/data1"
            raise RadarFileError(file.name, f"holds {held}, this reader takes {', '.join(QUANTITIES)}")
        often = Counter((one.quantity, one.end) for _, one in known)
        return [
            Entry(
                one.end,
                Product(
                    f"{one.quantity} {one.kind}" if often[one.quantity, one.end] > 1 else one.quantity,
                    QUANTITIES[one.quantity],
                ),
                item,
                one.interval_s,
            )
            for item, one in known
        ]

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """The picture of that number."""
        with open_hdf5(file) as opened:
            pictures = list(_pictures(opened))
            if entry.item >= len(pictures) or pictures[entry.item].quantity not in QUANTITIES:
                raise RadarFileError(file.name, f"has no picture {entry.item + 1} of a known quantity any more")
            picture = pictures[entry.item]
            grid = _grid(opened, file, picture.path)
            coding = _coding(opened, picture)
            stored, codes = pixels(dataset(opened, f"{picture.path}/data", grid.shape, np.number), coding)
        return RadarFrame(stored, coding.unit, picture.end, grid, codes)


def _pictures(file: Any) -> Iterator[Picture]:
    kind = text(member(file, "what"), "object")
    if kind not in OBJECTS:
        raise RadarFileError(file.filename, f"holds an object {kind}, this reader takes {' or '.join(OBJECTS)}")
    paths = _numbered(file, file, _DATASET)
    places = (f"{path}/{name}" for path in paths for name in _numbered(file, member(file, path), _DATA))
    for number, place in enumerate(places):
        if number == MOST_PICTURES:
            raise RadarFileError(file.filename, f"holds more than {MOST_PICTURES} pictures")
        yield _picture(file, place)


def _numbered(file: Any, group: Any, pattern: re.Pattern[str]) -> list[str]:
    if not hasattr(group, "keys"):
        raise RadarFileError(file.filename, f"{group.name} is not a group")
    found = [match for match in map(pattern.fullmatch, names(group)) if match]
    return [match[0] for match in sorted(found, key=lambda match: int(match[1]))]


def _picture(file: Any, path: str) -> Picture:
    what = _Levels(file, path, "what")
    start, end = (_time(what, f"{which}date", f"{which}time") for which in ("start", "end"))
    if end is None:
        end = _time(what, "date", "time")
    if end is None:
        raise RadarFileError(file.filename, "says no time: neither enddate and endtime nor date and time")
    kind = " ".join(what.word(name) for name in ("product", "prodpar") if what.node(name) is not None)
    return Picture(path, what.text("quantity"), kind or path, start, end)


class _Levels:
    """The places where an attribute of a picture may stand, the most particular first.

    Some files (DMI's) have attributes in the groups themselves, not in their `what`.
    """

    def __init__(self, file: Any, path: str, part: str) -> None:
        upper = path.split("/")[0]
        places = (f"{path}/{part}", path, f"{upper}/{part}", upper, part)
        self._file, self._part = file, part
        self._nodes = [node for node in (find(file, place) for place in places) if node is not None]

    def node(self, name: str) -> Any | None:
        """The group that has the attribute, None where none has."""
        return next((node for node in self._nodes if name in node.attrs), None)

    def _required(self, name: str) -> Any:
        node = self.node(name)
        if node is None:
            raise RadarFileError(self._file.filename, f"has no attribute {name!r} in any {self._part!r}")
        return node

    def text(self, name: str) -> str:
        return text(self._required(name), name)

    def number(self, name: str) -> float:
        return numbers(self._required(name), name, 1)[0]

    def optional(self, name: str) -> float | None:
        """None also for NaN, which never equals a value."""
        node = self.node(name)
        value = numbers(node, name, 1, finite=False)[0] if node is not None else np.nan
        return None if np.isnan(value) else value

    def word(self, name: str) -> str:
        """A text, or a number as text."""
        node = self._required(name)
        try:
            return text(node, name)
        except RadarFileError:
            return f"{numbers(node, name, 1)[0]:g}"


def _time(what: _Levels, date: str, time: str) -> datetime | None:
    if what.node(date) is None or what.node(time) is None:
        return None
    stamp = f"{what.text(date)} {what.text(time)}"
    match = _STAMP.fullmatch(stamp)
    try:
        if not match:
            raise ValueError
        year, month, day, hour, minute, second = (int(part) for part in match.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        path = what.node(date).file.filename  # type: ignore[union-attr]
        raise RadarFileError(path, f"{date} and {time} are {stamp!r}, expected YYYYMMDD HHmmss") from None


def _coding(file: Any, picture: Picture) -> Coding:
    what, per_hour = _Levels(file, picture.path, "what"), 1.0
    gain, offset = what.optional("gain"), what.optional("offset")
    gain, offset = 1.0 if gain is None else gain, 0.0 if offset is None else offset
    if not (0.0 < abs(gain) < 1e9 and abs(offset) < 1e9):
        raise RadarFileError(file.filename, f"its gain is {gain:g} and its offset {offset:g}, expected other than 0")
    if picture.quantity == "ACRR":
        if not picture.interval_s:
            span = f"from {picture.start} to {picture.end}"
            raise RadarFileError(file.filename, f"is a sum {span}; startdate, starttime and the end must say over what")
        per_hour = 3600.0 / picture.interval_s
    nodata, undetect = (
        frozenset(() if value is None else (value,)) for value in map(what.optional, ("nodata", "undetect"))
    )
    return Coding(QUANTITIES[picture.quantity], gain, offset, nodata, undetect, per_hour)


def _grid(opened: Any, file: RadarFile, path: str) -> Grid:
    where = _Levels(opened, path, "where")
    rows, columns = file.check_pixels(int(where.number("ysize")), int(where.number("xsize")))
    height, width = where.number("yscale"), where.number("xscale")
    if not (height > 0 and width > 0):
        raise RadarFileError(file.name, f"has pixels of {height:g} x {width:g}, expected above 0")
    proj = metric_proj(where.text("projdef"))
    corners = {
        corner: corner_of(proj, where.number(f"{corner}_lon"), where.number(f"{corner}_lat"))
        for corner in ("UL", "UR", "LR", "LL")
    }
    west, north = corners["UL"]
    west = wrapped(west) if unit_of(proj) == "degree" else west
    grid = Grid((rows, columns), proj, (height, width), west, north)
    _check_corners(file, grid, corners)
    return grid


def _check_corners(file: RadarFile, grid: Grid, corners: dict[str, tuple[float, float]]) -> None:
    """Raises RadarFileError where the corners that a file states are not those of its pixels, to less than one."""
    for name, (x, y) in corners.items():
        off_x = x - (grid.east if name[1] == "R" else grid.west)
        off_y = y - (grid.south if name[0] == "L" else grid.north)
        if grid.unit == "degree":
            off_x = wrapped(off_x)
        if not (abs(off_x) < grid.pixel[1] and abs(off_y) < grid.pixel[0]):
            off = f"{off_x / grid.pixel[1]:.1f} columns and {-off_y / grid.pixel[0]:.1f} rows"
            raise RadarFileError(file.name, f"its corner {name} lies {off} from where its pixels end, seen from UL")


READER: Reader = OdimReader()
