"""Places: orders, units and bounds of coordinates, longitudes around the earth, grid mappings; and what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from data_prep.errors import RadarFileError
from data_prep.frames import Grid
from data_prep.projection import corner_of, place_of
from tests.data_prep.readers.cf.memory import RATE, STEREO, TIME, MemoryDataset, X, Y, frames

pyproj = pytest.importorskip("pyproj")
STEREO_PROJ = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +x_0=0 +y_0=0 +R=6370040 +units=m +no_defs"
LON, LAT = (
    {"standard_name": "longitude", "units": "degrees_east"},
    {"standard_name": "latitude", "units": "degrees_north"},
)
NORTH_WEST = {"y": [-4_000_000.0, -4_001_000.0, -4_002_000.0], "x": [1000.0, 2000.0, 3000.0, 4000.0]}
FIELD = np.arange(12.0, dtype=np.float32).reshape(3, 4)  # as a map: north up, west left


def a_file(
    rows: ArrayLike, columns: ArrayLike, values: NDArray[Any], dims: str = "y x", **changed: Any
) -> MemoryDataset:
    """changed: attributes of y, x and crs; of crs none is no grid mapping."""
    dataset = MemoryDataset()
    dataset.add("y", "y", rows, **changed.get("y", Y))
    dataset.add("x", "x", columns, **changed.get("x", X))
    dataset.add("time", "", 0, **TIME)
    dataset.add("crs", "", 0, **(changed.get("crs") or {}) if "crs" in changed else STEREO)
    without = {"grid_mapping": ""} if "crs" in changed and not changed["crs"] else {}
    dataset.add("rain", dims, values, **(RATE | without))
    return dataset


def grid_and_field(dataset: MemoryDataset) -> tuple[Grid, NDArray[np.float32]]:
    [frame] = frames(dataset)
    return frame.grid, frame.field


def in_degrees(lat: ArrayLike, lon: ArrayLike, values: NDArray[Any]) -> tuple[Grid, NDArray[np.float32]]:
    return grid_and_field(a_file(lat, lon, values, y=LAT, x=LON, crs={}))


@pytest.mark.parametrize("dims", ["y x", "x y"])
@pytest.mark.parametrize("rows", [1, -1])
@pytest.mark.parametrize("columns", [1, -1])
def test_whatever_the_order_of_rows_and_columns_the_frame_is_north_up_west_left(
    dims: str, rows: int, columns: int
) -> None:
    values = FIELD[::rows, ::columns]
    values = values if dims == "y x" else values.T
    grid, field = grid_and_field(a_file(NORTH_WEST["y"][::rows], NORTH_WEST["x"][::columns], values, dims))
    assert grid == Grid((3, 4), STEREO_PROJ, (1000.0, 1000.0), 500.0, -3_999_500.0)
    np.testing.assert_array_equal(field, FIELD)


def test_coordinates_in_kilometres_and_their_false_easting_become_metres() -> None:
    in_km = [np.asarray(NORTH_WEST[name]) / 1000.0 for name in ("y", "x")]
    shifted = STEREO | {"false_easting": 100.0, "false_northing": -20.0}  # CF: in the unit of the coordinates
    grid, _ = grid_and_field(a_file(*in_km, FIELD, y=Y | {"units": "km"}, x=X | {"units": "km"}, crs=shifted))
    assert (grid.pixel, grid.west, grid.north) == ((1000.0, 1000.0), 500.0, -3_999_500.0)
    assert "+x_0=100000 +y_0=-20000" in grid.proj


def test_bounds_tell_where_a_pixel_lies_whose_coordinate_is_not_its_middle() -> None:
    south, west = np.asarray(NORTH_WEST["y"]), np.asarray(NORTH_WEST["x"])  # of the pixels' corners
    dataset = a_file(south, west, FIELD, y=Y | {"bounds": "y_b"}, x=X | {"bounds": "x_b"})
    dataset.add("y_b", "y nv", np.stack([south, south + 1000.0], axis=1))
    dataset.add("x_b", "x nv", np.stack([west, west + 1000.0], axis=1))
    grid, _ = grid_and_field(dataset)
    assert (grid.west, grid.north) == (1000.0, -3_999_000.0)


def test_a_row_alone_has_a_height_only_by_its_bounds() -> None:
    dataset = a_file([50.0], [1.0, 2.0], np.zeros((1, 2)), y=LAT | {"bounds": "b"}, x=LON, crs={})
    with pytest.raises(RadarFileError, match="coordinate 'y' is one number without bounds"):
        frames(dataset)
    dataset = a_file([50.0], [1.0, 2.0], np.zeros((1, 2)), y=LAT | {"bounds": "b"}, x=LON, crs={})
    dataset.add("b", "y nv", [[49.5, 50.5]])
    assert grid_and_field(dataset)[0].pixel == (1.0, 1.0)


def test_without_a_grid_mapping_degrees_are_longitude_and_latitude_of_wgs84() -> None:
    grid, field = in_degrees([50.0, 50.5, 51.0], [4.0, 4.5, 5.0, 5.5], FIELD)
    assert grid == Grid((3, 4), "+proj=longlat +datum=WGS84 +no_defs", (0.5, 0.5), 3.75, 51.25)
    np.testing.assert_array_equal(field, FIELD[::-1])


@pytest.mark.parametrize(
    ("lon", "west"), [([260.0, 260.5, 261.0, 261.5], -100.25), ([359.0, 359.5, 0.0, 0.5], -1.25), ([179.0, 180, 181, 182], 178.5)]
)  # fmt: skip
def test_longitudes_to_360_begin_between_180_west_and_180_east(lon: list[float], west: float) -> None:
    grid, field = in_degrees([51.0, 50.5, 50.0], lon, FIELD)
    assert grid.west == pytest.approx(west) and -180.0 <= grid.west < 180.0
    np.testing.assert_array_equal(field, FIELD)


def test_a_grid_around_the_earth_from_greenwich_is_rolled_to_begin_at_180_west() -> None:
    lon = np.arange(0.5, 360.0)
    values = np.tile(lon, (3, 1)).astype(np.float32)
    grid, field = in_degrees([1.0, 0.0, -1.0], lon, values)
    assert (grid.west, grid.shape) == (-180.0, (3, 360))
    np.testing.assert_array_equal((field[0] + 180.0) % 360.0 - 180.0, grid.x)


def test_coordinates_of_few_digits_are_even_enough_and_their_step_is_rounded() -> None:
    lon = np.linspace(-130.0, -60.0, 7001).astype(np.float32)
    grid, _ = in_degrees([1.0, 0.0], lon, np.zeros((2, 7001), np.float32))
    assert grid.pixel[1] == 0.01 and grid.x[[0, -1]] == pytest.approx([-130.0, -60.0], abs=1e-4)


def test_uneven_coordinates_are_refused() -> None:
    mercator = np.degrees(np.arctan(np.sinh(np.linspace(0.9, 1.1, 30))))
    with pytest.raises(RadarFileError, match="'y' is not evenly spaced; only regular grids"):
        in_degrees(mercator, [1.0, 2.0], np.zeros((30, 2)))
    with pytest.raises(RadarFileError, match="'x' is not of finite numbers that differ"):
        in_degrees([1.0, 2.0], [1.0, np.nan], np.zeros((2, 2)))
    with pytest.raises(RadarFileError, match=r"latitudes 'y' reach from 88\.5 to 91\.5 degrees"):
        in_degrees([89.0, 90.0, 91.0], [1.0, 2.0], np.zeros((3, 2)))


CRS = {
    "lambert": "+proj=lcc +lat_1=46 +lat_2=49 +lat_0=47.5 +lon_0=13.3 +x_0=400000 +y_0=400000 +ellps=bessel +units=m",
    "albers": "+proj=aea +lat_1=29.5 +lat_2=45.5 +lat_0=23 +lon_0=-96 +datum=NAD83 +units=m",
    "laea": "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=m",
    "mercator": "+proj=merc +lat_ts=20 +lon_0=120 +ellps=WGS84 +units=m",
    "utm": "+proj=utm +zone=33 +datum=WGS84 +units=m",
    "equidistant": "+proj=aeqd +lat_0=46.8 +lon_0=8.2 +ellps=WGS84 +units=m",
    "stereographic": "+proj=stere +lat_0=-90 +lat_ts=-71 +lon_0=0 +ellps=WGS84 +units=m",
    "oblique": "+proj=sterea +lat_0=52.15616055555555 +lon_0=5.38763888888889 +k=0.9999079 +x_0=155000 +y_0=463000 +ellps=bessel",
    "orthographic": "+proj=ortho +lat_0=50 +lon_0=10 +ellps=WGS84 +units=m",
    "satellite": "+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=WGS84 +units=m",
}
PLACES = {"albers": (-96.0, 40.0), "mercator": (121.0, 20.0), "stereographic": (10.0, -75.0)}


@pytest.mark.parametrize(
    ("kind", "by_wkt"), [(kind, by_wkt) for kind in CRS for by_wkt in (False, True) if by_wkt or kind != "oblique"]
)  # CF has no name for the oblique stereographic
def test_each_kind_of_grid_mapping_puts_a_place_where_pyproj_puts_it(kind: str, by_wkt: bool) -> None:
    crs = pyproj.CRS(CRS[kind])
    lon, lat = PLACES.get(kind, (9.0, 48.0))
    expected = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(lon, lat)
    mapping = {"crs_wkt": crs.to_wkt()} if by_wkt else {k: v for k, v in crs.to_cf().items() if k != "crs_wkt"}
    grid, _ = grid_and_field(a_file(NORTH_WEST["y"], NORTH_WEST["x"], FIELD, crs=mapping))
    assert corner_of(grid.proj, lon, lat) == pytest.approx(expected, abs=0.01)


def test_a_mapping_in_kilometres_is_brought_to_metres() -> None:
    crs = pyproj.CRS("+proj=lcc +lat_1=30 +lat_2=60 +lat_0=45 +lon_0=10 +x_0=100000 +units=km +ellps=WGS84")
    km = {"units": "km"}
    grid, _ = grid_and_field(
        a_file(
            [20.0, 10.0, 0.0], [100.0, 110.0, 120.0, 130.0], FIELD, y=Y | km, x=X | km, crs={"crs_wkt": crs.to_wkt()}
        )
    )
    assert grid.pixel == (10_000.0, 10_000.0)
    assert place_of(grid.proj, grid.x[0], grid.y[2]) == pytest.approx((10.0, 45.0), abs=1e-6)


def test_a_satellites_scan_angles_are_times_its_height() -> None:
    mapping = {
        "grid_mapping_name": "geostationary", "perspective_point_height": 35785831.0, "sweep_angle_axis": "y",
        "longitude_of_projection_origin": 0.0,
    }  # fmt: skip
    rad = {"units": "rad"}
    grid, _ = grid_and_field(
        a_file([0.12, 0.1199, 0.1198], [0.0, 1e-4, 2e-4, 3e-4], FIELD, y=Y | rad, x=X | rad, crs=mapping)
    )
    assert grid.pixel == pytest.approx((3578.5831, 3578.5831), rel=1e-6)


def test_a_height_in_the_description_changes_nothing() -> None:
    compound = pyproj.CRS("EPSG:25832+5783").to_wkt()
    assert (
        "vunits"
        not in grid_and_field(a_file(NORTH_WEST["y"], NORTH_WEST["x"], FIELD, crs={"crs_wkt": compound}))[0].proj
    )
    above = STEREO | {"geopotential_datum_name": "NAVD88", "towgs84": [0.0, 0.0, 0.0]}
    assert grid_and_field(a_file(NORTH_WEST["y"], NORTH_WEST["x"], FIELD, crs=above))[0].proj == STEREO_PROJ


def test_of_several_mappings_the_one_of_these_coordinates_is_taken() -> None:
    dataset = a_file(NORTH_WEST["y"], NORTH_WEST["x"], FIELD)
    dataset.add("other", "", 0, grid_mapping_name="latitude_longitude")
    dataset.add("rain", "y x", FIELD, **(RATE | {"grid_mapping": "other: lat lon crs: x y"}))
    assert grid_and_field(dataset)[0].proj == STEREO_PROJ


def test_a_proj_string_counts_where_there_is_no_cf_description() -> None:
    grid, _ = grid_and_field(a_file(NORTH_WEST["y"], NORTH_WEST["x"], FIELD, crs={"proj4": STEREO_PROJ}))
    assert grid.proj == STEREO_PROJ


def test_coordinates_in_kilometres_of_a_proj_string_in_kilometres_become_metres() -> None:
    in_km = [np.asarray(NORTH_WEST[name]) / 1000.0 for name in ("y", "x")]
    given = {"proj4": STEREO_PROJ.replace("+units=m", "+units=km")}
    grid, _ = grid_and_field(a_file(*in_km, FIELD, y=Y | {"units": "km"}, x=X | {"units": "km"}, crs=given))
    assert grid == Grid((3, 4), STEREO_PROJ, (1000.0, 1000.0), 500.0, -3_999_500.0)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"crs": {"proj4": "nonsense"}}, "grid mapping 'crs' cannot be used: 'nonsense' is no PROJ string"),
        ({"crs": {"proj4": "+proj=nonsense"}}, "grid mapping 'crs' cannot be used: .* is refused by pyproj"),
        ({"crs": {"proj4": "+proj=stere +R=1.2.3"}}, r"grid mapping 'crs' cannot be used: .* has \+R=1\.2\.3"),
        ({"crs": {"proj4": "+proj=stere +nadgrids=a.gsb"}}, r"grid mapping 'crs' cannot be used: .* has \+nadgrids"),
        ({"crs": {"proj4": "+proj=geocent +R=6371229"}}, "neither a map projection in metres"),
        ({"crs": {}}, "'rain' has no grid_mapping, so that its x and y are in no known projection"),
        ({"crs": {"grid_mapping_name": "bogus"}}, "grid mapping 'crs' cannot be used: .*[Uu]nsupported"),
        ({"crs": {"grid_mapping_name": "polar_stereographic"}}, "'latitude_of_projection_origin' is missing"),
        ({"crs": STEREO | {"earth_radius": "far"}}, "grid mapping 'crs' cannot be used"),
        ({"crs": STEREO | {"earth_radius": np.nan}}, "earth_radius is nan"),
        ({"crs": {"crs_wkt": "PROJCS[forged"}}, "grid mapping 'crs' cannot be used"),
        ({"crs": {"crs_wkt": "+init=/etc/passwd:1"}}, "grid mapping 'crs' cannot be used"),
        ({"crs": {"grid_mapping_name": "latitude_longitude"}}, "is of longitude and latitude, the coordinates .* are not"),
        ({"y": Y | {"units": "furlong"}}, "coordinate 'y' is in 'furlong', expected a length such as m or km"),
        ({"y": LAT}, "'y' and 'x' are in 'degrees_north' and 'm'"),
        ({"y": LAT, "x": LON}, "grid mapping 'crs' is of metres, the coordinates of 'rain' are not"),
        (
            {
                "y": {"standard_name": "grid_latitude", "units": "degrees"},
                "x": {"standard_name": "grid_longitude", "units": "degrees"},
                "crs": {
                    "grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25,
                    "grid_north_pole_longitude": -162.0,
                },
            },
            "rotated longitude and latitude, which no grid here is in",
        ),
    ],
)  # fmt: skip
def test_what_is_in_no_known_place_is_refused_with_what_is_missing(changed: dict[str, Any], reason: str) -> None:
    y = [51.0, 50.0, 49.0] if "degrees" in str(changed.get("y")) else NORTH_WEST["y"]
    with pytest.raises(RadarFileError, match=reason):
        frames(a_file(y, NORTH_WEST["x"] if y[0] < 0 else [1.0, 2.0, 3.0, 4.0], FIELD, **changed))


def test_longitudes_of_each_pixel_alone_are_no_grid() -> None:
    dataset = MemoryDataset()
    dataset.add("lat", "row column", np.ones((3, 4)), **LAT)
    dataset.add("lon", "row column", np.ones((3, 4)), **LON)
    dataset.add("time", "", 0, **TIME)
    dataset.add("rain", "row column", FIELD, **(RATE | {"coordinates": "lat lon"}))
    with pytest.raises(
        RadarFileError, match=r"no 1-D coordinate for y and x \(its lat and lon are 2-D.*; add projection_x"
    ):
        frames(dataset)


def test_coordinates_of_other_names_are_found_by_the_attribute_coordinates() -> None:
    dataset = MemoryDataset()
    dataset.add("breite", "row", [51.0, 50.0, 49.0], **LAT)
    dataset.add("laenge", "column", [1.0, 2.0, 3.0, 4.0], **LON)
    dataset.add("time", "", 0, **TIME)
    dataset.add("rain", "row column", FIELD, standard_name="rainfall_rate", units="mm/h", coordinates="laenge breite")
    assert grid_and_field(dataset)[0].north == 51.5
