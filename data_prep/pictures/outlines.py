"""Coastlines and country borders, to see on a picture where it is.

`outlines.npz` is Natural Earth 4.1 at 1:50 million (public domain), taken from the TopoJSON of world-atlas 2.0.2: an
arc of one country is coast, of two a border. Of each line what lies within 0.01 degrees of a straight one was dropped,
and all of Antarctica. Borders are those that Natural Earth draws, which is the state on the ground.

Stored are lines after each other, coasts first: per line its number of points (`lengths`), per point the hundredths of
a degree from the point before (`lon_steps`, `lat_steps`; of a line's first point from 0, 0). `coastlines` lines are coast.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_STEP_DEGREE = 0.01
_STRAIGHT_DEGREE = 0.25  # the longest piece of a line that may be drawn straight in any projection

Line = NDArray[np.float64]  # (points, 2): longitude and latitude, degrees


class Box(NamedTuple):
    """A part of the earth, degrees. `east` may be more than 180: it is never less than `west`."""

    west: float
    east: float
    south: float
    north: float

    @property
    def middle(self) -> float:
        """Its middle longitude."""
        return (self.west + self.east) / 2


class Outlines(NamedTuple):
    """Lines of the world, each with no piece longer than a quarter of a degree once `within` gives it."""

    coasts: list[Line]
    borders: list[Line]

    def within(self, box: Box) -> Outlines:
        """Those of the lines that come near a box, with longitudes less than 180 degrees from its middle."""
        return Outlines(*([near for line in lines for near in _near(line, box)] for lines in self))


@lru_cache(maxsize=1)
def outlines() -> Outlines:
    """All lines."""
    with (files(__package__) / "outlines.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
        steps = np.stack([stored["lon_steps"], stored["lat_steps"]], axis=1).astype(np.float64)
        lengths, coastlines = stored["lengths"].astype(np.int64), int(stored["coastlines"])
    ends = np.cumsum(lengths)
    lines: list[Line] = [
        np.round(np.cumsum(steps[end - length : end], axis=0) * _STEP_DEGREE, 2)
        for end, length in zip(ends, lengths, strict=True)
    ]
    return Outlines(lines[:coastlines], lines[coastlines:])


def _near(line: Line, box: Box) -> list[Line]:
    """The line, none, or (where it crosses the meridian opposite the box) its parts."""
    (west, south), (east, north) = line.min(axis=0), line.max(axis=0)
    if south > box.north or north < box.south:
        return []
    if not any(west + turn <= box.east and east + turn >= box.west for turn in (-360.0, 0.0, 360.0)):
        return []
    lon = unwrapped(line[:, 0], box.middle)
    torn = np.flatnonzero(np.abs(np.diff(lon)) > 180.0) + 1
    return [_dense(part) for part in np.split(np.column_stack([lon, line[:, 1]]), torn) if len(part) > 1]


def unwrapped(lon: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    """The same longitudes, less than 180 degrees from `middle`."""
    return middle + (lon - middle + 180.0) % 360.0 - 180.0


def _dense(line: Line) -> Line:
    """The line with points between those that are far apart."""
    pieces = np.maximum(np.ceil(np.abs(np.diff(line, axis=0)).max(axis=1) / _STRAIGHT_DEGREE), 1)
    places = np.concatenate([[0.0], np.cumsum(pieces)])
    between = np.arange(places[-1] + 1)
    return np.column_stack([np.interp(between, places, line[:, axis]) for axis in (0, 1)])
