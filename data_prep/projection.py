"""The door to pyproj: longitude and latitude to a grid's map projection and back, and its CF description, written and read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.errors import UserError, not_installed
from data_prep.frames import Grid, unit_of

_FALSE = ("false_easting", "false_northing")
_EARTH = ("earth_radius", "semi_major_axis", "semi_minor_axis", "inverse_flattening", "longitude_of_prime_meridian")
_WORD = re.compile(r"\+?(\w+)(?:=([-+.,:@\w]+))?", re.ASCII)
_OPENS_FILES = re.compile(r"init|\w*grids|file|model")
_LONGEST = 1000
_NO_MAP = ("geopotential_datum_name", "geoid_name", "towgs84")  # of heights, and of changes of datum


class ProjectionError(UserError):
    """A PROJ string that is no projection in metres and not longitude and latitude, or a place that lies outside one."""


def metric_proj(proj: str) -> str:
    """A file's PROJ string, of words that begin with +, with the earth's axes, and unless in degrees all lengths, in metres.

    Some archives (KNMI) give +a and +b in kilometres without saying so; an earth of less than 100 km is one of those.
    Raises ProjectionError where it is not one +proj=... with words like +lat_0=90, or where a word would open a file.
    """
    words = [_WORD.fullmatch(word) for word in proj.split()] if len(proj) <= _LONGEST else []
    said = [(word[1], word[2]) for word in words if word]
    if not said or len(said) < len(words) or [key for key, _ in said].count("proj") != 1:
        raise ProjectionError(f"{proj[:100]!r} is no PROJ string (+proj=... +...)")
    for key, value in said:
        if (_OPENS_FILES.fullmatch(key) and value != "@null") or key in ("step", "axis") or value == "pipeline":
            raise ProjectionError(f"PROJ string {proj[:100]!r} has +{key}, which a file's own may not; leave it out")
    metric = " ".join(f"+{key}" if value is None else f"+{key}={_in_metres(key, value)}" for key, value in said)
    return metric if "+units=" in metric or unit_of(metric) == "degree" else f"{metric} +units=m"


def _in_metres(key: str, value: str) -> str:
    if key not in ("a", "b", "R"):
        return value
    try:
        length = float(value)
    except ValueError:
        length = 0.0
    if not 0.0 < length < np.inf:
        raise ProjectionError(f"a PROJ string's earth has +{key}={value}, expected a length")
    return f"{length * 1000.0 if length < 100_000 else length:.10g}"


def proj_of(proj: str) -> str:
    """As `metric_proj`, of a string that pyproj takes. Raises ProjectionError also where it does not, or as `corner_of`."""
    proj = metric_proj(proj)
    _crs(proj)
    return proj


def _pyproj() -> Any:
    try:
        import pyproj
    except ModuleNotFoundError as error:  # other kinds: it is there, but short of memory, say
        raise not_installed("a map projection", "pyproj", "geo") from error
    return pyproj


@lru_cache(maxsize=64)
def _crs(proj: str) -> Any:
    pyproj = _pyproj()
    metric_proj(proj)
    try:
        crs = pyproj.CRS.from_user_input(proj)
    except pyproj.exceptions.ProjError as error:
        raise ProjectionError(f"PROJ string {proj!r} is refused by pyproj ({error}); give a valid one") from error
    units = {axis.unit_name for axis in crs.axis_info}
    in_metres = crs.is_projected and units == {"metre"}
    in_degrees = crs.is_geographic and units == {"degree"}
    if not (in_metres if unit_of(proj) == "m" else in_degrees):  # a Grid must read the string as pyproj does
        raise ProjectionError(
            f"PROJ string {proj!r} is neither a map projection in metres nor longitude and latitude in degrees; "
            "give one with +units=m, or +proj=longlat"
        )
    return crs


@lru_cache(maxsize=64)
def _from_lonlat(proj: str) -> Any:
    crs, pyproj = _crs(proj), _pyproj()
    try:  # longitude and latitude on the projection's own earth: no change of datum
        return pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise ProjectionError(f"PROJ string {proj!r} cannot be used by pyproj ({error})") from error


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


def to_grid(proj: str, lon: ArrayLike, lat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates (x, y) of places given in degrees, in arrays of any shape; NaN where a place has none.

    Raises ProjectionError where pyproj refuses the PROJ string.
    """
    return _finite(*_from_lonlat(proj).transform(np.asarray(lon, np.float64), np.asarray(lat, np.float64)))


