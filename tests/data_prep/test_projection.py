"""Places in map projections: known coordinates, there and back, and the attributes that CF asks for."""

from __future__ import annotations

import sys

import numpy as np
import pyproj
import pytest

from data_prep import projection
from data_prep.errors import UserError
from data_prep.frames import Grid
from data_prep.projection import (
    ProjectionError,
    corner_of,
    lonlat,
    metric_proj,
    place_of,
    proj_of,
    proj_of_wkt,
    to_cf,
)

SEVIR = "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere"
KNMI = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +x_0=0 +y_0=0 +units=m"


def test_the_projections_origin_is_at_zero() -> None:
    assert corner_of(SEVIR, -98.0, 38.0) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_north_of_the_origin_on_a_sphere_follows_the_equal_area_formula() -> None:
    distance_m = 2 * 6_370_997.0 * np.sin(np.radians(2.0) / 2)  # Snyder (1987), eq. 24-2 along the meridian
    assert corner_of(SEVIR, -98.0, 40.0) == pytest.approx((0.0, distance_m), abs=0.01)


def test_pixel_centres_lie_half_a_pixel_inside_the_corner() -> None:
    lon, lat = lonlat(Grid((3, 5), SEVIR, (2000.0, 1000.0), -500.0, 1000.0))
    assert lon.shape == lat.shape == (3, 5) and lon.dtype == lat.dtype == np.float64
    assert (lon[0, 0], lat[0, 0]) == pytest.approx((-98.0, 38.0), abs=1e-9)
    assert lat[0, 0] > lat[1, 0] and lon[0, 1] > lon[0, 0]  # row 0 in the north, column 0 in the west


def test_longitude_and_latitude_lead_back_to_the_pixels() -> None:
    grid = Grid((4, 6), KNMI, (1000.0, 1000.0), 0.0, -3_650_000.0)
    lon, lat = lonlat(grid)
    for row, column in [(0, 0), (3, 5)]:
        assert corner_of(KNMI, lon[row, column], lat[row, column]) == pytest.approx((grid.x[column], grid.y[row]))


def test_pixels_off_the_earth_are_nan() -> None:
    seen_from_space = "+proj=geos +h=35785831 +lon_0=0 +ellps=WGS84 +units=m"
    lon, lat = lonlat(Grid((1, 2), seen_from_space, (7e6, 7e6), -10.5e6, 3.5e6))
    assert np.isnan([lon[0, 0], lat[0, 0]]).all()
    assert (lon[0, 1], lat[0, 1]) == pytest.approx((0.0, 0.0))
    with pytest.raises(UserError, match=r"longitude 180\.0, latitude 0\.0 lies outside"):
        corner_of(seen_from_space, 180.0, 0.0)


@pytest.mark.parametrize(
    ("proj", "expected"),
    [
        (
            SEVIR,
            {
                "grid_mapping_name": "lambert_azimuthal_equal_area",
                "latitude_of_projection_origin": 38.0,
                "longitude_of_projection_origin": -98.0,
                "earth_radius": 6370997.0,
            },
        ),
        (
            KNMI,
            {
                "grid_mapping_name": "polar_stereographic",
                "latitude_of_projection_origin": 90.0,
                "standard_parallel": 60.0,
                "straight_vertical_longitude_from_pole": 0.0,
                "semi_major_axis": 6378137.0,
            },
        ),
        (
            KNMI.replace("lat_0=90", "lat_0=-90").replace("lat_ts=60", "lat_ts=-71"),
            {"latitude_of_projection_origin": -90.0, "standard_parallel": -71.0},
        ),
    ],
)
def test_cf_attributes_name_the_projection_and_rebuild_it(proj: str, expected: dict[str, object]) -> None:
    attributes = to_cf(proj)
    assert {key: attributes[key] for key in expected} == expected
    assert "unknown" not in attributes.values()
    for description in (attributes, {key: value for key, value in attributes.items() if key != "crs_wkt"}):
        rebuilt = pyproj.Proj(pyproj.CRS.from_cf(description))
        south = "lat_0=-90" in proj
        place = (3.0, -70.0) if south else (3.0, 50.0)
        assert rebuilt(*place) == pytest.approx(corner_of(proj, *place), abs=0.01)


