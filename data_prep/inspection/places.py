"""Where grids are: longitude and latitude of their corners and of all that they cover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_prep.errors import UserError
from data_prep.frames import Grid
from data_prep.pictures.maps import box_around
from data_prep.pictures.outlines import Box
from data_prep.projection import from_grid

CORNERS = ("north-west", "north-east", "south-east", "south-west")


class Places(NamedTuple):
    """Of some grids.

    distinct: how many places. corners: longitude and latitude (degrees) of the outer corners of the first, by name; None
    off the earth. box: what all cover together, None where it is not known. unknown: why not, or empty.
    """

    distinct: int
    corners: dict[str, tuple[float, float] | None]
    box: Box | None
    unknown: str = ""


def places_of(grids: Sequence[Grid]) -> Places:
    """Where the grids are, as far as it can be worked out: without pyproj that is grids in degrees."""
    distinct = list(dict.fromkeys(grids))
    try:
        corners = corners_of(distinct[0]) if distinct else {}
        return Places(len(distinct), corners, box_around(distinct))
    except UserError as error:
        return Places(len(distinct), {}, None, str(error))


def corners_of(grid: Grid) -> dict[str, tuple[float, float] | None]:
    """Longitude and latitude (degrees) of a grid's outer corners. Raises UserError (no pyproj, no valid projection)."""
    x = np.array([grid.west, grid.east, grid.east, grid.west])
    y = np.array([grid.north, grid.north, grid.south, grid.south])
    lon, lat = (x, y) if grid.unit == "degree" else from_grid(grid.proj, x, y)
    return {
        name: (round(float(lon[i]), 5), round(float(lat[i]), 5)) if np.isfinite([lon[i], lat[i]]).all() else None
        for i, name in enumerate(CORNERS)
    }
