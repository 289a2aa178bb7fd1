"""A forecast's GeoTIFF is read by others: values, times, units and places come back as they were."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.encoding import Unit
from data_prep.errors import UserError
from data_prep.frames import Grid
from data_prep.projection import corner_of, metric_proj
from data_prep.readers.geotiff import GeotiffReader
from ds_nowcast.forecasting.geotiff import write_geotiff

rasterio = pytest.importorskip("rasterio")
pyproj = pytest.importorskip("pyproj")

KNMI_PROJ = metric_proj("+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0")
STEREOGRAPHIC = Grid((20, 30), KNMI_PROJ, (1000.0, 1000.0), 200_000.0, -3_750_000.0)
DEGREES = Grid((20, 30), "+proj=longlat +datum=WGS84 +no_defs", (0.01, 0.02), -98.5, 38.25)
REFERENCE = datetime(2010, 8, 26, 3, 30)
LEADS_S = (300, 600, 900)


def a_forecast(shape: tuple[int, int]) -> NDArray[np.float32]:
    values = np.random.default_rng(3).gamma(0.5, 4.0, (len(LEADS_S), *shape)).astype(np.float32)
    values[:, 0] = np.nan
    values[1, 2, 3] = 0.0
    return values


def write(path: Path, values: NDArray[np.float32], grid: Grid, unit: Unit = "mm/h", **changed: Any) -> None:
    given: dict[str, Any] = {
        "reference_time": REFERENCE,
        "lead_s": LEADS_S,
        "source": "unet",
        "history": "forecast --run runs/unet",
    }
    write_geotiff(path, values, unit=unit, grid=grid, **(given | changed))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write(tmp_path / "forecast.tif", a_forecast((20, 30)), STEREOGRAPHIC)
    return tmp_path / "forecast.tif"


def test_a_band_is_a_lead_time_with_its_values_bit_for_bit(written: Path) -> None:
    with rasterio.open(written) as data:
        assert data.count == 3 and set(data.dtypes) == {"float32"}
        np.testing.assert_array_equal(data.read(), a_forecast((20, 30)))


def test_no_data_is_nodata_and_dry_is_zero(written: Path) -> None:
    with rasterio.open(written) as data:
        masked = data.read(2, masked=True)
        assert np.isnan(data.nodata)
    assert masked.mask[0].all() and not masked.mask[1:].any()
    assert masked[2, 3] == 0.0


def test_a_band_says_its_valid_time_and_unit(written: Path) -> None:
    with rasterio.open(written) as data:
        assert data.units == ("mm/h",) * 3
        assert data.descriptions[1] == "rain rate 2010-08-26T03:40:00Z (+10 min)"
        assert data.tags(3) == {"valid_time": "2010-08-26T03:45:00Z", "lead_s": "900", "units": "mm/h"}
        said = data.tags()
    assert said["forecast_reference_time"] == "2010-08-26T03:30:00Z"
    assert (said["source"], said["history"]) == ("unet", "forecast --run runs/unet")
    assert said["TIFFTAG_IMAGEDESCRIPTION"] == "Nowcast of rain rate"


@pytest.mark.parametrize(
    ("unit", "title"), [("mm/h", "rain rate"), ("dBZ", "radar reflectivity"), ("kg/m2", "vertically integrated liquid")]
)
def test_every_unit_has_a_title(tmp_path: Path, unit: Unit, title: str) -> None:
    write(tmp_path / "f.tif", a_forecast((20, 30)), STEREOGRAPHIC, unit)
    with rasterio.open(tmp_path / "f.tif") as data:
        assert data.units[0] == unit and data.descriptions[0].startswith(title)


@pytest.mark.parametrize("grid", [STEREOGRAPHIC, DEGREES])
def test_a_pixel_lies_where_the_grid_says(tmp_path: Path, grid: Grid) -> None:
    write(tmp_path / "f.tif", a_forecast(grid.shape), grid)
    with rasterio.open(tmp_path / "f.tif") as data:
        assert (data.bounds.left, data.bounds.top) == pytest.approx((grid.west, grid.north), abs=1e-9)
        assert data.xy(4, 7) == pytest.approx((grid.x[7], grid.y[4]), abs=1e-9)
        assert data.tags()["AREA_OR_POINT"] == "Area"
        kept = pyproj.CRS.from_wkt(data.crs.to_wkt(version="WKT2_2019"))
    lon, lat = pyproj.Transformer.from_crs(kept, kept.geodetic_crs, always_xy=True).transform(grid.x[7], grid.y[4])
    assert corner_of(grid.proj, lon, lat) == pytest.approx((grid.x[7], grid.y[4]), abs=1e-3 * grid.pixel[0])


def test_the_coordinate_system_comes_back_equal(tmp_path: Path) -> None:
    write(tmp_path / "f.tif", a_forecast((20, 30)), STEREOGRAPHIC)
    with rasterio.open(tmp_path / "f.tif") as data:
        assert data.crs == rasterio.CRS.from_string(KNMI_PROJ)
    write(tmp_path / "f.tif", a_forecast((20, 30)), DEGREES)
    with rasterio.open(tmp_path / "f.tif") as data:
        assert data.crs == rasterio.CRS.from_epsg(4326)


@pytest.mark.parametrize(
    "proj",
    [
        "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere",
        "+proj=lcc +lat_1=30 +lat_2=60 +lat_0=45 +lon_0=9 +R=6371229 +units=m",
        "+proj=aeqd +lat_0=50 +lon_0=10 +R=6371000 +units=m",
        "+proj=somerc +lat_0=46.95240555555556 +lon_0=7.439583333333333 +x_0=2600000 +y_0=1200000 +ellps=bessel +units=m",
        "+proj=longlat +R=6371229 +no_defs",
    ],
)
def test_our_own_reader_reads_it_back(tmp_path: Path, proj: str) -> None:
    pixel = (0.5, 0.5) if "longlat" in proj else (2000.0, 2000.0)
    grid = Grid((20, 30), proj, pixel, -20.0, 40.0)
    write(tmp_path / "f.tif", a_forecast(grid.shape), grid)
    frames = GeotiffReader().frames(tmp_path / "f.tif")
    assert [frame.time for frame in frames] == [
        REFERENCE.replace(tzinfo=UTC) + timedelta(seconds=lead) for lead in LEADS_S
    ]
    np.testing.assert_array_equal(np.stack([frame.field for frame in frames]), a_forecast(grid.shape))
    back = frames[0].grid
    assert (back.shape, back.pixel, back.west, back.north) == (grid.shape, pixel, -20.0, 40.0)
    assert pyproj.CRS(back.proj).equals(pyproj.CRS(proj), ignore_axis_order=True)


def test_it_is_tiled_and_compressed(tmp_path: Path) -> None:
    grid = Grid((400, 600), KNMI_PROJ, (1000.0, 1000.0), 0.0, -3_650_000.0)
    values = np.zeros((3, 400, 600), np.float32)
    values[:, 100:200, 100:300] = np.linspace(0.1, 20.0, 200, dtype=np.float32)
    write(tmp_path / "f.tif", values, grid)
    with rasterio.open(tmp_path / "f.tif") as data:
        assert data.profile["tiled"] and data.profile["compress"] == "deflate"
        assert data.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"
    assert (tmp_path / "f.tif").stat().st_size < values.nbytes / 20


def test_a_reference_time_with_a_zone_is_kept_as_utc(tmp_path: Path) -> None:
    east = REFERENCE.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=2)))
    write(tmp_path / "f.tif", a_forecast((20, 30)), STEREOGRAPHIC, reference_time=east)
    with rasterio.open(tmp_path / "f.tif") as data:
        assert data.tags(1)["valid_time"] == "2010-08-26T03:35:00Z"


def test_a_failure_leaves_the_forecast_of_before_and_nothing_beside_it(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written.read_bytes()

    def full_disk(_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            write(written, np.zeros((3, 20, 30), np.float32), STEREOGRAPHIC)
    with pytest.raises(UserError, match="PROJ"):
        write(written, a_forecast((4, 5)), Grid((4, 5), "+proj=nonsense", (1.0, 1.0), 0.0, 0.0))
    assert written.read_bytes() == before
    assert list(written.parent.iterdir()) == [written]


def test_a_projection_that_a_geotiff_cannot_keep_is_refused(tmp_path: Path) -> None:
    rotated = "+proj=ob_tran +o_proj=stere +o_lat_p=39.25 +o_lon_p=0 +lon_0=18 +units=m"
    with pytest.raises(UserError, match="cannot keep the projection"):
        write(tmp_path / "f.tif", a_forecast((4, 5)), Grid((4, 5), rotated, (1000.0, 1000.0), 0.0, 0.0))
    assert not list(tmp_path.iterdir())


def test_without_rasterio_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(UserError, match=r"ds-nowcast\[geotiff\]"):
        write(tmp_path / "f.tif", a_forecast((20, 30)), STEREOGRAPHIC)
    assert not list(tmp_path.iterdir())
