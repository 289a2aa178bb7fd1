"""Where a picture is: coastlines, borders and a graticule as they lie on it. No plotting library.

Lines over a field are float64 (points, 2), shares of its width and height from its south-west corner, NaN between one
line and the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.frames import Grid
from data_prep.pictures.outlines import Box, Line, outlines, unwrapped
from data_prep.pictures.page import degree_marks, lat_label, lon_label
from data_prep.projection import from_grid, to_grid

_SAMPLES = 65  # points along an edge or a line of the graticule
_MARGIN = 0.05  # of the extent, beyond which nothing is drawn
_LETTER, _SPACE, _LINE = 0.033, 0.05, 0.15  # shares of an edge: of a label's letter, between two, of its height
_CORNER = 0.1  # share of an edge at its ends that bears no labels
_MOST_LAT = 89.0  # of a map in longitude and latitude


class Label(NamedTuple):
    """Words at a line of the graticule, where it meets an edge. place: share of that edge from its left or lower end."""

    words: str
    edge: Literal["bottom", "left"]
    place: float


class MapLines(NamedTuple):
    """What is drawn over a field."""

    coasts: Line
    borders: Line
    graticule: Line
    labels: list[Label]


@lru_cache(maxsize=16)
def map_lines(grid: Grid) -> MapLines | None:
    """The lines over a grid's field; None where its projection cannot be worked out (no pyproj, or none on the earth)."""
    try:
        box = box_of(grid)
        if box is None:
            return None
        near = outlines().within(box)
        meridians = [(lon_label(lon), _meridian(lon, box)) for lon in degree_marks(box.west, box.east)]
        parallels = [(lat_label(lat), _parallel(lat, box)) for lat in degree_marks(box.south, box.north)]
        labels = [*_labels(grid, meridians, "bottom"), *_labels(grid, parallels, "left")]
        graticule = _over(grid, [line for _, line in (*meridians, *parallels)])
        return MapLines(_over(grid, near.coasts), _over(grid, near.borders), graticule, labels)
    except UserError:
        return None


