"""Where the pixels of a CF field lie: its 1-D coordinates and its grid mapping become a Grid, rows from the north.

Coordinates are pixel centres; with bounds they are what lies in the middle of those (CF conventions 1.11, sections 4, 5.6, 7.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.frames import Grid, unit_of, wrapped
from data_prep.projection import ProjectionError, from_cf, proj_of
from data_prep.readers.cf.dataset import Dataset, Variable, text
from data_prep.readers.cf.units import in_degrees, metres

Axis = Literal["X", "Y", "T"]
LONLAT = "+proj=longlat +datum=WGS84 +no_defs"
_UNEVEN = 0.1  # of a pixel: coordinates rounded to a few digits are this uneven
_FULL_CIRCLE = 360.0
_MOST_WKT = 1 << 16
# of a PROJ string, not of the coordinates, which have their own: +x_0 and +y_0 are in metres always
_UNITS = re.compile(r"(?<!\S)\+?(units|to_meter)=\S+")
_NAMES: dict[str, Axis] = {
    "projection_x_coordinate": "X", "longitude": "X", "grid_longitude": "X", "x": "X", "lon": "X",
    "projection_y_coordinate": "Y", "latitude": "Y", "grid_latitude": "Y", "y": "Y", "lat": "Y",
    "time": "T",
}  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """A field's grid, and how its stored rows and columns are brought north up, west left.

    roll: by how many columns, of a grid around the earth that does not begin at 180 degrees west.
    """

    grid: Grid
    flip_rows: bool
    flip_columns: bool
    roll: int = 0

    def north_up(self, stored: NDArray[Any]) -> NDArray[Any]:
        """(rows, columns) in the file's order, as the grid has them."""
        turned = stored[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        return np.roll(turned, self.roll, axis=1) if self.roll else turned


def axis_of(variable: Variable) -> Axis | None:
    """Which axis a coordinate describes: by its attribute axis, its standard name, its units, or its own name."""
    units = variable.text("units").replace(" ", "_")
    if re.fullmatch(r"[Dd]egrees?(_[Nn]orth|_?N)", units):
        return "Y"
    if re.fullmatch(r"[Dd]egrees?(_[Ee]ast|_?E)", units):
        return "X"
    axis = variable.text("axis").upper()
    if axis in ("X", "Y", "T"):
        return axis  # type: ignore[return-value]
    return _NAMES.get(variable.text("standard_name").lower()) or _NAMES.get(variable.name.lower())


def placed(dataset: Dataset, field: Variable, y: Variable, x: Variable) -> Placed:
    """The grid of a field with these coordinates. Raises RadarFileError saying what is missing or uneven."""
    mapping = _mapping(dataset, field, (y.name, x.name))
    kinds = {"degrees" if in_degrees(axis.text("units")) else "length" for axis in (y, x)}
    if len(kinds) > 1:
        raise dataset.error(f"{y.name!r} and {x.name!r} are in {y.text('units')!r} and {x.text('units')!r}")
    degrees = kinds == {"degrees"}
    proj = _proj(dataset, mapping, field, degrees=degrees, unit_m=1.0 if degrees else _unit_m(dataset, mapping, x))
    rows, columns = (_Line.of(dataset, axis, 1.0 if degrees else _unit_m(dataset, mapping, axis)) for axis in (y, x))
    if degrees and max(abs(rows.low), abs(rows.high)) - rows.step / 2 > 90.001:
        raise dataset.error(f"latitudes {y.name!r} reach from {rows.low:g} to {rows.high:g} degrees")
    west, roll = _from_180_west(columns) if degrees else (columns.low, 0)
    grid = Grid((rows.count, columns.count), proj, (rows.step, columns.step), west, rows.high)
    return Placed(grid, flip_rows=not rows.descends, flip_columns=columns.descends, roll=roll)


@dataclass(frozen=True)
class _Line:
    """An evenly spaced coordinate: outer edges, and the positive step, in metres or degrees."""

    count: int
    step: float
    low: float
    high: float
    descends: bool

    @classmethod
    def of(cls, dataset: Dataset, axis: Variable, unit: float) -> _Line:
        bounds = dataset.variables.get(axis.text("bounds"))
        values, width = dataset.coordinate(axis) * unit, 0.0
        if bounds is not None and bounds.shape == (*axis.shape, 2):
            edges = dataset.coordinate(bounds) * unit
            values, width = edges.mean(axis=1), float(abs(edges[0, 1] - edges[0, 0]))
        if in_degrees(axis.text("units")) and axis_of(axis) == "X":
            values = np.unwrap(values, period=_FULL_CIRCLE)  # 359, 0, 1
        count = len(values)
        step = (float(values[-1]) - float(values[0])) / (count - 1) if count > 1 else width
        if not np.isfinite(values).all() or not 1e-9 < abs(step) < 1e7:
            what = "is one number without bounds" if count == 1 else "is not of finite numbers that differ"
            raise dataset.error(f"coordinate {axis.name!r} {what}; its pixels have no size")
        step = _round(step, count)
        middle = (float(values[0]) + float(values[-1])) / 2.0
        first = middle - step * (count - 1) / 2.0
        if np.abs(values - (first + step * np.arange(count))).max() > _UNEVEN * abs(step):
            raise dataset.error(f"coordinate {axis.name!r} is not evenly spaced; only regular grids can be used")
        half = abs(step) * count / 2.0
        return cls(count, abs(step), middle - half, middle + half, descends=step < 0)


def _round(step: float, count: int) -> float:
    """0.01 of coordinates in float32 that give 0.0099999; over all pixels that is less than a hundredth of one."""
    rounded = float(f"{step:.6g}")
    return rounded if abs(rounded - step) * count < 0.01 * abs(step) else step


def _from_180_west(columns: _Line) -> tuple[float, int]:
    """The west edge in -180..180, and by how many columns a grid around the whole earth is to be rolled to begin there."""
    if abs(columns.count * columns.step - _FULL_CIRCLE) < columns.step / 2.0:
        beyond = round((columns.high - 180.0) / columns.step) % columns.count
        return columns.low + beyond * columns.step - _FULL_CIRCLE * (beyond > 0), beyond
    return wrapped(columns.low), 0


def _mapping(dataset: Dataset, field: Variable, axes: tuple[str, str]) -> Variable | None:
    """The grid-mapping variable: also of the form "crs: x y other: lat lon"."""
    named = field.text("grid_mapping")
    parts = re.findall(r"(\S+?):((?:\s+[^\s:]+(?=\s|$))+)", named)
    fitting = [name for name, coordinates in parts if set(axes) & set(coordinates.split())]
    name = (fitting or [parts[0][0] if parts else named])[0]
    if name and name not in dataset.variables:
        raise dataset.error(f"{field.name!r} names the grid mapping {name!r}, which is not there")
    return dataset.variables[name] if name else None


def _unit_m(dataset: Dataset, mapping: Variable | None, axis: Variable) -> float:
    units = axis.text("units")
    if mapping and units.lower() in ("rad", "radian", "radians"):  # of a geostationary satellite's scan
        height = mapping.attributes.get("perspective_point_height")
        return float(height) if isinstance(height, int | float | np.number) else np.nan
    found = metres(units)
    if found is None:
        raise dataset.error(f"coordinate {axis.name!r} is in {units!r}, expected a length such as m or km, or degrees")
    return found


def _proj(dataset: Dataset, mapping: Variable | None, field: Variable, *, degrees: bool, unit_m: float) -> str:
    if mapping is None:
        if degrees:
            return LONLAT
        raise dataset.error(
            f"{field.name!r} has no grid_mapping, so that its x and y are in no known projection; add the variable "
            "that CF describes (appendix F) and name it in the attribute grid_mapping"
        )
    try:
        proj = _proj_of(mapping.attributes, unit_m)
    except ProjectionError as error:
        raise dataset.error(f"grid mapping {mapping.name!r} cannot be used: {error}") from error
    in_lonlat = unit_of(proj) == "degree"
    if in_lonlat != degrees:
        place = "longitude and latitude" if in_lonlat else "metres"
        raise dataset.error(f"grid mapping {mapping.name!r} is of {place}, the coordinates of {field.name!r} are not")
    return proj


def _proj_of(attributes: Mapping[str, Any], unit_m: float) -> str:
    wkt = text(attributes, "crs_wkt", _MOST_WKT) or text(attributes, "spatial_ref", _MOST_WKT)
    plain = next((text(attributes, name) for name in ("proj4", "proj4_params", "proj4text") if name in attributes), "")
    if plain and not wkt and not text(attributes, "grid_mapping_name"):
        return proj_of(_UNITS.sub("+units=m", plain))
    small = {name: value for name, value in attributes.items() if isinstance(value, str) or np.size(value) <= 2}
    return from_cf(small | ({"crs_wkt": wkt} if wkt else {}), unit_m)
