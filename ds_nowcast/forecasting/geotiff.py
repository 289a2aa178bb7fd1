"""A forecast as a GeoTIFF (OGC 19-008r4) for GIS programs: one float32 band per lead time; rasterio is its extra `geotiff`.

Axes of arrays: L lead times, H rows (north first), W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import Unit
from data_prep.errors import UserError
from data_prep.files import write_atomically
from data_prep.frames import Grid
from data_prep.projection import proj_of_wkt
from data_prep.readers.raster import require_rasterio
from data_prep.times import iso

TITLES: dict[Unit, str] = {"mm/h": "rain rate", "dBZ": "radar reflectivity", "kg/m2": "vertically integrated liquid"}
_STORED = {
    "compress": "deflate",
    "predictor": 3,  # the one for floating point
    "tiled": True,
    "blockxsize": 256,
    "blockysize": 256,
    "interleave": "band",
    "bigtiff": "if_safer",
}


def write_geotiff(
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

    values_LHW: float32 in `unit`, NaN where there is no data (also in the file, as its nodata). reference_time: UTC, of the
    last observation. lead_s: L seconds after it. source: what made the forecast; history: how (the command line).
    A band's description has its valid time, its unit type the unit, its tags `valid_time`, `lead_s` and `units`.
    Raises UserError where rasterio is not installed or a GeoTIFF cannot keep the grid's projection.
    """
    assert values_LHW.shape == (len(lead_s), *grid.shape)
    rasterio = require_rasterio()
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.MemoryFile() as memory:
        with memory.open(**_profile(rasterio, grid, len(lead_s))) as dataset:
            dataset.update_tags(
                TIFFTAG_IMAGEDESCRIPTION=f"Nowcast of {TITLES[unit]}",
                TIFFTAG_SOFTWARE="DS-Nowcast",
                source=source,
                history=history,
                units=unit,
                forecast_reference_time=iso(reference_time),
            )
            for band, (values_HW, lead) in enumerate(zip(values_LHW, lead_s, strict=True), 1):
                dataset.write(values_HW.astype(np.float32, copy=False), band)
                _describe(dataset, band, unit, reference_time + timedelta(seconds=lead), lead)
        _check_place(rasterio, memory, grid)
        content = memory.read()
    write_atomically(path, content)


def _profile(rasterio: Any, grid: Grid, bands: int) -> dict[str, Any]:
    height, width = grid.pixel
    try:
        crs = rasterio.crs.CRS.from_string(grid.proj)
    except (rasterio.errors.CRSError, ValueError) as error:
        raise UserError(f"PROJ string {grid.proj!r} is refused by rasterio ({error}); give a valid one") from error
    return _STORED | {
        "driver": "GTiff",
        "dtype": "float32",
        "nodata": np.nan,
        "count": bands,
        "height": grid.shape[0],
        "width": grid.shape[1],
        "crs": crs,
        "transform": rasterio.Affine(width, 0.0, grid.west, 0.0, -height, grid.north),
    }


def _describe(dataset: Any, band: int, unit: Unit, valid: datetime, lead_s: int) -> None:
    dataset.set_band_description(band, f"{TITLES[unit]} {iso(valid)} (+{lead_s / 60:g} min)")
    dataset.set_band_unit(band, unit)
    dataset.update_tags(band, valid_time=iso(valid), lead_s=str(lead_s), units=unit)


def _check_place(rasterio: Any, memory: Any, grid: Grid) -> None:
    """GeoTIFF has keys for many projections, not for all: one that it has not would be lost without a word."""
    asked = rasterio.crs.CRS.from_string(grid.proj)
    with memory.open(driver="GTiff") as written:
        kept = written.crs
    if not kept or proj_of_wkt(_wkt(kept)) != proj_of_wkt(_wkt(asked)):
        raise UserError(f"a GeoTIFF cannot keep the projection {grid.proj!r}; write the forecast as netCDF")


def _wkt(crs: Any) -> str:
    return str(crs.to_wkt(version="WKT2_2019"))
