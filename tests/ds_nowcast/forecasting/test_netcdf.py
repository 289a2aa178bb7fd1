"""A forecast's netCDF file is read by others: times, leads, places and missing values come back as they were."""

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
from data_prep.projection import metric_proj
from ds_nowcast.forecasting.netcdf import write_forecast

netCDF4 = pytest.importorskip("netCDF4")
xarray = pytest.importorskip("xarray")
pyproj = pytest.importorskip("pyproj")

KNMI_PROJ = metric_proj("+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0")
KNMI = Grid((765, 700), KNMI_PROJ, (1000.0, 1000.0), 0.0, -3_650_000.0)
SEVIR_PROJ = "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere"
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
    write_forecast(path, values, unit=unit, grid=grid, **(given | changed))


@pytest.fixture(scope="module")
def small() -> Grid:
    return KNMI.crop(100, 200, 20, 30)


@pytest.fixture(scope="module")
def in_degrees() -> Grid:
    """A piece of the United States' composite, 0.01 degrees."""
    return Grid((20, 30), "+proj=longlat +R=6371200", (0.01, 0.01), -98.0, 36.5)


@pytest.fixture
def written(tmp_path: Path, small: Grid) -> Path:
    write(tmp_path / "forecast.nc", a_forecast(small.shape), small)
    return tmp_path / "forecast.nc"


def test_xarray_reads_the_same_times_leads_and_values(written: Path, small: Grid) -> None:
    with xarray.open_dataset(written) as data:
        rain = data["rainfall_rate"]
        assert rain.dims == ("time", "y", "x")
        np.testing.assert_array_equal(rain.values, a_forecast(small.shape))
        expected = [np.datetime64(REFERENCE + timedelta(seconds=lead), "ns") for lead in LEADS_S]
        assert list(rain["time"].values) == expected
        assert rain["forecast_reference_time"].values == np.datetime64(REFERENCE, "ns")
        assert rain["forecast_period"].values.tolist() == list(LEADS_S)
        assert rain["forecast_period"].attrs == {
            "standard_name": "forecast_period",
            "long_name": "lead time",
            "units": "s",
        }


def test_no_data_is_a_finite_fill_value_and_dry_is_zero(written: Path) -> None:
    with netCDF4.Dataset(written) as data:
        variable = data["rainfall_rate"]
        assert np.isfinite(variable._FillValue)
        assert variable.dtype == np.float32
        assert variable[0, 0].mask.all()
        assert variable[1, 2, 3] == 0.0
        data.set_auto_mask(False)
        assert np.isfinite(variable[:]).all()
        assert variable.filters()["zlib"]


@pytest.mark.parametrize(
    ("unit", "name", "standard_name", "units"),
    [
        ("mm/h", "rainfall_rate", "rainfall_rate", "mm h-1"),
        ("dBZ", "reflectivity", "equivalent_reflectivity_factor", "dBZ"),
        ("kg/m2", "vil", "atmosphere_mass_content_of_liquid_precipitation", "kg m-2"),
    ],
)
def test_a_variable_is_named_by_its_unit(
    tmp_path: Path, small: Grid, unit: Unit, name: str, standard_name: str, units: str
) -> None:
    write(tmp_path / "f.nc", a_forecast(small.shape), small, unit)
    with netCDF4.Dataset(tmp_path / "f.nc") as data:
        assert [key for key in data.variables if len(data[key].dimensions) == 3] == [name]
        assert (data[name].standard_name, data[name].units) == (standard_name, units)
        assert (data.Conventions, data.source, data.history) == ("CF-1.10", "unet", "forecast --run runs/unet")
        assert data.title.startswith("Nowcast of ")


def test_every_name_that_an_attribute_gives_is_a_variable(written: Path) -> None:
    with netCDF4.Dataset(written) as data:
        rain = data["rainfall_rate"]
        assert set(rain.coordinates.split()) < set(data.variables)
        assert data[rain.grid_mapping].grid_mapping_name == "polar_stereographic"


def test_axes_are_pixel_centres_in_metres_north_first(written: Path, small: Grid) -> None:
    with netCDF4.Dataset(written) as data:
        np.testing.assert_array_equal(data["x"][:], small.x)
        np.testing.assert_array_equal(data["y"][:], small.y)
        assert data["y"][0] > data["y"][-1]
        assert data["lat"][0, 0] > data["lat"][-1, 0]
        assert data["x"].standard_name == "projection_x_coordinate"
        assert data["x"].units == "m"


