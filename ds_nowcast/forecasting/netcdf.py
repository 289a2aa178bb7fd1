"""A forecast as a netCDF file after the CF conventions 1.10; with the reader the door to netCDF4 (extra `netcdf`).

A grid in metres has the dimensions y and x, and longitude and latitude of each pixel beside them; a grid in degrees has
the dimensions lat and lon. Axes of arrays: L lead times, H rows (north first), W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import Unit
from data_prep.errors import not_installed
from data_prep.files import write_atomically
from data_prep.frames import Grid
from data_prep.projection import lonlat, to_cf
from data_prep.times import utc

if TYPE_CHECKING:
    from netCDF4 import Dataset

EPOCH = "seconds since 1970-01-01 00:00:00"
EARTH_NAMES = {"reference_ellipsoid_name", "prime_meridian_name", "horizontal_datum_name"}  # all or none (CF, 5.6)

CHUNK = 1024  # rows and columns compressed at a time: a reader of one place need not decompress a continent
PLACES = {
    "x": {"standard_name": "projection_x_coordinate", "long_name": "x of the pixel centre", "units": "m"},
    "y": {"standard_name": "projection_y_coordinate", "long_name": "y of the pixel centre", "units": "m"},
    "lon": {"standard_name": "longitude", "long_name": "longitude of the pixel centre", "units": "degrees_east"},
    "lat": {"standard_name": "latitude", "long_name": "latitude of the pixel centre", "units": "degrees_north"},
}

VARIABLES: dict[Unit, tuple[str, dict[str, str]]] = {
    "mm/h": (
        "rainfall_rate",
        {
            "standard_name": "rainfall_rate",
            "long_name": "rain rate",
            "units": "mm h-1",
            "cell_methods": "area: mean",
        },
    ),
    "dBZ": (
        "reflectivity",
        {
            "standard_name": "equivalent_reflectivity_factor",
            "long_name": "radar reflectivity",
            "units": "dBZ",
        },
    ),
    "kg/m2": (
        "vil",
        {
            "standard_name": "atmosphere_mass_content_of_liquid_precipitation",
            "long_name": "vertically integrated liquid",
            "units": "kg m-2",
            "comment": "estimated from radar reflectivity as if all of it came from raindrops",
        },
    ),
}


def write_forecast(
    path: Path,
    values_LHW: NDArray[np.float32],
    *,
    unit: Unit,
    grid: Grid,
    reference_time: datetime,
    lead_s: Sequence[int],
    source: str,
    history: str,
    members: int = 1,
    spread_LHW: NDArray[np.float32] | None = None,
) -> None:
    """Writes a forecast, all of it or nothing.

    values_LHW: float32 in `unit`, NaN where there is no data (a fill value in the file). reference_time: UTC, of the
    last observation. lead_s: L seconds after it. source: what made the forecast; history: how (the command line).
    members: of an ensemble, of which the values are the mean, and spread_LHW the standard deviation: a second variable.
    Raises UserError where netCDF4 or pyproj is not installed or the grid's projection is not valid.
    """
    assert values_LHW.shape == (len(lead_s), *grid.shape)
    dataset = _in_memory(path)
    try:
        dataset.setncatts(
            {
                "Conventions": "CF-1.10",
                "title": f"Nowcast of {VARIABLES[unit][1]['long_name']}",
                "source": source,
                "history": history,
            }
        )
        _write_times(dataset, reference_time, lead_s)
        _write_places(dataset, grid)
        name, attributes = VARIABLES[unit]
        if spread_LHW is not None:
            _write_members(dataset, members)
            _write_values(dataset, f"{name}_spread", spread_LHW, _of_spread(attributes), grid)
            attributes = _of_mean(attributes) | {"ancillary_variables": f"{name}_spread"}
        _write_values(dataset, name, values_LHW, attributes, grid)
        content = dataset.close()
    finally:
        if dataset.isopen():
            dataset.close()
    write_atomically(path, [content])


def _in_memory(path: Path) -> Dataset:
    """A file that exists in memory only: on disk it appears whole, and a full disk is an OSError, not a broken file."""
    try:
        from netCDF4 import Dataset
    except ModuleNotFoundError as missing:
        raise not_installed("a forecast in netCDF", "netCDF4", "netcdf") from missing
    return Dataset(path.name, "w", memory=1)


def _write_times(dataset: Dataset, reference_time: datetime, lead_s: Sequence[int]) -> None:
    in_utc = utc(reference_time)
    dataset.createDimension("time", len(lead_s))
    leads = np.asarray(lead_s, np.float64)
    time = {"standard_name": "time", "long_name": "valid time", "units": EPOCH, "calendar": "standard", "axis": "T"}
    _coordinate(dataset, "time", ("time",), in_utc.timestamp() + leads, time)
    reference = {
        "standard_name": "forecast_reference_time",
        "long_name": "time of the last observation",
        "units": EPOCH,
        "calendar": "standard",
    }
    _coordinate(dataset, "forecast_reference_time", (), np.float64(in_utc.timestamp()), reference)
    period = {"standard_name": "forecast_period", "long_name": "lead time", "units": "s"}
    _coordinate(dataset, "forecast_period", ("time",), leads, period)


def _write_places(dataset: Dataset, grid: Grid) -> None:
    mapping = to_cf(grid.proj)
    if not mapping.keys() >= EARTH_NAMES:
        mapping = {key: value for key, value in mapping.items() if key not in EARTH_NAMES}
    dataset.createVariable("crs", "i4", ()).setncatts(mapping)
    for name, centres in zip(_axes(grid), (grid.y, grid.x), strict=True):
        dataset.createDimension(name, len(centres))
        letter = "X" if name in ("x", "lon") else "Y"
        _coordinate(dataset, name, (name,), centres, PLACES[name] | {"axis": letter})
    if grid.unit == "m":
        for name, degrees in zip(("lon", "lat"), lonlat(grid), strict=True):
            # float32 is within half a metre and compresses to half of float64
            _coordinate(dataset, name, ("y", "x"), degrees.astype(np.float32), PLACES[name])


def _axes(grid: Grid) -> tuple[str, str]:
    """The names of its rows and columns: of a grid in degrees they are latitudes and longitudes."""
    return ("lat", "lon") if grid.unit == "degree" else ("y", "x")


def _write_members(dataset: Dataset, members: int) -> None:
    """What `cell_methods` say mean and standard deviation were taken over."""
    attributes = {
        "standard_name": "realization",
        "long_name": "number of the last member",
        "units": "1",
        "comment": f"mean and standard deviation (divisor {members - 1}) are of members 1 to {members}",
    }
    _coordinate(dataset, "realization", (), np.int32(members), attributes)


def _of_mean(attributes: dict[str, str]) -> dict[str, str]:
    """A variable's attributes where it is the mean of an ensemble."""
    methods = [attributes["cell_methods"]] if "cell_methods" in attributes else []
    return attributes | {
        "long_name": f"{attributes['long_name']}, mean of the members",
        "cell_methods": " ".join([*methods, "realization: mean"]),
    }


