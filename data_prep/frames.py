"""One radar picture and where it lies on the earth: what every reader returns."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import Encoding, Unit

GridUnit = Literal["m", "degree"]
_EARTH_M = 6_371_229.0  # mean radius, for lengths in metres of grids in degrees
_BAND = 1 << 16  # pixels looked up at a time
_IN_DEGREES = re.compile(r"\+proj=(longlat|latlong|lonlat|latlon)\b")


@dataclass(frozen=True)
class Grid:
    """A regular grid in a map projection or in longitude and latitude, row 0 in the north.

    shape: (rows, columns). proj: PROJ string; its unit, metres or (`+proj=longlat`) degrees, is that of all lengths here.
    pixel: (height, width) of a pixel. west, north: coordinates of the outer corner of pixel (0, 0).
    """

    shape: tuple[int, int]
    proj: str
    pixel: tuple[float, float]
    west: float
    north: float

    @property
    def unit(self) -> GridUnit:
        """Of pixel, west, north, x and y."""
        return unit_of(self.proj)

    @property
    def east(self) -> float:
        """The coordinate of the outer edge of the last column."""
        return self.west + self.shape[1] * self.pixel[1]

    @property
    def south(self) -> float:
        """The coordinate of the outer edge of the last row."""
        return self.north - self.shape[0] * self.pixel[0]

    @property
    def x(self) -> NDArray[np.float64]:
        """Projection x, or longitude, of the pixel centres, (columns,), west to east."""
        return self.west + (np.arange(self.shape[1], dtype=np.float64) + 0.5) * self.pixel[1]

    @property
    def y(self) -> NDArray[np.float64]:
        """Projection y, or latitude, of the pixel centres, (rows,), north to south."""
        return self.north - (np.arange(self.shape[0], dtype=np.float64) + 0.5) * self.pixel[0]

    @property
    def pixel_m(self) -> tuple[float, float]:
        """(height, width) of a pixel in metres; of a grid in degrees that of its middle, on a round earth."""
        if self.unit == "m":
            return self.pixel
        middle = math.radians((self.north + self.south) / 2)
        degree_m = math.radians(1.0) * _EARTH_M
        return self.pixel[0] * degree_m, self.pixel[1] * degree_m * max(math.cos(middle), 1e-6)

    def crop(self, row: int, column: int, rows: int, columns: int) -> Grid:
        """The grid of pixels [row, row+rows) x [column, column+columns)."""
        assert row >= 0 and column >= 0 and row + rows <= self.shape[0] and column + columns <= self.shape[1]
        west, north = self.west + column * self.pixel[1], self.north - row * self.pixel[0]
        return Grid((rows, columns), self.proj, self.pixel, west, north)

    def centre(self, size: int) -> tuple[int, int]:
        """(row, column) at which a square of `size` pixels lies in the middle."""
        return (self.shape[0] - size) // 2, (self.shape[1] - size) // 2

    def tiles(self, size: int, overlap: int) -> Iterator[tuple[int, int]]:
        """(row, column) of squares of `size` pixels that cover the grid and overlap by at least `overlap`."""
        for row in tile_starts(self.shape[0], size, overlap):
            for column in tile_starts(self.shape[1], size, overlap):
                yield row, column

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` reads it back."""
        return {
            "shape": list(self.shape),
            "proj": self.proj,
            "pixel": list(self.pixel),
            "west": self.west,
            "north": self.north,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Grid:
        """Reads `to_dict`'s form. Raises KeyError, TypeError or ValueError on anything else."""
        rows, columns = (int(n) for n in data["shape"])
        height, width = (float(n) for n in data["pixel"])
        return cls((rows, columns), str(data["proj"]), (height, width), float(data["west"]), float(data["north"]))


def unit_of(proj: str) -> GridUnit:
    """The unit of coordinates in that PROJ string: degrees where it says longitude and latitude."""
    return "degree" if _IN_DEGREES.search(proj) else "m"


def wrapped(lon: float) -> float:
    """A longitude in degrees, or a difference of two, from -180 on and below 180: the same number where it lies there."""
    return lon - 360.0 * math.floor((lon + 180.0) / 360.0)


def same_pixels(pixel: tuple[float, float], unit: GridUnit, other: tuple[float, float], other_unit: GridUnit) -> bool:
    """Whether pixels have one height and width, but for the rounding in an archive's headers."""
    return unit == other_unit and all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(pixel, other, strict=True))


