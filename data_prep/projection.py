"""The door to pyproj: longitude and latitude to a grid's map projection and back, and its CF description, written and read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.frames import Grid

_FALSE = ("false_easting", "false_northing")


class ProjectionError(UserError):
    """A PROJ string that is no projection in metres and not longitude and latitude, or a place that lies outside one."""


def _pyproj() -> Any:
    try:
        import pyproj
    except ImportError as error:
        raise UserError(
            "map projections need pyproj, which is not installed; install DS-Nowcast with its extra [geo]"
        ) from error
    return pyproj


@lru_cache(maxsize=64)
def _crs(proj: str) -> Any:
    pyproj = _pyproj()
    try:
        crs = pyproj.CRS.from_user_input(proj)
    except pyproj.exceptions.ProjError as error:
        raise ProjectionError(f"PROJ string {proj!r} is refused by pyproj ({error}); give a valid one") from error
    in_metres = crs.is_projected and {axis.unit_name for axis in crs.axis_info} == {"metre"}
    in_degrees = crs.is_geographic and {axis.unit_name for axis in crs.axis_info} == {"degree"}
    if not in_metres and not in_degrees:
        raise ProjectionError(
            f"PROJ string {proj!r} is neither a map projection in metres nor longitude and latitude in degrees; "
            "give one with +units=m, or +proj=longlat"
        )
    return crs


@lru_cache(maxsize=64)
def _from_lonlat(proj: str) -> Any:
    crs = _crs(proj)  # longitude and latitude on the projection's own earth: no change of datum
    return _pyproj().Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)


def corner_of(proj: str, lon: float, lat: float) -> tuple[float, float]:
    """Projection coordinates (x, y) of a place given in degrees.

    proj: a PROJ string in metres or degrees. Raises ProjectionError where pyproj refuses it or the place has no coordinates in it.
    """
    x, y = _from_lonlat(proj).transform(lon, lat)
    if not np.isfinite([x, y]).all():
        raise ProjectionError(f"longitude {lon}, latitude {lat} lies outside the projection {proj!r}")
    return float(x), float(y)


def place_of(proj: str, x: float, y: float) -> tuple[float, float]:
    """Longitude and latitude, degrees, of projection coordinates; the inverse of `corner_of`."""
    lon, lat = _from_lonlat(proj).transform(x, y, direction="INVERSE")
    return float(lon), float(lat)


def lonlat(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of the pixel centres, degrees, float64 (rows, columns) each, row 0 in the north.

    NaN where a pixel lies off the earth. Raises ProjectionError where pyproj refuses the grid's PROJ string.
    """
    x, y = np.meshgrid(grid.x, grid.y)
    lon, lat = _from_lonlat(grid.proj).transform(x, y, direction="INVERSE")
    off_earth = ~(np.isfinite(lon) & np.isfinite(lat))
    return np.where(off_earth, np.nan, lon), np.where(off_earth, np.nan, lat)


def to_cf(proj: str) -> dict[str, Any]:
    """Attributes of a CF grid-mapping variable (CF conventions 1.11, appendix F), `crs_wkt` among them.

    Projections that CF has no name for have no `grid_mapping_name`. Raises ProjectionError as `corner_of` does.
    """
    crs = _crs(proj)
    attributes = {key: value for key, value in crs.to_cf().items() if value != "unknown"}
    operation = crs.coordinate_operation
    if operation.method_name == "Lambert Azimuthal Equal Area (Spherical)":  # pyproj knows the ellipsoidal one only
        given = {parameter.name: parameter.value for parameter in operation.params}
        attributes |= {
            "grid_mapping_name": "lambert_azimuthal_equal_area",
            "earth_radius": crs.ellipsoid.semi_major_metre,
            "latitude_of_projection_origin": given["Latitude of natural origin"],
            "longitude_of_projection_origin": given["Longitude of natural origin"],
            "false_easting": given["False easting"],
            "false_northing": given["False northing"],
        }
    if attributes.get("grid_mapping_name") == "polar_stereographic":  # asked for by CF beside a standard parallel
        south = attributes.get("standard_parallel", 90.0) < 0
        attributes.setdefault("latitude_of_projection_origin", -90.0 if south else 90.0)
    return attributes


def from_cf(attributes: Mapping[str, Any], unit_m: float = 1.0) -> str:
    """The PROJ string, in metres or degrees, of a CF grid-mapping variable's attributes; `crs_wkt` counts where it is there.

    unit_m: metres of the unit of the coordinates, in which CF has false easting and northing too (appendix F). Raises
    ProjectionError where the attributes name no projection in length or no longitude and latitude, or lack a number.
    """
    pyproj = _pyproj()
    wkt = attributes.get("crs_wkt")
    try:
        if wkt:
            crs = pyproj.CRS.from_wkt(wkt)
        else:
            shifts = {name: attributes[name] * unit_m for name in attributes if name in _FALSE}
            crs = pyproj.CRS.from_cf({**attributes, **shifts})
        with warnings.catch_warnings(action="ignore"):  # of what a PROJ string cannot hold: names and areas of use
            proj = str(crs.to_proj4()).replace(" +type=crs", "")
    except (pyproj.exceptions.ProjError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ProjectionError(f"it is refused by pyproj ({reason})") from error
    if crs.is_derived and crs.is_geographic:
        raise ProjectionError("it is a rotated longitude and latitude, which no grid here is in")
    proj = re.sub(r"\+units=\S+|\+to_meter=\S+", "+units=m", proj)  # +x_0 and +y_0 are in metres whatever the unit
    _crs(proj)
    return proj