def test_a_grid_in_degrees_has_latitudes_and_longitudes_for_axes(tmp_path: Path, in_degrees: Grid) -> None:
    write(tmp_path / "f.nc", a_forecast(in_degrees.shape), in_degrees)
    with xarray.open_dataset(tmp_path / "f.nc", decode_coords="all") as data:
        rain = data["rainfall_rate"]
        assert rain.dims == ("time", "lat", "lon") and {"x", "y"}.isdisjoint(data.variables)
        np.testing.assert_array_equal(data["lat"], in_degrees.y)
        np.testing.assert_array_equal(data["lon"], in_degrees.x)
        assert (float(data["lat"][0]), float(data["lon"][0])) == pytest.approx((36.495, -97.995), abs=1e-9)
        for name, units, axis in (("latitude", "degrees_north", "Y"), ("longitude", "degrees_east", "X")):
            attributes = data[name[:3]].attrs
            assert (attributes["standard_name"], attributes["units"], attributes["axis"]) == (name, units, axis)
        np.testing.assert_array_equal(rain.values, a_forecast(in_degrees.shape))
        one = rain.sel(lat=36.4701, lon=-97.9601, method="nearest")  # the third row, the fourth column
        np.testing.assert_array_equal(one.values, a_forecast(in_degrees.shape)[:, 2, 3])
        assert data["crs"].attrs["grid_mapping_name"] == "latitude_longitude"
        assert data["crs"].attrs["earth_radius"] == 6371200.0


@pytest.mark.parametrize("proj", [KNMI_PROJ, SEVIR_PROJ, "+proj=longlat +R=6371200", "+proj=longlat +datum=WGS84"])
def test_pyproj_reads_the_grid_mapping_as_the_same_projection(tmp_path: Path, proj: str) -> None:
    grid = Grid((4, 5), proj, (1.0, 1.0), 0.0, 50.0)
    write(tmp_path / "f.nc", a_forecast(grid.shape), grid)
    with xarray.open_dataset(tmp_path / "f.nc", decode_coords="all") as data:
        assert pyproj.CRS.from_cf(data["crs"].attrs).equals(pyproj.CRS(proj))


def test_a_field_larger_than_a_chunk_is_written_in_pieces(tmp_path: Path) -> None:
    grid = Grid((1030, 1100), "+proj=longlat +R=6371200", (0.01, 0.01), -98.0, 46.5)
    values = np.arange(1030 * 1100, dtype=np.float32).reshape(1, *grid.shape)
    write(tmp_path / "f.nc", values, grid, lead_s=[120])
    with netCDF4.Dataset(tmp_path / "f.nc") as data:
        assert data["rainfall_rate"].chunking() == [1, 1024, 1024]
        np.testing.assert_array_equal(data["rainfall_rate"][:], values)


def test_the_corners_of_the_knmi_composite_lie_where_its_files_say(tmp_path: Path) -> None:
    write(tmp_path / "f.nc", np.zeros((1, *KNMI.shape), np.float32), KNMI, lead_s=[300])
    corners = {(-1, 0): (0.0, 49.362), (0, 0): (0.0, 55.974), (0, -1): (10.856, 55.389), (-1, -1): (9.009, 48.895)}
    with netCDF4.Dataset(tmp_path / "f.nc") as data:
        for place, (lon, lat) in corners.items():
            apart_km = pyproj.Geod(ellps="WGS84").inv(lon, lat, data["lon"][place], data["lat"][place])[2] / 1000.0
            assert apart_km < 1.0  # half a pixel's diagonal


@pytest.mark.parametrize("proj", [KNMI_PROJ, SEVIR_PROJ, "+proj=lcc +lat_1=30 +lat_2=60 +lat_0=45 +lon_0=9 +R=6371229"])
def test_the_projection_comes_back(tmp_path: Path, proj: str) -> None:
    proj = metric_proj(proj)
    grid = Grid((4, 5), proj, (1000.0, 1000.0), 100_000.0, 0.0 if "stere" not in proj else -3_650_000.0)
    write(tmp_path / "f.nc", a_forecast(grid.shape), grid)
    with netCDF4.Dataset(tmp_path / "f.nc") as data:
        mapping = {name: data["crs"].getncattr(name) for name in data["crs"].ncattrs()}
        lon, lat = data["lon"][2, 3], data["lat"][2, 3]
    read = pyproj.CRS.from_cf({name: value for name, value in mapping.items() if name != "crs_wkt"})
    for crs in (read, pyproj.CRS.from_wkt(mapping["crs_wkt"])):
        assert crs.ellipsoid.semi_major_metre == pytest.approx(pyproj.CRS(proj).ellipsoid.semi_major_metre)
        assert crs.ellipsoid.semi_minor_metre == pytest.approx(pyproj.CRS(proj).ellipsoid.semi_minor_metre)
        place = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(lon, lat)
        assert place == pytest.approx((grid.x[3], grid.y[2]), abs=2.0)  # longitude and latitude are float32
    names = {"reference_ellipsoid_name", "prime_meridian_name", "horizontal_datum_name"} & mapping.keys()
    assert len(names) in (0, 3)  # CF 1.10, 5.6: all or none