def test_an_earth_in_kilometres_is_brought_to_metres_and_one_in_metres_is_kept() -> None:
    knmi = metric_proj("+proj=stere +lat_0=90 +a=6378.137 +b=6356.752 +x_0=0")
    assert knmi == "+proj=stere +lat_0=90 +a=6378137 +b=6356752 +x_0=0 +units=m"
    metres = "+proj=laea +lat_0=38 +R=6370997 +units=m"
    assert metric_proj(metres) == metres
    assert metric_proj("proj=longlat  ellps=WGS84") == "+proj=longlat +ellps=WGS84"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "is no PROJ string"),
        ("garbage", "is no PROJ string"),
        ("EPSG:3035", "is no PROJ string"),
        ("+lat_0=90", "is no PROJ string"),
        ("a\0b", "is no PROJ string"),
        ("+proj=stere +proj=laea", "is no PROJ string"),
        ("+proj=stere +nadgrids=/etc/passwd", "is no PROJ string"),
        ("+proj=stere +lat_0=90; rm", "is no PROJ string"),
        ("+proj=stere +x=\x1b[2J", "is no PROJ string"),
        ("+proj=stere " + "+x=1 " * 300, "is no PROJ string"),
        ("+proj=stere +init=epsg:3035", r"has \+init, which a file's own may not"),
        ("+proj=stere +nadgrids=a.gsb", r"has \+nadgrids"),
        ("+proj=stere +geoidgrids=a.gtx", r"has \+geoidgrids"),
        ("+proj=gridshift +grids=a.tif", r"has \+grids"),
        ("+proj=pipeline +step", r"has \+proj"),
        ("+proj=stere +axis=wsu", r"has \+axis"),
        ("+proj=stere +R=1.2.3", r"earth has \+R=1\.2\.3, expected a length"),
        ("+proj=stere +a=nan +b=1", r"earth has \+a=nan"),
        ("+proj=stere +a=-1", r"earth has \+a=-1"),
    ],
)
def test_a_projection_of_other_words_than_projs_is_refused_before_pyproj_sees_it(words: str, reason: str) -> None:
    for ask in (lambda: metric_proj(words), lambda: corner_of(words, 0.0, 0.0), lambda: to_cf(words)):
        with pytest.raises(ProjectionError, match=reason):
            ask()


def test_web_mercators_empty_grid_of_datum_shifts_opens_no_file() -> None:
    proj = "+proj=merc +a=6378137 +b=6378137 +nadgrids=@null"
    assert metric_proj(proj) == f"{proj} +units=m"


def test_a_wkts_change_of_datum_and_heights_are_left_out_of_its_projection() -> None:
    shifted = pyproj.CRS("+proj=stere +lat_0=90 +ellps=bessel +nadgrids=a.gsb +geoidgrids=a.gtx +vunits=m +type=crs")
    proj = proj_of_wkt(shifted.to_wkt())
    assert "grids" not in proj and "vunits" not in proj and corner_of(proj, 0.0, 90.0) == pytest.approx((0.0, 0.0))


@pytest.mark.parametrize("proj", ["+proj=nothing", "+proj=stere +lat_0=abc", "+proj=utm +zone=99"])
def test_a_string_that_pyproj_refuses_is_named(proj: str) -> None:
    for ask in (lambda: proj_of(proj), lambda: corner_of(proj, 0.0, 0.0), lambda: to_cf(proj)):
        with pytest.raises(ProjectionError, match="is refused by pyproj"):
            ask()


@pytest.mark.parametrize("proj", ["+proj=stere +lat_0=90 +units=km", "+proj=geocent +ellps=WGS84"])
def test_a_projection_in_other_units_is_refused(proj: str) -> None:
    with pytest.raises(UserError, match="neither a map projection in metres nor longitude and latitude"):
        lonlat(Grid((1, 1), proj, (1.0, 1.0), 0.0, 0.0))


def test_degrees_under_a_name_that_a_grid_takes_for_metres_are_refused() -> None:
    grid = Grid((1, 1), "+proj=ob_tran +o_proj=longlat +o_lat_p=30", (1.0, 1.0), 0.0, 0.0)
    assert grid.unit == "m"
    with pytest.raises(UserError, match=r"give one with \+units=m, or \+proj=longlat"):
        lonlat(grid)


@pytest.mark.parametrize("earth", ["+datum=WGS84", "+R=6371200", "+a=6378137 +b=6356752.3"])
def test_places_of_a_grid_in_degrees_are_its_own_coordinates(earth: str) -> None:
    grid = Grid((3, 4), f"+proj=longlat {earth}", (0.01, 0.02), -130.0, 55.0)
    lon, lat = lonlat(grid)
    np.testing.assert_array_equal(lon, np.meshgrid(grid.x, grid.y)[0])
    np.testing.assert_array_equal(lat, np.meshgrid(grid.x, grid.y)[1])
    assert (lon[0, 0], lat[0, 0]) == pytest.approx((-129.99, 54.995), abs=1e-12)
    assert corner_of(grid.proj, -130.0, 55.0) == place_of(grid.proj, -130.0, 55.0) == (-130.0, 55.0)


@pytest.mark.parametrize(
    ("earth", "expected"),
    [
        ("+datum=WGS84", {"semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563}),
        ("+a=6378137 +b=6356752.3", {"semi_major_axis": 6378137.0, "semi_minor_axis": 6356752.3}),
        ("+R=6371200", {"earth_radius": 6371200.0}),
    ],
)
def test_cf_attributes_of_degrees_give_the_earths_figure(earth: str, expected: dict[str, object]) -> None:
    proj = f"+proj=longlat {earth}"
    attributes = to_cf(proj)
    assert attributes["grid_mapping_name"] == "latitude_longitude"
    assert {key: attributes[key] for key in expected} == expected
    for description in (attributes, {key: value for key, value in attributes.items() if key != "crs_wkt"}):
        assert pyproj.CRS.from_cf(description) == pyproj.CRS(proj)


def test_without_pyproj_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    projection._crs.cache_clear()
    projection._from_lonlat.cache_clear()
    monkeypatch.setitem(sys.modules, "pyproj", None)
    with pytest.raises(UserError, match=r"ds-nowcast\[geo\]"):
        corner_of(SEVIR, -98.0, 38.0)
