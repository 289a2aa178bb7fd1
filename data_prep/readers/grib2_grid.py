"""Where the values of a GRIB 2 field lie: grid template 3.0, regular latitude and longitude."""

from __future__ import annotations

from data_prep.errors import RadarFileError
from data_prep.frames import Grid
from data_prep.readers.grib2 import Field, Section

_MISSING = (1 << 32) - 1
# Code table 3.2; of the kinds 1, 3 and 7 the grid itself says the axes.
_EARTHS = {
    0: "+R=6367470",
    2: "+a=6378160 +rf=297",
    4: "+ellps=GRS80",
    5: "+datum=WGS84",
    6: "+R=6371229",
    8: "+R=6371200",
}


def grid_of(field: Field) -> tuple[Grid, int]:
    """(grid, scanning mode: flag table 3.4) of a field.

    Longitudes from 180 on become negative. Raises RadarFileError for another template, for more pixels than a frame has,
    or where the corners and the distance of the points do not agree.
    """
    section, name = field.sections[3], field.file.name
    if section.unsigned(13, 14) != 0 or section.unsigned(11, 11) != 0:
        raise RadarFileError(
            name, f"its grid is of template 3.{section.unsigned(13, 14)}, this reader takes regular 3.0"
        )
    rows, columns = field.file.check_pixels(section.unsigned(35, 38), section.unsigned(31, 34))
    scan = section.unsigned(72, 72)
    if scan & 0x0F:
        raise RadarFileError(
            name, f"its scanning mode {scan:#04x} is of a staggered grid, this reader takes regular ones"
        )
    basic, parts = section.unsigned(39, 42), section.unsigned(43, 46)
    per_degree = 1e6 if basic in (0, _MISSING) or parts in (0, _MISSING) else parts / basic
    first_lat, last_lat = section.signed(47, 50), section.signed(56, 59)
    first_lon, last_lon = section.signed(51, 54), section.signed(60, 63)
    goes_west, goes_north = bool(scan & 0x80), bool(scan & 0x40)
    top, bottom = (last_lat, first_lat) if goes_north else (first_lat, last_lat)
    left, right = (last_lon, first_lon) if goes_west else (first_lon, last_lon)
    right += 0 if right >= left else round(360 * per_degree)
    width = _step(section, (64, 67), 0x20, right - left, columns, "longitudes")
    height = _step(section, (68, 71), 0x10, top - bottom, rows, "latitudes")
    west = (left - width / 2) / per_degree
    west -= 360.0 if west >= 180.0 else 0.0
    pixel = height / per_degree, width / per_degree
    grid = Grid((rows, columns), f"+proj=longlat {_earth(section)}", pixel, west, (top + height / 2) / per_degree)
    if not _on_earth(grid):
        raise RadarFileError(name, f"its grid begins at {grid.north} N {grid.west} E and does not lie on the earth")
    return grid, scan


def _on_earth(grid: Grid) -> bool:
    within = grid.north <= 90.001 and grid.south >= -90.001  # a pole may be an edge
    return within and -180.001 <= grid.west < 180.0 and grid.east - grid.west <= 360.001


def _step(section: Section, octets: tuple[int, int], flag: int, span: int, count: int, what: str) -> float:
    """From one point to the next, in the grid's own units; from the corners where it is not given (flag table 3.3)."""
    given = section.unsigned(*octets)
    step = given if section.unsigned(55, 55) & flag and given != _MISSING else span / max(count - 1, 1)
    if not (step > 0 and abs(step * (count - 1) - span) <= step / 2):
        reason = f"its {count} {what} span {span}, which is not {count - 1} times {step:g}"
        raise RadarFileError(section.file.name, reason)
    return float(step)


def _earth(section: Section) -> str:
    kind = section.unsigned(15, 15)
    if kind in _EARTHS:
        return _EARTHS[kind]
    if kind not in (1, 3, 7):
        raise RadarFileError(section.file.name, f"its earth is of kind {kind}, this reader takes 0 to 8")
    unit_m = 1000.0 if kind == 3 else 1.0
    radius, major, minor = (
        section.unsigned(at + 1, at + 4) / 10.0 ** section.signed(at, at) * unit_m for at in (16, 21, 26)
    )
    axes = (radius, radius) if kind == 1 else (major, minor)
    if not all(6e6 < axis < 7e6 for axis in axes):
        raise RadarFileError(section.file.name, f"its earth has axes of {axes[0]:g} and {axes[1]:g} m")
    return f"+R={radius:.10g}" if kind == 1 else f"+a={major:.10g} +b={minor:.10g}"
