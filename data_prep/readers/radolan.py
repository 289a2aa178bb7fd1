"""DWD's binary composites of RADOLAN, RADVOR and RADKLIM: a line of text that ends in the byte 03, then one code per pixel.

The text gives product, time (UTC; of a sum its end), bytes, format version, precision, minutes summed, rows x columns and,
in RADVOR, the lead of a forecast. Rows begin in the south. Reflectivity in one byte: RVP6 units of half a dBZ from -32.5,
249 clutter, 250 no data. All else in two, the lower first: 12 bits of value in steps of the precision, then a flag each for
a secondary source (a value like others), no data, a negative value, clutter. Rain is mm over the interval; WN's are tenths
of RVP6 units. Negative rain is no data here, and clutter, also where RADKLIM has put a number like the neighbours' there. DWD's text
files of rain (.asc) are read too, see `radolan_ascii`.
(DWD, "RADOLAN und RADVOR: Beschreibung des Kompositformats" 2.5, and "Dateiformat des RV-Produkts" 1.01.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import NO_ECHO, plausible
from data_prep.errors import RadarFileError
from data_prep.frames import Grid, Lookup, RadarFrame
from data_prep.readers import LeftOut, Product, Reader, radolan_ascii
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import RadarFile
from data_prep.readers.radolan_grid import SHAPES, grid_of

_ONE_BYTE = ("RX", "WX", "EX")
_SUMS = ("RZ", "RY", "RH", "RB", "RW", "RL", "RU", "YW", "RV", "RQ", "EZ", "EY", "EH", "EB", "EW")
PRODUCTS = {
    **{name: Product(name, "dBZ") for name in (*_ONE_BYTE, "WN")},
    **{name: Product(name, "mm/h") for name in _SUMS},
}

_MOST_HEADER = 2048  # bytes; the names of all of Europe's radars need less
_END = b"\x03"
_HEADER = re.compile(
    r"([A-Z%][A-Z0-9])(\d\d)(\d\d)(\d\d)\d{5}(\d\d)(\d\d)"  # product, day, hour, minute, (radar), month, year
    r"BY *(\d{1,10})VS *(\d{1,2})SW.{0,12}?PR *E([+-]\d\d)"  # bytes, format version, (software), precision
    r"INT *(\d{1,4})(?:U(\d))?GP *(\d{1,5})x *(\d{1,5})(?:VV *(\d{1,4}))?"  # interval, its unit, grid, lead in minutes
)
_LIKE = "RW102050100000814BY1620134VS 3SW   2.13.1PR E-01INT  60GP 900x 900"

_VALUE, _NO_DATA, _NEGATIVE, _CLUTTER = 0x0FFF, 0x2000, 0x4000, 0x8000
_FIRST_WITHOUT_DBZ = 249.0  # RVP6 units: clutter, no data, and beyond


@dataclass(frozen=True)
class Header:
    """What the text before the picture says. size: of the text, bytes. lead_min: 0 where it is no forecast."""

    product: Product
    time: datetime
    interval_s: int
    grid: Grid
    precision: float
    lead_min: int
    size: int

    @property
    def code_bytes(self) -> int:
        """Bytes of each code."""
        return 1 if self.product.name in _ONE_BYTE else 2

    @property
    def lookup(self) -> Lookup:
        """The meaning of its codes."""
        if self.product.unit == "dBZ":
            return _reflectivity(self.precision, self.code_bytes)
        return _rain(self.precision * 3600.0 / self.interval_s)


class RadolanReader(FileReader):
    """DWD's composites of reflectivity (dBZ) and of rain sums (mm over the interval becomes mm/h)."""

    name = "radolan"
    patterns = ("raa0?-*---bin", "de[0-9]*_[rw]?[0-9]*", "[rw]?[0-9]*_[0-9][0-9][0-9]", *radolan_ascii.PATTERNS)

    def contents(self, file: RadarFile) -> list[Entry | LeftOut]:
        """The file's one frame."""
        head = file.head(_MOST_HEADER)
        if radolan_ascii.begins(head):
            text = radolan_ascii.header(file, head)
            return [Entry(text.time, PRODUCTS[text.product], interval_s=text.interval_s)]
        header = _header(file, head)
        if header.lead_min:
            return [LeftOut(file.name, "forecast lead, not an observation", f"{header.lead_min} min ahead")]
        return [Entry(header.time, header.product, interval_s=header.interval_s)]

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """The file's one frame."""
        content = file.content
        head = content[:_MOST_HEADER]
        if radolan_ascii.begins(head):
            text = radolan_ascii.header(file, head)
            return RadarFrame(radolan_ascii.rain(file, content, text), "mm/h", text.time, text.grid)
        header = _header(file, head)
        if header.lead_min:
            raise RadarFileError(file.name, f"is a forecast {header.lead_min} min ahead, not an observation")
        rows, columns = header.grid.shape
        size = header.size + rows * columns * header.code_bytes
        if len(content) != size:
            raise RadarFileError(file.name, f"has {len(content)} bytes, expected {size}; fetch it again")
        codes = np.frombuffer(content, np.uint8 if header.code_bytes == 1 else "<u2", offset=header.size)
        north_up = codes.reshape(rows, columns)[::-1].astype(codes.dtype.newbyteorder("="), order="C")
        return RadarFrame(north_up, header.product.unit, header.time, header.grid, header.lookup)


