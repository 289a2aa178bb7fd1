"""One radar picture and where it lies on the earth: what every reader returns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import Encoding, Unit


@dataclass(frozen=True)
class Grid:
    """A regular grid in a map projection, row 0 in the north.

    shape: (rows, columns). proj: PROJ string, metres. pixel_m: (height, width) of a pixel.
    west_m, north_m: projection coordinates of the outer corner of pixel (0, 0).
    """

    shape: tuple[int, int]
    proj: str
    pixel_m: tuple[float, float]
    west_m: float
    north_m: float

    @property
    def x_m(self) -> NDArray[np.float64]:
        """Projection x of the pixel centres, (columns,), metres, west to east."""
        return self.west_m + (np.arange(self.shape[1], dtype=np.float64) + 0.5) * self.pixel_m[1]

    @property
    def y_m(self) -> NDArray[np.float64]:
        """Projection y of the pixel centres, (rows,), metres, north to south."""
        return self.north_m - (np.arange(self.shape[0], dtype=np.float64) + 0.5) * self.pixel_m[0]

    def crop(self, row: int, column: int, rows: int, columns: int) -> Grid:
        """The grid of pixels [row, row+rows) x [column, column+columns)."""
        assert row >= 0 and column >= 0 and row + rows <= self.shape[0] and column + columns <= self.shape[1]
        west_m, north_m = self.west_m + column * self.pixel_m[1], self.north_m - row * self.pixel_m[0]
        return Grid((rows, columns), self.proj, self.pixel_m, west_m, north_m)

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
            "pixel_m": list(self.pixel_m),
            "west_m": self.west_m,
            "north_m": self.north_m,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Grid:
        """Reads `to_dict`'s form. Raises KeyError, TypeError or ValueError on anything else."""
        rows, columns = (int(n) for n in data["shape"])
        height_m, width_m = (float(n) for n in data["pixel_m"])
        return cls(
            (rows, columns), str(data["proj"]), (height_m, width_m), float(data["west_m"]), float(data["north_m"])
        )


def tile_starts(length: int, size: int, overlap: int) -> list[int]:
    """Where tiles of `size` begin so that they cover `length` (>= size), evenly, overlapping by at least `overlap`."""
    assert 0 <= overlap < size <= length
    count = 1 + -(-(length - size) // (size - overlap))
    return [round(i * (length - size) / max(count - 1, 1)) for i in range(count)]


def metric_proj(proj: str) -> str:
    """The PROJ string with the earth's axes in metres.

    Some archives (KNMI) give +a and +b in kilometres without saying so; an earth of less than 100 km is one of those.
    """

    def to_metres(match: re.Match[str]) -> str:
        axis, value = match.group(1), float(match.group(2))
        return f"+{axis}={value * 1000.0 if value < 100_000 else value:.10g}"

    proj = re.sub(r"\+(a|b|R)=([0-9.eE+]+)", to_metres, " ".join(proj.split()))
    return proj if "+units=" in proj else proj + " +units=m"


@dataclass(frozen=True, eq=False)
class RadarFrame:
    """One picture of an archive.

    stored: (rows, columns), either float32 in `unit` with NaN where the radar did not see (never 0: no data is not
    dry), or, where `encoding` is given, that encoding's codes as the archive holds them. time: UTC, end of the interval.
    """

    stored: NDArray[Any]
    unit: Unit
    time: datetime
    grid: Grid
    encoding: Encoding | None = None

    @cached_property
    def field(self) -> NDArray[np.float32]:
        """(rows, columns) float32 in `unit`, NaN where the radar did not see."""
        if self.encoding is None:
            return np.asarray(self.stored, np.float32)
        return self.encoding.decode(self.stored, self.unit)

    def encode(self, encoding: Encoding) -> NDArray[Any]:
        """(rows, columns) codes; the archive's own, bit for bit, where it already uses this encoding."""
        if self.encoding is not None and self.encoding.name == encoding.name:
            return self.stored
        return encoding.encode(self.field, self.unit)

    def crop(self, row: int, column: int, rows: int, columns: int) -> RadarFrame:
        """The same picture of a part of the grid."""
        part = self.stored[row : row + rows, column : column + columns]
        return RadarFrame(part, self.unit, self.time, self.grid.crop(row, column, rows, columns), self.encoding)