def test_a_reference_time_with_a_zone_is_kept_as_utc(tmp_path: Path, small: Grid) -> None:
    east = REFERENCE.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=2)))
    write(tmp_path / "f.nc", a_forecast(small.shape), small, reference_time=east)
    with xarray.open_dataset(tmp_path / "f.nc") as data:
        assert data["forecast_reference_time"].values == np.datetime64(REFERENCE, "ns")


def test_a_failure_leaves_the_forecast_of_before_and_nothing_beside_it(
    written: Path, small: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written.read_bytes()

    def full_disk(_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            write(written, np.zeros((3, *small.shape), np.float32), small)
    with pytest.raises(UserError, match="PROJ"):
        write(written, a_forecast((4, 5)), Grid((4, 5), "+proj=nonsense", (1.0, 1.0), 0.0, 0.0))
    assert written.read_bytes() == before
    assert list(written.parent.iterdir()) == [written]


def test_without_netcdf4_the_error_names_the_extra(
    tmp_path: Path, small: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    with pytest.raises(UserError, match=r"pip install 'ds-nowcast\[netcdf\]'"):
        write(tmp_path / "f.nc", a_forecast(small.shape), small)
    assert not list(tmp_path.iterdir())


def test_the_spread_of_an_ensemble_is_a_second_variable_that_the_first_names(tmp_path: Path, small: Grid) -> None:
    mean, spread = a_forecast(small.shape), a_forecast(small.shape) / 4
    write(tmp_path / "f.nc", mean, small, members=5, spread_LHW=spread)
    with xarray.open_dataset(tmp_path / "f.nc") as data:
        np.testing.assert_array_equal(data["rainfall_rate"].values, mean)
        assert data["rainfall_rate"].attrs["ancillary_variables"] == "rainfall_rate_spread"
        assert data["rainfall_rate"].attrs["cell_methods"] == "area: mean realization: mean"
        beside = data["rainfall_rate_spread"]
        np.testing.assert_array_equal(beside.values, spread)
        assert beside.attrs["cell_methods"] == "area: mean realization: standard_deviation"
        assert (beside.attrs["standard_name"], beside.attrs["units"]) == ("rainfall_rate", "mm h-1")
        assert int(data["realization"]) == 5 and data["realization"].attrs["standard_name"] == "realization"
        assert "divisor 4" in data["realization"].attrs["comment"]


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["mm/h", "dBZ", "kg/m2"])
@pytest.mark.parametrize("of_ensemble", [False, True])
@pytest.mark.parametrize("where", ["in metres", "SEVIR", "in degrees"])
def test_a_checker_of_the_cf_conventions_finds_nothing(
    tmp_path: Path, small: Grid, in_degrees: Grid, unit: Unit, of_ensemble: bool, where: str
) -> None:
    pytest.importorskip("compliance_checker")
    from compliance_checker.runner import CheckSuite

    sevir = Grid((20, 30), metric_proj(SEVIR_PROJ), (1000.0, 1000.0), 0.0, 0.0)
    grid = {"in metres": small, "SEVIR": sevir, "in degrees": in_degrees}[where]
    values = a_forecast(grid.shape)
    write(tmp_path / "f.nc", values, grid, unit, **({"members": 3, "spread_LHW": values} if of_ensemble else {}))
    CheckSuite.load_all_available_checkers()
    checks = CheckSuite()
    dataset = checks.load_dataset(str(tmp_path / "f.nc"))
    try:
        found, errors = checks.run_all(dataset, ["cf:1.10"], skip_checks=[])["cf:1.10"]
    finally:
        dataset.close()
    assert errors == {} and len(found) > 20
    assert [message for result in found if result.value[0] != result.value[1] for message in result.msgs] == []
