"""Where the parts of a picture lie on its page, and what its captions say: no plotting library."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.frames import Grid
from data_prep.times import utc

LEFT_IN, RIGHT_IN, BOTTOM_IN, GAP_IN, HEAD_IN = 0.95, 1.2, 0.52, 0.1, 0.24  # inches
CHARACTER_IN, LINE_IN = 0.09, 0.2  # of the title
_DEGREE_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 45.0, 90.0)
Rect = tuple[float, float, float, float]  # left, bottom, width, height as shares of the page


@dataclass(frozen=True)
class Page:
    """Rows and columns of equal panels, a title above, a colour bar on the right. Lengths end in `_in` (inches).

    size: height and width of a field, in km, or in pixels where there is no grid. headed: per row, whether times stand
    above it.
    """

    size: tuple[float, float]
    columns: int
    headed: tuple[bool, ...]
    title: str

    @property
    def panel_in(self) -> tuple[float, float]:
        """Height and width of a panel: wide where there are few, never higher than fits a screen."""
        height_per_width = self.size[0] / self.size[1]
        width = min(8.6 / self.columns, 4.2, 5.4 / height_per_width)
        return width * height_per_width, width

    @property
    def width_in(self) -> float:
        """Of the page."""
        return LEFT_IN + self.columns * (self.panel_in[1] + GAP_IN) + RIGHT_IN

    @property
    def height_in(self) -> float:
        """Of the page."""
        return BOTTOM_IN + self.panels_in + 0.34 - GAP_IN + LINE_IN * len(self.title_lines)

    @property
    def panels_in(self) -> float:
        """Height of all rows of panels, with what stands above each."""
        return sum(map(self._row_in, range(len(self.headed))))

    @property
    def title_lines(self) -> list[str]:
        """The title, cut to the page's width."""
        return textwrap.wrap(self.title, int((self.width_in - LEFT_IN - 0.1) / CHARACTER_IN)) or [""]

    def panel(self, row: int, column: int) -> Rect:
        """The rectangle of a panel; row 0 is the uppermost."""
        below_in = BOTTOM_IN + sum(map(self._row_in, range(row + 1, len(self.headed))))
        height_in, width_in = self.panel_in
        return self._share(LEFT_IN + column * (width_in + GAP_IN), below_in, width_in, height_in)

    def colour_bar(self, rows: slice = slice(None)) -> Rect:
        """The rectangle of a colour bar, right of those rows of panels."""
        of_rows = range(len(self.headed))[rows]
        below_in = BOTTOM_IN + sum(map(self._row_in, range(of_rows[-1] + 1, len(self.headed))))
        height_in = sum(map(self._row_in, of_rows)) - GAP_IN - (HEAD_IN if self.headed[of_rows[0]] else 0.0)
        return self._share(self.width_in - RIGHT_IN + 0.08, below_in, 0.15, height_in)

    def key(self, place: int) -> Rect:
        """The rectangle of a key below the colour bar: 0 for dry, 1 for no data."""
        return self._share(self.width_in - RIGHT_IN + 0.08, 0.25 - 0.19 * place, 0.15, 0.13)

    def line(self, place: int) -> tuple[float, float]:
        """Left and top of a line of the title, 0 the first, as shares of the page."""
        return LEFT_IN / self.width_in, 1.0 - (0.12 + LINE_IN * place) / self.height_in

    def _share(self, left_in: float, bottom_in: float, width_in: float, height_in: float) -> Rect:
        wide, high = self.width_in, self.height_in
        return left_in / wide, bottom_in / high, width_in / wide, height_in / high

    def _row_in(self, row: int) -> float:
        return self.panel_in[0] + (HEAD_IN + GAP_IN if self.headed[row] else GAP_IN)


@dataclass(frozen=True)
class Extent:
    """What a field's axes count: km from its south-west corner, longitude and latitude in degrees, or pixels."""

    left: float
    right: float
    bottom: float
    top: float
    unit: Literal["km", "degree", "pixels"]

    def at(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates (points, 2) of places given as shares of the width and the height."""
        return np.array([self.left, self.bottom]) + shares * [self.right - self.left, self.top - self.bottom]


def extent_of(shape: tuple[int, ...], grid: Grid | None, *, in_km: bool = False) -> Extent:
    """The axes of a field of `shape` (H, W). in_km: also where the grid is in degrees (on a round earth, about)."""
    if grid is not None and grid.unit == "degree" and not in_km:
        height, width = shape[0] * grid.pixel[0], shape[1] * grid.pixel[1]
        return Extent(grid.west, grid.west + width, grid.north - height, grid.north, "degree")
    height, width = field_size(shape, grid)
    return Extent(0.0, width, 0.0, height, "km" if grid else "pixels")


def degree_marks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round numbers of degrees between two."""
    for step in _DEGREE_STEPS:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(number * step, 6) for number in range(first, last + 1)]
    return []


def round_marks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers between two."""
    step = next(digit * 10.0**power for power in range(-3, 9) for digit in (1, 2, 5)
                if (high - low) / (digit * 10.0**power) < most)  # fmt: skip
    return [round(number * step, 6) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def lon_label(lon: float) -> str:
    """A longitude: '5°E'; those past the date line count from it."""
    lon = (lon + 180.0) % 360.0 - 180.0
    return f"{abs(lon):.6g}°{'' if lon in (0.0, -180.0) else 'E' if lon > 0 else 'W'}"


def lat_label(lat: float) -> str:
    """A latitude: '52.5°N'."""
    return f"{abs(lat):.6g}°{'' if lat == 0.0 else 'N' if lat > 0 else 'S'}"


def field_size(shape: tuple[int, ...], grid: Grid | None) -> tuple[float, float]:
    """Height and width of a field of `shape` (H, W): km where there is a grid, otherwise pixels."""
    height_m, width_m = grid.pixel_m if grid else (1000.0, 1000.0)
    return shape[0] * height_m / 1000.0, shape[1] * width_m / 1000.0


def evenly(length: int, count: int) -> list[int]:
    """At most `count` indices of 0..length-1, evenly apart, the first and the last among them (count 1: the last)."""
    count = min(length, count)
    return [round(i * (length - 1) / (count - 1)) for i in range(count)] if count > 1 else [length - 1]


def is_forecast(time: datetime, lead_from: datetime | None) -> bool:
    """Whether a frame lies after the last observation."""
    return lead_from is not None and utc(time) > utc(lead_from)


def lead_label(time: datetime, lead_from: datetime) -> str:
    """The lead time: '+30 min'."""
    return f"+{(utc(time) - utc(lead_from)).total_seconds() / 60:.0f} min"


def time_label(time: datetime) -> str:
    """The time of day: '07:30 UTC'."""
    return f"{utc(time):%H:%M} UTC"


def period_label(times: Sequence[datetime], lead_from: datetime | None) -> str:
    """The date and what it covers: a span of observations, or the time from which a forecast starts."""
    if lead_from is not None:
        return f"{utc(lead_from):%Y-%m-%d}, forecast from {time_label(lead_from)}"
    first, last = min(map(utc, times)), max(map(utc, times))
    if first == last:
        return f"{first:%Y-%m-%d %H:%M} UTC"
    until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d %H:%M} to {until} UTC"