def _of_spread(attributes: dict[str, str]) -> dict[str, str]:
    return _of_mean(attributes) | {
        "long_name": f"{attributes['long_name']}, standard deviation of the members",
        "cell_methods": _of_mean(attributes)["cell_methods"].replace(
            "realization: mean", "realization: standard_deviation"
        ),
    }


def _write_values(
    dataset: Dataset, name: str, values_LHW: NDArray[np.float32], attributes: dict[str, str], grid: Grid
) -> None:
    from netCDF4 import default_fillvals

    fill = np.float32(default_fillvals["f4"])
    axes = _axes(grid)
    variable = dataset.createVariable(
        name,
        "f4",
        ("time", *axes),
        fill_value=fill,
        compression="zlib",
        complevel=4,
        chunksizes=(1, *(min(length, CHUNK) for length in grid.shape)),
    )
    variable.setncatts(attributes)
    beside = ["forecast_reference_time", "forecast_period", *(name for name in ("lat", "lon") if name not in axes)]
    beside += ["realization"] if "realization" in dataset.variables else []
    variable.setncatts({"grid_mapping": "crs", "coordinates": " ".join(beside)})
    for lead, values_HW in enumerate(values_LHW):
        variable[lead] = np.where(np.isnan(values_HW), fill, values_HW)


def _coordinate(
    dataset: Dataset, name: str, dimensions: tuple[str, ...], values: Any, attributes: dict[str, str]
) -> None:
    compression: Literal["zlib"] | None = "zlib" if len(dimensions) > 1 else None
    variable = dataset.createVariable(name, values.dtype, dimensions, compression=compression, complevel=4)
    variable.setncatts(attributes)
    variable[...] = values