def box_of(grid: Grid) -> Box | None:
    """The part of the earth that a grid covers; None where it lies off the earth. Raises UserError (no pyproj)."""
    height, width = (pixels * size for pixels, size in zip(grid.shape, grid.pixel, strict=True))
    south, east = grid.north - height, grid.west + width
    if grid.unit == "degree":
        return Box(grid.west, east, south, grid.north)
    x, y = np.meshgrid(np.linspace(grid.west, east, _SAMPLES), np.linspace(south, grid.north, _SAMPLES))
    lon, lat = from_grid(grid.proj, x, y)
    seen = np.isfinite(lon)
    if not seen.any():
        return None
    centre = lon[_SAMPLES // 2, _SAMPLES // 2]
    middle = float(centre if np.isfinite(centre) else lon[seen][0])
    lon = unwrapped(lon, middle)
    box = Box(float(np.nanmin(lon)), float(np.nanmax(lon)), float(np.nanmin(lat)), float(np.nanmax(lat)))
    for pole in (-90.0, 90.0):
        pole_x, pole_y = to_grid(grid.proj, middle, pole)
        if grid.west <= pole_x <= east and south <= pole_y <= grid.north:
            box = Box(middle - 180.0, middle + 180.0, min(box.south, pole), max(box.north, pole))
    return box


def edges_of(grids: Iterable[Grid], middle: float) -> list[Line]:
    """Longitude and latitude of each grid's outer edge, once round, less than 180 degrees from `middle`."""
    lines = []
    for grid in dict.fromkeys(grids):
        along = np.linspace(0.0, 1.0, _SAMPLES)
        none, all_ = np.zeros(_SAMPLES), np.ones(_SAMPLES)
        right = np.concatenate([along, all_, along[::-1], none]) * grid.shape[1] * grid.pixel[1]
        down = np.concatenate([none, along, all_, along[::-1]]) * grid.shape[0] * grid.pixel[0]
        x, y = grid.west + right, grid.north - down
        lon, lat = (x, y) if grid.unit == "degree" else from_grid(grid.proj, x, y)
        lines.append(np.column_stack([unwrapped(lon, middle), lat]))
    return lines


def box_around(grids: Iterable[Grid]) -> Box | None:
    """The part of the earth in which all grids lie; None where none does. Raises UserError (no pyproj)."""
    boxes = [box for grid in dict.fromkeys(grids) if (box := box_of(grid))]
    if not boxes:
        return None
    turns = [round((box.middle - boxes[0].middle) / 360.0) * 360.0 for box in boxes]
    return Box(
        west=min(box.west - turn for box, turn in zip(boxes, turns, strict=True)),
        east=max(box.east - turn for box, turn in zip(boxes, turns, strict=True)),
        south=min(box.south for box in boxes),
        north=max(box.north for box in boxes),
    )


def region_around(grids: Sequence[Grid], height_per_width: float | None = None) -> Grid | None:
    """A map in longitude and latitude, as a grid of one pixel, on which all grids lie with some room around.

    height_per_width: of the map on the ground; None leaves it as it comes, within what a page takes. None where no grid
    lies on the earth. Raises UserError (no pyproj).
    """
    box = box_around(grids)
    if box is None:
        return None
    west, east, south, north = box
    squeeze = max(float(np.cos(np.radians((south + north) / 2))), 0.05)
    high, wide = max(1.4 * (north - south), 4.0), max(1.4 * (east - west), 4.0 / squeeze)
    ratio = height_per_width or float(np.clip(high / (wide * squeeze), 0.45, 1.1))
    high, wide = max(high, ratio * wide * squeeze), max(wide, high / ratio / squeeze)
    high, wide = min(high, 2 * _MOST_LAT), min(wide, 360.0)
    top = min((south + north) / 2 + high / 2, _MOST_LAT)
    top = max(top, high - _MOST_LAT)
    return Grid((1, 1), "+proj=longlat", (high, wide), (west + east) / 2 - wide / 2, top)


def joined(lines: Sequence[Line]) -> Line:
    """Many lines as one, NaN between them."""
    gap = np.full((1, 2), np.nan)
    return np.concatenate([part for line in lines for part in (line, gap)]) if lines else np.empty((0, 2))


def _meridian(lon: float, box: Box) -> Line:
    return np.column_stack([np.full(_SAMPLES, lon), np.linspace(box.south, box.north, _SAMPLES)])


def _parallel(lat: float, box: Box) -> Line:
    return np.column_stack([np.linspace(box.west, box.east, _SAMPLES), np.full(_SAMPLES, lat)])


def _shares(grid: Grid, line_lonlat: Line) -> Line:
    """Places as shares of the grid's width and height from its south-west corner, NaN off the projection."""
    x, y = line_lonlat.T
    if grid.unit == "m":
        x, y = to_grid(grid.proj, x, y)
    height, width = (pixels * size for pixels, size in zip(grid.shape, grid.pixel, strict=True))
    return np.column_stack([(x - grid.west) / width, (y - (grid.north - height)) / height])


def _over(grid: Grid, lines_lonlat: Sequence[Line]) -> Line:
    """The lines where they cross the grid."""
    shares = _shares(grid, joined(lines_lonlat))
    inside = np.all((shares > -_MARGIN) & (shares < 1 + _MARGIN), axis=1)
    kept = inside.copy()
    kept[1:] |= inside[:-1]  # and a point's neighbours, to which its line goes on
    kept[:-1] |= inside[1:]
    kept &= np.isfinite(shares).all(axis=1)
    shares[~kept] = np.nan
    needed = kept.copy()
    needed[1:] |= kept[:-1]  # of many missing points one, to tell lines apart
    return np.asarray(shares[needed])


def _labels(grid: Grid, lines: Sequence[tuple[str, Line]], edge: Literal["bottom", "left"]) -> list[Label]:
    """Where lines of the graticule meet an edge, those left out that come close to a corner."""
    across = 1 if edge == "bottom" else 0
    labels = list[Label]()
    for words, line in lines:
        place = _crossing(_shares(grid, line), across)
        if place is None or not _CORNER < place < 1 - _CORNER:
            continue
        if all(abs(place - other.place) > _apart(words, other) for other in labels):
            labels.append(Label(words, edge, place))
    return labels


def _apart(words: str, other: Label) -> float:
    """How far from the middle of one label that of another may be, as a share of their edge."""
    return _LINE if other.edge == "left" else _LETTER * (len(words) + len(other.words)) / 2 + _SPACE


def _crossing(shares: NDArray[np.float64], across: int) -> float | None:
    """The other coordinate where a line first passes 0 of coordinate `across`, within the edge."""
    before, after = shares[:-1], shares[1:]
    for i in np.flatnonzero(before[:, across] * after[:, across] <= 0):
        far = before[i, across] - after[i, across]
        place = before[i] + (after[i] - before[i]) * (before[i, across] / far if far else 0.0)
        if 0.0 <= place[1 - across] <= 1.0:
            return float(place[1 - across])
    return None