def _header(file: RadarFile, head: bytes) -> Header:
    text, end, _ = head.partition(_END)
    match = _HEADER.match(text.decode("ascii", "replace"))
    if not end or not match:
        raise RadarFileError(file.name, f"begins with {bytes(head[:40])!r}, expected a RADOLAN header like {_LIKE}")
    name, day, hour, minute, month, year, *rest = match.groups()
    size, version, exponent, interval, unit, rows, columns, lead = (int(part or 0) for part in rest)
    if name not in PRODUCTS:
        raise RadarFileError(file.name, f"holds product {name}, this reader takes {', '.join(PRODUCTS)}")
    try:
        time = datetime(2000 + int(year), int(month), int(day), int(hour), int(minute), tzinfo=UTC)
    except ValueError as error:
        raise RadarFileError(file.name, f"its time {match[0][2:8]} of {month}/{year} is none ({error})") from None
    grid = grid_of((rows, columns), version)
    if grid is None:
        raise RadarFileError(file.name, f"has a grid of {rows} x {columns} pixels, expected {SHAPES}")
    if not -3 <= exponent <= 0 or not interval or unit > 1:
        what = f"has steps of 1E{exponent:+03} over {interval} (unit {unit})"
        raise RadarFileError(file.name, f"{what}, expected 1E-03 to 1E+00 over 1 or more (unit 0 or 1)")
    interval_s = interval * (86_400 if unit else 60)
    header = Header(PRODUCTS[name], time, interval_s, grid, 10.0**exponent, lead, len(text) + 1)
    if size != header.size + rows * columns * header.code_bytes:
        what = f"declares {size} bytes, not a header of {header.size} and {rows} x {columns} codes"
        raise RadarFileError(file.name, f"{what} of {header.code_bytes}")
    return header


@lru_cache(maxsize=8)
def _rain(mm_h: float) -> Lookup:
    return Lookup(plausible(mm_h * _values(code_bytes=2), "mm/h"))


@lru_cache(maxsize=8)
def _reflectivity(precision: float, code_bytes: int) -> Lookup:
    rvp6 = precision * _values(code_bytes)
    return Lookup(np.where(rvp6 >= _FIRST_WITHOUT_DBZ, np.nan, np.maximum(rvp6 / 2.0 - 32.5, NO_ECHO["dBZ"])))


def _values(code_bytes: int) -> NDArray[np.float64]:
    """The number in each code, in steps of the precision, float64 (codes,); NaN where a flag says that there is none."""
    codes = np.arange(1 << 8 * code_bytes)
    if code_bytes == 1:
        return codes.astype(np.float64)
    numbers = np.where(codes & _NEGATIVE, -1.0, 1.0) * (codes & _VALUE)
    return np.where(codes & (_NO_DATA | _CLUTTER), np.nan, numbers)


READER: Reader = RadolanReader()
