"""Which variables of a CF file are radar fields, and all that is needed to read one: grid, times, meaning of its numbers.

A field is known by its standard name, else by its units and what its name or long name say. Its dimensions are time (or
none), y and x, in any order; others may be of length 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from data_prep.encoding import Unit
from data_prep.errors import RadarFileError
from data_prep.readers import Product
from data_prep.readers.cf.dataset import Dataset, Variable
from data_prep.readers.cf.places import Placed, axis_of, placed
from data_prep.readers.cf.times import Times, cell_interval_s, is_time, time_of_file, times_of
from data_prep.readers.cf.units import Kind, measure
from data_prep.readers.cf.values import Meaning, meaning_of
from data_prep.readers.files import MOST_PIXELS

_MOST_DIMS = 6
_RATES = {"rainfall_rate", "lwe_precipitation_rate", "precipitation_flux", "rainfall_flux"}
_AMOUNTS = {
    "precipitation_amount", "rainfall_amount", "thickness_of_rainfall_amount", "lwe_thickness_of_precipitation_amount"
}  # fmt: skip
_REFLECTIVITY = re.compile(r"(radar_)?equivalent_reflectivity_factor(_[hv])?")
_LIQUID = "atmosphere_mass_content_of_liquid"  # ..._precipitation; VIL
_RAIN_WORDS = re.compile(r"rain|precip|niederschlag|neerslag|pluie|sade", re.IGNORECASE)
_LIQUID_WORDS = re.compile(r"vertically.integrated.liquid|(^|[^a-z])vil([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Field:
    """A variable that holds radar pictures.

    time, y, x: places of these among its dimensions; time is None where it holds one picture. sum_mm: whether its numbers
    are sums in mm, whose interval makes them rates. meaning: of the stored numbers; of sums, with the factor to mm.
    """

    variable: Variable
    product: Product
    placed: Placed
    times: Times
    time: int | None
    y: int
    x: int
    meaning: Meaning
    sum_mm: bool
    cell_s: float | None

    @property
    def steps(self) -> int:
        """How many pictures it holds."""
        return 1 if self.time is None else self.variable.shape[self.time]

    def interval(self, step: int) -> float | None:
        """Seconds of a step's interval: by its bounds, else as its cell methods state; None where neither says."""
        return self.times.interval(step) or self.cell_s

    def meaning_at(self, step: int) -> Meaning | None:
        """What a step's numbers mean; None where that depends on an interval that is not known."""
        if not self.sum_mm:
            return self.meaning
        interval_s = self.interval(step)
        return replace(self.meaning, factor=self.meaning.factor * 3600.0 / interval_s) if interval_s else None


def fields(dataset: Dataset) -> Iterator[Field | RadarFileError]:
    """The radar fields of a file; an error takes the place of one that says it is one and cannot be used."""
    for variable in dataset.variables.values():
        kind = _kind(variable)
        if kind:
            try:
                yield _field(dataset, variable, *kind)
            except RadarFileError as error:
                yield error


def _kind(variable: Variable) -> tuple[Unit, Kind | None] | None:
    """The unit of its frames and what its own units measure (None: nothing that fits); None where it is no radar field."""
    wide = sum(length > 1 for length in variable.shape)
    if not variable.is_numeric or not 2 <= len(variable.shape) <= _MOST_DIMS or wide < 1:
        return None
    name, found = variable.text("standard_name").lower(), measure(variable.text("units"))
    kind = found.kind if found else None
    words = f"{variable.name} {variable.text('long_name')}"
    if _REFLECTIVITY.fullmatch(name):
        return "dBZ", kind if kind in ("dBZ", "Z") else None
    if name.startswith(_LIQUID):
        return "kg/m2", kind if kind == "amount" else None
    if name in _RATES | _AMOUNTS:
        return "mm/h", kind if kind in ("rate", "amount") else None
    if kind == "dBZ" or (kind == "Z" and "reflectivity" in words.lower()):
        return "dBZ", kind
    if kind == "amount" and _LIQUID_WORDS.search(words):
        return "kg/m2", kind
    return ("mm/h", kind) if kind in ("rate", "amount") and _RAIN_WORDS.search(words) else None


def _field(dataset: Dataset, variable: Variable, unit: Unit, kind: Kind | None) -> Field:
    found = measure(variable.text("units"))
    if kind is None or found is None:
        given = variable.text("units")
        raise dataset.error(f"{variable.name!r} has units {given!r}, which are no {_ALLOWED[unit]}")
    y, x, time, stamps = _axes(dataset, variable)
    rows, columns = variable.shape[y], variable.shape[x]
    if not 0 < rows * columns <= MOST_PIXELS:
        raise dataset.error(f"{variable.name!r} declares {rows} x {columns} pixels, expected 1 to {MOST_PIXELS} in all")
    coordinates = (_coordinate(dataset, variable, variable.dims[place]) for place in (y, x))
    grid = placed(dataset, variable, *(axis for axis in coordinates if axis is not None))
    times = times_of(dataset, stamps) if stamps is not None else time_of_file(dataset)
    if times is None:
        raise dataset.error(
            f"{variable.name!r} has no time: no dimension or scalar coordinate with units like minutes since "
            "2017-08-16 00:55:00, and the file no attribute time_coverage_end"
        )
    sum_mm, cell_s = kind == "amount" and unit == "mm/h", cell_interval_s(variable.text("cell_methods")[:500])
    if sum_mm:
        _check_interval(dataset, variable, times, cell_s)
    return Field(
        variable, Product(variable.name, unit), grid, times, time, y, x,
        meaning_of(dataset, variable, unit, found.factor, logarithm=kind == "Z"),
        sum_mm, cell_s,
    )  # fmt: skip


