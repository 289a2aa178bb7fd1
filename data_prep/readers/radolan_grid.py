"""The grids of DWD's composites: polar stereographic, true at 60 N, upright along 10 E, placed by the point 9 E, 51 N.

Until format version 4 the earth is a sphere of 6370.04 km, from 5 on it is the ellipsoid WGS84 (RV: since 13 October 2022).
DWD, "RADOLAN und RADVOR: Beschreibung des Kompositformats" 2.5, and "Radarkomposits: Projektionen und Gitter" 1.01 (2022).
"""

from __future__ import annotations

from typing import NamedTuple

from data_prep.frames import Grid

_FIRST_ON_WGS84 = 5  # format version


class _Earth(NamedTuple):
    """proj: PROJ string, (0, 0) at the pole. x, y: metres of 9 E, 51 N in it, by which all grids are placed."""

    proj: str
    x: float
    y: float


_STEREOGRAPHIC = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10"
_SPHERE = _Earth(f"{_STEREOGRAPHIC} +R=6370040 +units=m", -73_462.16692185635, -4_208_644.724265574)
_WGS84 = _Earth(f"{_STEREOGRAPHIC} +ellps=WGS84 +units=m", -73_696.83521776402, -4_222_088.861931002)

# (rows, columns) -> pixel, and how far the outer edges lie west and north of that point; metres
_PLACES = {
    (900, 900): (1000.0, 450_000.0, 450_000.0),  # Germany: RX, RY, RW
    (1100, 900): (1000.0, 370_000.0, 550_000.0),  # Germany, extended: RADKLIM's YW and RW, WX
    (1200, 1100): (1000.0, 470_000.0, 600_000.0),  # DE1200: RV, WN
    (1500, 1400): (1000.0, 600_000.0, 700_000.0),  # central Europe: EX, EY, EW
    (4800, 4400): (250.0, 470_000.0, 600_000.0),  # DE4800
}
SHAPES = ", ".join(f"{rows} x {columns}" for rows, columns in _PLACES)


def grid_of(shape: tuple[int, int], format_version: int) -> Grid | None:
    """The grid of that many rows and columns; None where DWD has no such grid."""
    if shape not in _PLACES:
        return None
    pixel, to_west, to_north = _PLACES[shape]
    earth = _WGS84 if format_version >= _FIRST_ON_WGS84 else _SPHERE
    return Grid(shape, earth.proj, (pixel, pixel), west=earth.x - to_west, north=earth.y + to_north)
