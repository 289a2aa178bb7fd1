"""A pixel of a real archive keeps its place and its value: in the shard, and in a forecast's netCDF and GeoTIFF.

The model forecasts the last frame, so that the forecast of a pixel is known.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from data_prep.frames import Grid
from data_prep.projection import corner_of
from data_prep.readers import READERS
from data_prep.shards.index import open_shards
from data_prep.shards.stored import read_sample
from ds_nowcast import forecast
from tests import part_of_mrms
from tests.ds_nowcast.conftest import config
from tests.ds_nowcast.made_model import made_run
from tests.launching import ROOT
from tests.part_of_mrms import PART

h5py = pytest.importorskip("h5py")
xarray = pytest.importorskip("xarray")
rasterio = pytest.importorskip("rasterio")
pyproj = pytest.importorskip("pyproj")

__all__ = ["config"]  # a fixture
STEP = 0.037  # half a step of 0.5 dBZ of the shards' codes, as a share of the rain rate
SETTINGS = ["nowcast.data.input_frames=2", "nowcast.data.output_frames=2"]


class Pixel(NamedTuple):
    """A pixel of the last frame, worked out from the archive's own bytes."""

    row: int
    column: int
    lon: float
    lat: float
    rain_mm_h: float


def build(source: Path, out: Path, archive: str, crop: int) -> None:
    """The command, in a process of its own as a user's."""
    words = f"build --format {archive} --out {out} --split train --crop {crop} --workers 1 --quiet"
    command = [sys.executable, "-m", "data_prep", *words.split(), "--frames", "4", "--source", str(source)]
    subprocess.run(command, check=True, cwd=ROOT)


def linked(files: list[Path], folder: Path) -> Path:
    folder.mkdir()
    for file in files:
        (folder / file.name).symlink_to(file)
    return folder


def assert_in_the_shard(folder: Path, pixel: Pixel) -> None:
    """The last frame of the one sample has the pixel's value where its grid says that the place is."""
    shards = open_shards(folder)
    meta, codes_THW = read_sample(shards, "train", 0)
    grid = Grid.from_dict(meta["grid"])
    x, y = corner_of(grid.proj, pixel.lon, pixel.lat)
    row, column = (grid.north - y) / grid.pixel[0], (x - grid.west) / grid.pixel[1]
    assert (row % 1, column % 1) == pytest.approx((0.5, 0.5), abs=0.01)  # a pixel's centre
    rain = shards.index.codes.decode(codes_THW[-1], "mm/h")[int(row), int(column)]
    assert rain == pytest.approx(pixel.rain_mm_h, rel=STEP)


def assert_in_the_forecast(netcdf: Path, geotiff: Path, pixel: Pixel, axes: tuple[str, str]) -> None:
    """Both leads have the pixel's value at its place, found by each file's own georeference."""
    with xarray.open_dataset(netcdf, decode_coords="all") as data:
        rain_LHW = data["rainfall_rate"]
        assert rain_LHW.dims == ("time", *axes)
        to_crs = pyproj.Transformer.from_crs("+proj=longlat", pyproj.CRS.from_cf(data["crs"].attrs), always_xy=True)
        x, y = place = project(to_crs.target_crs, pixel)
        there = rain_LHW.sel({axes[0]: y, axes[1]: x}, method="nearest")
        assert (float(there[axes[1]]), float(there[axes[0]])) == pytest.approx(place, abs=0.01 * abs(step(data, axes)))
        assert (float(there["lon"]), float(there["lat"])) == pytest.approx((pixel.lon, pixel.lat), abs=1e-5)
        assert there.values == pytest.approx([pixel.rain_mm_h] * 2, rel=STEP)
        values_LHW = rain_LHW.values
    with rasterio.open(geotiff) as file:
        place = project(pyproj.CRS.from_wkt(file.crs.to_wkt()), pixel)
        assert file.index(*place) == (pixel.row, pixel.column)
        assert file.xy(pixel.row, pixel.column) == pytest.approx(place, abs=0.01 * abs(file.res[0]))
        assert file.units == ("mm/h", "mm/h")
        np.testing.assert_array_equal(file.read(), values_LHW)


def project(crs: Any, pixel: Pixel) -> tuple[float, float]:
    """Its place in a coordinate system, on that system's own earth."""
    return pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(pixel.lon, pixel.lat)


def step(data: Any, axes: tuple[str, str]) -> float:
    return float(data[axes[1]][1] - data[axes[1]][0])


def forecast_files(run: Path, archive: str, source: Path, folder: Path) -> tuple[Path, Path]:
    files = folder / "f.nc", folder / "f.tif"
    argv = ["--run", run, "--format", archive, "--source", source, "--out", files[0], "--geotiff", files[1], "--quiet"]
    assert forecast.main([str(word) for word in argv]) == 0
    return files


def wettest(rain: Any, crop: int) -> tuple[int, int]:
    """Row and column of the highest value within a square in the middle; rain: (rows, columns), no data negative."""
    top, left = ((length - crop) // 2 for length in rain.shape)
    row, column = np.unravel_index(np.argmax(rain[top : top + crop, left : left + crop]), (crop, crop))
    return top + int(row), left + int(column)


@pytest.mark.slow
def test_a_pixel_of_knmi_stays_where_it_is(radar_data: Path, config: Path, tmp_path: Path) -> None:
    files = sorted((radar_data / "knmi").glob("*.h5"))[60:64]
    source = linked(files, tmp_path / "archive")
    build(source, tmp_path / "shards", "knmi", 256)
    with h5py.File(files[-1]) as file:
        codes, place = file["image1/image_data"][:].astype(int), file["geographic"].attrs
        row, column = wettest(np.where(codes >= 65534, -1, codes), 256)
        on_km_earth = pyproj.Proj(file["geographic/map_projection"].attrs["projection_proj4_params"].decode())
        x_km, y_km = float(place["geo_column_offset"][0]), -float(place["geo_row_offset"][0])
    lon, lat = on_km_earth(x_km + column + 0.5, y_km - row - 0.5, inverse=True)
    pixel = Pixel(row, column, lon, lat, codes[row, column] * 0.01 * 12)  # hundredths of a mm in five minutes
    assert pixel.rain_mm_h > 5
    made_run(tmp_path / "run", config, tmp_path / "shards", SETTINGS)
    assert_in_the_shard(tmp_path / "shards", pixel)
    assert_in_the_forecast(*forecast_files(tmp_path / "run", "knmi", source, tmp_path), pixel, ("y", "x"))


@pytest.mark.slow
def test_a_pixel_of_mrms_stays_where_it_is(
    radar_data: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((radar_data / "mrms").glob("*.grib2"))[:4]
    source = linked(files, tmp_path / "archive")
    build(source, tmp_path / "shards", "mrms", 512)
    with rasterio.open(files[-1]) as file:  # GDAL's own reader of GRIB
        rain = file.read(1)
        row, column = wettest(rain, 512)
        lon, lat = file.xy(row, column)
    pixel = Pixel(row - PART[0], column - PART[1], lon, lat, float(rain[row, column]))
    assert pixel.rain_mm_h > 3
    made_run(tmp_path / "run", config, tmp_path / "shards", SETTINGS)
    assert_in_the_shard(tmp_path / "shards", pixel)
    monkeypatch.setitem(READERS, "mrms", part_of_mrms.__name__)
    assert_in_the_forecast(*forecast_files(tmp_path / "run", "mrms", source, tmp_path), pixel, ("lat", "lon"))