def _check_interval(dataset: Dataset, variable: Variable, times: Times, cell_s: float | None) -> None:
    """That a sum's interval is known. Raises RadarFileError where nothing states it, or not without doubt."""
    if np.isfinite(times.interval_s).any():
        return
    if cell_s is None:
        raise dataset.error(
            f"{variable.name!r} is a sum over no stated interval; add bounds to its time, "
            'or cell_methods like "time: sum (interval: 5 minutes)"'
        )
    steps_s = np.diff(times.ends[np.isfinite(times.ends)])
    usual_s = float(np.median(np.abs(steps_s))) if len(steps_s) else 0.0
    # a shorter one may be what was summed, not what it was summed over
    if cell_s < 0.99 * usual_s:
        raise dataset.error(
            f"{variable.name!r} states an interval of {cell_s:g} s, its times are {usual_s:g} s apart; "
            "add bounds to its time, which say over how long it is summed"
        )


_ALLOWED: dict[Unit, str] = {
    "mm/h": "rain rate or sum, such as mm h-1, kg m-2 s-1 or mm",
    "dBZ": "reflectivity, dBZ or mm6 m-3",
    "kg/m2": "mass of an area, such as kg m-2",
}


def _axes(dataset: Dataset, variable: Variable) -> tuple[int, int, int | None, Variable | None]:
    """Places of y, x and time among the dimensions, and the variable with the times. Raises RadarFileError."""
    axes = dict[str, int]()
    for place, dim in enumerate(variable.dims):
        coordinate = _coordinate(dataset, variable, dim)
        axis = axis_of(coordinate) if coordinate else None
        if axis:
            axes.setdefault(axis, place)
    if "X" not in axes or "Y" not in axes:
        raise dataset.error(_without_places(dataset, variable, [axis for axis in "YX" if axis not in axes]))
    others = [place for place in range(len(variable.dims)) if place not in (axes["X"], axes["Y"])]
    wide = [place for place in others if variable.shape[place] != 1]
    time = axes.get("T", wide[0] if wide else None)
    if [place for place in wide if place != time]:
        names = ", ".join(f"{variable.dims[place]}={variable.shape[place]}" for place in wide)
        raise dataset.error(f"{variable.name!r} has the dimensions {names} beside y and x, expected at most time")
    stamps = _stamps(dataset, variable, time)
    if time is not None and (stamps is None or stamps.shape != (variable.shape[time],)):
        raise dataset.error(f"{variable.name!r} has no times along its dimension {variable.dims[time]!r}")
    return axes["Y"], axes["X"], time, stamps


def _coordinate(dataset: Dataset, variable: Variable, dim: str) -> Variable | None:
    """The 1-D coordinate along a dimension: the variable of its name, or one that the field's `coordinates` lists."""
    for name in (dim, *variable.text("coordinates").split()):
        found = dataset.variables.get(name)
        if found is not None and found.is_numeric and found.dims == (dim,) and axis_of(found):
            return found
    return None


def _stamps(dataset: Dataset, field: Variable, time: int | None) -> Variable | None:
    """The variable with a field's times: along its time dimension, or of one value; valid time before all others."""
    dim = field.dims[time] if time is not None else ""
    shapes = ((dim,),) if dim else ((), ("time",))
    found = [
        one
        for one in dataset.variables.values()
        if is_time(one) and one.dims in shapes and (dim or one.shape in ((), (1,)))
        and one.text("standard_name") in ("time", "")
    ]  # fmt: skip
    listed = (dim or "time", *field.text("coordinates").split())
    rank = {name: place for place, name in enumerate(listed)}
    found.sort(key=lambda one: (one.text("standard_name") != "time", rank.get(one.name, len(rank))))
    return found[0] if found else None


def _without_places(dataset: Dataset, variable: Variable, lacking: list[str]) -> str:
    flat = [one.name for one in dataset.variables.values() if len(one.dims) == 2 and axis_of(one) in ("X", "Y")]
    what = " and ".join(f"{axis.lower()}" for axis in lacking)
    also = (
        f" (its {' and '.join(flat[:2])} are 2-D, which does not say in which projection the grid is even)"
        if flat
        else ""
    )
    return (
        f"{variable.name!r} has no 1-D coordinate for {what}{also}; add projection_x_coordinate, "
        "projection_y_coordinate and a grid_mapping, or 1-D longitude and latitude"
    )
