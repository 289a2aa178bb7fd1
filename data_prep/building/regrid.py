"""Coarser pixels and longer intervals: means of rain, weighted by area, of what the radar saw.

Reflectivity is averaged as rain rate (Z = 200 R^1.6) and given back as reflectivity: a mean of dBZ would be the mean of a
logarithm. A mean of which less than half was seen is no data.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import NO_ECHO, Unit, dbz_to_rain, rain_to_dbz
from data_prep.errors import UserError
from data_prep.frames import Grid, RadarFrame

LEAST_SEEN = 0.5  # share of a pixel's area and time
_ALMOST = 1e-6
_BAND_PIXELS = 1 << 20  # averaged at a time, so that float64 copies of a continent are never held


def coarser(grid: Grid, pixel: float) -> Grid:
    """The grid with square pixels of that size (in its unit) from the same north-west corner; a part pixel is dropped.

    Raises UserError where the size is not larger than the grid's pixels, or than half of the grid.
    """
    if pixel < max(grid.pixel) * (1 - _ALMOST):
        raise UserError(f"pixel={pixel:g} is finer than the archive's {max(grid.pixel):g}; give a larger size")
    rows, columns = (int(count * size / pixel + _ALMOST) for count, size in zip(grid.shape, grid.pixel, strict=True))
    if min(rows, columns) < 2:
        raise UserError(f"pixel={pixel:g} leaves {rows} x {columns} pixels; give a smaller size")
    return Grid((rows, columns), grid.proj, (pixel, pixel), grid.west, grid.north)


class Mean:
    """The mean over frames and over the area of coarser pixels: add the frames, then take the field."""

    def __init__(self, unit: Unit, grid: Grid) -> None:
        self.unit, self.grid = unit, grid
        self._sum = np.zeros(grid.shape, np.float64)
        self._seen = np.zeros(grid.shape, np.float64)
        self._frames = 0

    def add(self, frame: RadarFrame) -> None:
        """Takes in a frame on a grid whose pixels are not larger, with the same corner."""
        rows, columns = (
            _edges(count, coarse, fine, length)
            for count, coarse, fine, length in zip(
                self.grid.shape, self.grid.pixel, frame.grid.pixel, frame.grid.shape, strict=True
            )
        )
        for top, bottom in _bands(rows, frame.grid.shape[1]):
            first, last = int(rows[top]), min(int(np.ceil(rows[bottom] - _ALMOST)), frame.grid.shape[0])
            band = linear(frame.crop(first, 0, last - first, frame.grid.shape[1]).field, self.unit)
            seen = ~np.isnan(band)
            edges = rows[top : bottom + 1] - first
            self._sum[top:bottom] += _area_sums(np.where(seen, band, 0.0), edges, columns)
            self._seen[top:bottom] += _area_sums(seen.astype(np.float64), edges, columns)
        self._frames += 1
        self._area = (rows[1] - rows[0]) * (columns[1] - columns[0])

    def field(self) -> NDArray[np.float32]:
        """(rows, columns) float32 in the unit, NaN where less than half was seen."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self._sum / self._seen
        whole = self._frames * self._area
        return from_linear(np.where(self._seen >= LEAST_SEEN * whole - _ALMOST, mean, np.nan), self.unit)


def linear(values: NDArray[np.floating], unit: Unit) -> NDArray[np.float64]:
    """What may be averaged: rain rate for reflectivity (no echo is 0), the values themselves otherwise."""
    if unit != "dBZ":
        return np.asarray(values, np.float64)
    return np.where(values <= NO_ECHO["dBZ"], 0.0, dbz_to_rain(values))


def from_linear(values: NDArray[np.float64], unit: Unit) -> NDArray[np.float32]:
    """The inverse of `linear`."""
    if unit == "dBZ":
        values = np.maximum(rain_to_dbz(values), NO_ECHO["dBZ"])
    return values.astype(np.float32)


def _edges(count: int, coarse: float, fine: float, length: int) -> NDArray[np.float64]:
    """Where the coarse pixels begin and end, in fine pixels."""
    edges = np.arange(count + 1) * (coarse / fine)
    near = np.round(edges)
    return np.minimum(np.where(np.abs(edges - near) < _ALMOST * max(length, 1), near, edges), float(length))


def _bands(edges: NDArray[np.float64], columns: int) -> Iterable[tuple[int, int]]:
    per_row = max((edges[1] - edges[0]) * columns, 1.0)
    step = max(int(_BAND_PIXELS / per_row), 1)
    last = len(edges) - 1
    return ((top, min(top + step, last)) for top in range(0, last, step))


def _area_sums(
    values: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Integrals over the cells between the edges, a value being constant over its pixel."""
    return _sums(_sums(values, rows, 0), columns, 1)


def _sums(values: NDArray[np.float64], edges: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    if not (edges % 1.0).any():
        starts = edges.astype(np.int64)
        within = values[: starts[-1]] if axis == 0 else values[:, : starts[-1]]
        return np.asarray(np.add.reduceat(within, starts[:-1], axis=axis))
    whole = np.minimum(edges.astype(np.int64), values.shape[axis] - 1)
    part = edges - whole
    up_to = np.cumsum(values, axis=axis)
    before = np.take(up_to, whole, axis=axis) - np.take(values, whole, axis=axis)
    share = part.reshape([-1 if each == axis else 1 for each in range(values.ndim)])
    return np.diff(before + share * np.take(values, whole, axis=axis), axis=axis)