def pixel_in_words(pixel: tuple[float, float], unit: GridUnit) -> str:
    """1000 x 1000 m."""
    return f"{pixel[0]:.6g} x {pixel[1]:.6g} {'m' if unit == 'm' else 'degrees'}"


def tile_starts(length: int, size: int, overlap: int) -> list[int]:
    """Where tiles of `size` begin so that they cover `length` (>= size), evenly, overlapping by at least `overlap`."""
    assert 0 <= overlap < size <= length
    count = 1 + -(-(length - size) // (size - overlap))
    return [round(i * (length - size) / max(count - 1, 1)) for i in range(count)]


class Lookup:
    """The meaning of an archive's own integer codes: the value of each, float32 (codes,), NaN for no data.

    It covers all that the codes' type can hold, so that no code of a damaged file lies beyond it. Make one per meaning and
    keep it: what it is in an encoding is worked out once.
    """

    def __init__(self, values: NDArray[np.floating[Any]]) -> None:
        assert values.shape in ((1 << 8,), (1 << 16,))
        self.values = np.asarray(values, np.float32)
        self._codes: dict[tuple[str, Unit], _Table] = {}

    def field(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """The values of codes, float32, same shape."""
        return looked_up(self.values, stored)

    def encode(self, stored: NDArray[Any], encoding: Encoding, unit: Unit) -> NDArray[Any]:
        """The encoding's codes for the archive's, same shape. unit: of the values."""
        if (encoding.name, unit) not in self._codes:
            self._codes[encoding.name, unit] = _Table(encoding.encode(self.values, unit))
        return self._codes[encoding.name, unit].of(stored)


class _Table:
    """The codes that stand for an archive's, (codes,)."""

    def __init__(self, codes: NDArray[Any]) -> None:
        self._codes = codes
        self._pairs: NDArray[np.uint16] | None = None  # of two codes of a byte at once: half as many to look up
        if len(codes) == 1 << 8 and codes.dtype == np.uint8:
            self._pairs = codes[np.arange(1 << 16, dtype=np.uint16).view(np.uint8)].view(np.uint16)

    def of(self, stored: NDArray[Any]) -> NDArray[Any]:
        if self._pairs is None or stored.size % 2 or not stored.flags.c_contiguous:
            return looked_up(self._codes, stored)
        return looked_up(self._pairs, stored.reshape(-1).view(np.uint16)).view(np.uint8).reshape(stored.shape)


def looked_up(table: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
    """`table[codes]` for unsigned codes of any shape, in bands: the indices that numpy makes of them stay in the cache."""
    assert len(table) == 1 << 8 * codes.itemsize and codes.dtype.kind == "u"  # so that none lies beyond it
    values = np.empty(codes.shape, table.dtype)
    step = max(_BAND // max(math.prod(codes.shape[1:]), 1), 1)
    for start in range(0, len(codes), step):
        np.take(table, codes[start : start + step], out=values[start : start + step], mode="clip")
    return values


@dataclass(frozen=True, eq=False)
class RadarFrame:
    """One picture of an archive.

    stored: (rows, columns), row 0 in the north. By `codes`: None for float32 in `unit` with NaN where the radar did not
    see (never 0: no data is not dry); a Lookup for uint8 or uint16 codes of the archive's own; an Encoding for its codes.
    time: UTC, end of the interval.
    """

    stored: NDArray[Any]
    unit: Unit
    time: datetime
    grid: Grid
    codes: Lookup | Encoding | None = None

    @cached_property
    def field(self) -> NDArray[np.float32]:
        """(rows, columns) float32 in `unit`, NaN where the radar did not see."""
        if self.codes is None:
            return np.asarray(self.stored, np.float32)
        if isinstance(self.codes, Lookup):
            return self.codes.field(self.stored)
        return self.codes.decode(self.stored, self.unit)

    def encode(self, encoding: Encoding) -> NDArray[Any]:
        """(rows, columns) codes; the archive's own, bit for bit, where it already uses this encoding."""
        if isinstance(self.codes, Lookup):
            return self.codes.encode(self.stored, encoding, self.unit)
        if self.codes is not None and self.codes.name == encoding.name:
            return self.stored
        return encoding.encode(self.field, self.unit)

    def crop(self, row: int, column: int, rows: int, columns: int) -> RadarFrame:
        """The same picture of a part of the grid."""
        part = self.stored[row : row + rows, column : column + columns]
        return RadarFrame(part, self.unit, self.time, self.grid.crop(row, column, rows, columns), self.codes)
