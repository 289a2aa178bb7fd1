"""A forecast as a netCDF file after the CF conventions 1.10; with the reader the door to netCDF4 (extra `netcdf`).

Axes of arrays: L lead times, H rows (north first), W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import Unit
from data_prep.errors import UserError
from data_prep.files import write_atomically
from data_prep.frames import Grid
from data_prep.projection import lonlat, to_cf

if TYPE_CHECKING:
    from netCDF4 import Dataset

EPOCH = "seconds since 1970-01-01 00:00:00"
EARTH_NAMES = {"reference_ellipsoid_name", "prime_meridian_name", "horizontal_datum_name"}  # all or none (CF, 5.6)

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
) -> None:
    """Writes a forecast, all of it or nothing.

    values_LHW: float32 in `unit`, NaN where there is no data (a fill value in the file). reference_time: UTC, of the
    last observation. lead_s: L seconds after it. source: what made the forecast; history: how (the command line).
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
        _write_values(dataset, values_LHW, unit)
        content = bytes(dataset.close())
    finally:
        if dataset.isopen():
            dataset.close()
    write_atomically(path, content)


def _in_memory(path: Path) -> Dataset:
    """A file that exists in memory only: on disk it appears whole, and a full disk is an OSError, not a broken file."""
    try:
        from netCDF4 import Dataset
    except ModuleNotFoundError as missing:
        raise UserError(
            "forecasts in netCDF need netCDF4, which is not installed; install DS-Nowcast with its extra [netcdf]"
        ) from missing
    return Dataset(path.name, "w", memory=1)


def _write_times(dataset: Dataset, reference_time: datetime, lead_s: Sequence[int]) -> None:
    in_utc = reference_time.replace(tzinfo=UTC) if reference_time.tzinfo is None else reference_time
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
    for name, metres in (("y", grid.y), ("x", grid.x)):
        dataset.createDimension(name, len(metres))
        axis = {
            "standard_name": f"projection_{name}_coordinate",
            "long_name": f"{name} of the pixel centre",
            "units": "m",
            "axis": name.upper(),
        }
        _coordinate(dataset, name, (name,), metres, axis)
    lon, lat = lonlat(grid)
    for name, degrees, units in (("lat", lat, "degrees_north"), ("lon", lon, "degrees_east")):
        word = {"lat": "latitude", "lon": "longitude"}[name]
        # float32 is within half a metre and compresses to half of float64
        place = {"standard_name": word, "long_name": f"{word} of the pixel centre", "units": units}
        _coordinate(dataset, name, ("y", "x"), degrees.astype(np.float32), place)


def _write_values(dataset: Dataset, values_LHW: NDArray[np.float32], unit: Unit) -> None:
    from netCDF4 import default_fillvals

    name, attributes = VARIABLES[unit]
    fill = np.float32(default_fillvals["f4"])
    variable = dataset.createVariable(
        name,
        "f4",
        ("time", "y", "x"),
        fill_value=fill,
        compression="zlib",
        complevel=4,
        chunksizes=(1, *values_LHW.shape[1:]),
    )
    variable.setncatts(attributes)
    variable.setncatts({"grid_mapping": "crs", "coordinates": "forecast_reference_time forecast_period lat lon"})
    variable[:] = np.where(np.isnan(values_LHW), fill, values_LHW)


def _coordinate(
    dataset: Dataset, name: str, dimensions: tuple[str, ...], values: Any, attributes: dict[str, str]
) -> None:
    compression: Literal["zlib"] | None = "zlib" if len(dimensions) > 1 else None
    variable = dataset.createVariable(name, values.dtype, dimensions, compression=compression, complevel=4)
    variable.setncatts(attributes)
    variable[...] = values