def from_grid(proj: str, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The inverse of `to_grid`: longitude and latitude, degrees."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return _finite(*_from_lonlat(proj).transform(x, y, direction="INVERSE"))


def lonlat(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of the pixel centres, degrees, float64 (rows, columns) each, row 0 in the north.

    NaN where a pixel lies off the earth. Raises ProjectionError where pyproj refuses the grid's PROJ string.
    """
    return from_grid(grid.proj, *np.meshgrid(grid.x, grid.y))


def _finite(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nowhere = ~(np.isfinite(one) & np.isfinite(other))
    return np.where(nowhere, np.nan, one), np.where(nowhere, np.nan, other)


def to_cf(proj: str) -> dict[str, Any]:
    """Attributes of a CF grid-mapping variable (CF conventions 1.11, appendix F), `crs_wkt` among them.

    Projections that CF has no name for have no `grid_mapping_name`. Raises ProjectionError as `corner_of` does.
    """
    crs = _crs(proj)
    attributes = {key: value for key, value in crs.to_cf().items() if value != "unknown"}
    operation = crs.coordinate_operation  # None of longitude and latitude
    # pyproj knows the ellipsoidal one only
    if operation and operation.method_name == "Lambert Azimuthal Equal Area (Spherical)":
        given = {parameter.name: parameter.value for parameter in operation.params}
        attributes |= {
            "grid_mapping_name": "lambert_azimuthal_equal_area",
            "latitude_of_projection_origin": given["Latitude of natural origin"],
            "longitude_of_projection_origin": given["Longitude of natural origin"],
            "false_easting": given["False easting"],
            "false_northing": given["False northing"],
        }
    if crs.ellipsoid.inverse_flattening == 0.0:  # a sphere, of which CF asks for the radius alone
        for axis in ("semi_major_axis", "semi_minor_axis", "inverse_flattening"):
            attributes.pop(axis, None)
        attributes["earth_radius"] = crs.ellipsoid.semi_major_metre
    if attributes.get("grid_mapping_name") == "polar_stereographic":  # asked for by CF beside a standard parallel
        south = attributes.get("standard_parallel", 90.0) < 0
        attributes.setdefault("latitude_of_projection_origin", -90.0 if south else 90.0)
    return attributes


def from_cf(attributes: Mapping[str, Any], unit_m: float = 1.0) -> str:
    """The PROJ string, in metres or degrees, of a CF grid-mapping variable's attributes; `crs_wkt` counts where it is there.

    unit_m: metres of the unit of the coordinates, in which CF has false easting and northing too (appendix F). Raises
    ProjectionError where the attributes name no projection in length or no longitude and latitude, or lack a number.
    """
    given: list[tuple[str, str | tuple[Any, ...]]] = []
    for name, value in sorted(attributes.items()):
        if name not in _NO_MAP:
            given.append((name, value if isinstance(value, str) else tuple(np.ravel(value).tolist())))
    return _from_cf(tuple(given), unit_m)


@lru_cache(maxsize=64)  # pyproj takes half a second for some
def _from_cf(attributes: tuple[tuple[str, str | tuple[Any, ...]], ...], unit_m: float) -> str:
    pyproj = _pyproj()
    given: dict[str, Any] = {
        name: value[0] if isinstance(value, tuple) and len(value) == 1 else value for name, value in attributes
    }
    try:
        if given.get("crs_wkt"):
            crs = pyproj.CRS.from_wkt(given["crs_wkt"]).to_2d()
        else:
            given |= {name: given[name] * unit_m for name in _FALSE if name in given}
            for name in _EARTH:  # pyproj would take another earth where one of these cannot be read
                if name in given and not np.isfinite(float(given[name])):
                    raise ValueError(f"{name} is {given[name]}")
            crs = pyproj.CRS.from_cf(given)
        proj = _proj4(crs)
    except (pyproj.exceptions.ProjError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ProjectionError(f"it is refused by pyproj ({reason})") from error
    if crs.is_derived and crs.is_geographic:
        raise ProjectionError("it is a rotated longitude and latitude, which no grid here is in")
    proj = re.sub(r"\+units=\S+|\+to_meter=\S+", "+units=m", proj)  # +x_0 and +y_0 are in metres whatever the unit
    _crs(proj)
    return proj


def _proj4(crs: Any) -> str:
    """Without the grids of a change of datum, which nothing here makes."""
    with warnings.catch_warnings(action="ignore"):  # of what a PROJ string cannot hold: names and areas of use
        proj = str(crs.to_proj4()).removesuffix(" +type=crs")
    return re.sub(r" \+nadgrids=(?!@null )\S+", "", proj)


@lru_cache(maxsize=64)
def proj_of_wkt(wkt: str) -> str:
    """The PROJ string of a coordinate system given as WKT. Raises ProjectionError where none is as good, or as `corner_of`."""
    pyproj = _pyproj()
    try:
        proj = _proj4(pyproj.CRS.from_wkt(wkt).to_2d())
    except pyproj.exceptions.ProjError as error:
        raise ProjectionError(f"its coordinate system has no PROJ string ({error}); reproject it") from error
    _crs(proj)
    return proj
