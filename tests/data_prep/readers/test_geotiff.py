"""GeoTIFF from any source: units, codes, times and places from the file or a side-car, and one named error for damage."""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.encoding import encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Lookup, RadarFrame
from data_prep.projection import corner_of
from data_prep.readers import LeftOut, reader_named
from data_prep.readers.files import RadarFile
from data_prep.readers.geotiff import READER, GeotiffReader

rasterio = pytest.importorskip("rasterio")

NAME = "rain_202008261430.tif"
END = datetime(2020, 8, 26, 14, 30, tzinfo=UTC)
CODES = np.array([[[0, 1, 12], [200, 254, 255]]], np.uint8)
MakeTiff = Callable[..., Path]


def tiff_bytes(codes: Any = CODES, **given: Any) -> bytes:
    """A GeoTIFF of bands (bands, rows, columns). given: unit, description, band_tags (one or per band), tags, or rasterio's."""
    values = np.asarray(codes)
    own = {key: given.pop(key, None) for key in ("unit", "description", "band_tags", "tags", "scale", "offset", "mask")}
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": values.dtype,
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "crs": "EPSG:3067",
        "transform": rasterio.Affine(250.0, 0.0, 10_000.0, 0.0, -500.0, 7_000_000.0),
    } | given
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.MemoryFile() as memory:
        with memory.open(**profile) as data:
            data.write(values)
            for i in range(1, data.count + 1):
                for key, put in (("unit", data.set_band_unit), ("description", data.set_band_description)):
                    if own[key] is not None:
                        put(i, own[key] if isinstance(own[key], str) else own[key][i - 1])
                if own["band_tags"]:
                    data.update_tags(i, **own["band_tags"][i - 1])
            for key in ("scale", "offset"):
                if own[key] is not None:
                    setattr(data, f"{key}s", [own[key]] * data.count)
            data.update_tags(**(own["tags"] or {}))
            if own["mask"] is not None:
                data.write_mask(np.asarray(own["mask"]))
        return bytes(memory.read())


@pytest.fixture
def make_tiff(tmp_path: Path) -> MakeTiff:
    """make_tiff(codes, name=..., **given): writes tmp_path/name."""

    def make(codes: Any = CODES, name: str = NAME, **given: Any) -> Path:
        (tmp_path / name).write_bytes(tiff_bytes(codes, **given))
        return tmp_path / name

    return make


def read(path: Path) -> RadarFrame:
    [frame] = GeotiffReader().frames(path)
    return frame


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("geotiff") is READER and READER.split_dates is None


def test_scale_offset_nodata_and_unit_are_the_files_own(make_tiff: MakeTiff) -> None:
    frame = read(make_tiff(unit="dBZ", scale=0.5, offset=-32.0, nodata=255))
    expected = np.array([[-32.0, -31.5, -26.0], [68.0, 95.0, np.nan]], np.float32)
    np.testing.assert_array_equal(frame.field, expected)
    assert frame.unit == "dBZ" and frame.time == END
    assert isinstance(frame.codes, Lookup) and frame.stored.dtype == np.uint8  # the archive's codes stay
    np.testing.assert_array_equal(frame.encode(encoding_named("dbz8")), CODES[0])


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_numbers_of_any_type_mean_the_same(make_tiff: MakeTiff, dtype: type) -> None:
    stored = np.array([[[0, 150, 20000], [7, 1, 9999]]], dtype)
    frame = read(make_tiff(stored, unit="mm/h", scale=0.01, nodata=9999))
    np.testing.assert_allclose(frame.field, [[0.0, 1.5, 200.0], [0.07, 0.01, np.nan]], rtol=1e-6)
    assert frame.field.dtype == np.float32
    assert (frame.codes is not None) == (np.dtype(dtype).itemsize == 2)


def test_signed_codes_keep_their_sign(make_tiff: MakeTiff) -> None:
    frame = read(make_tiff(np.array([[[-320, -9999, 455]]], np.int16), unit="dBZ", scale=0.1, nodata=-9999))
    np.testing.assert_allclose(frame.field, [[-32.0, np.nan, 45.5]], rtol=1e-6)
    assert frame.stored.dtype == np.uint16


def test_nodata_is_found_as_the_files_type_holds_it(make_tiff: MakeTiff) -> None:
    lowest = float(np.finfo(np.float32).min)
    frame = read(make_tiff(np.array([[[lowest, 0.0, 3.5]]], np.float32), unit="dBZ", nodata=lowest))
    np.testing.assert_array_equal(frame.field, [[np.nan, 0.0, 3.5]])


def test_what_no_rain_rate_can_be_is_no_data_and_not_dry(make_tiff: MakeTiff) -> None:
    stored = np.array([[[-9999.0, np.nan, np.inf, -1.0, 0.0, 2.5]]], np.float32)
    expected = [[np.nan, np.nan, np.nan, np.nan, 0.0, 2.5]]
    np.testing.assert_array_equal(read(make_tiff(stored, unit="mm/h")).field, expected)
    dbz = np.array([[[-9999.0, np.nan, np.inf, -np.inf, -32.0, 10.0]]], np.float32)
    expected = [[np.nan, np.nan, np.nan, -32.0, -32.0, 10.0]]  # -inf dBZ is no echo
    np.testing.assert_array_equal(read(make_tiff(dbz, unit="dBZ")).field, expected)


def test_the_files_own_mask_is_no_data(make_tiff: MakeTiff) -> None:
    frame = read(make_tiff(unit="mm/h", mask=[[255, 255, 0], [255, 255, 255]]))
    np.testing.assert_array_equal(frame.field, [[0.0, 1.0, np.nan], [200.0, 254.0, 255.0]])


@pytest.mark.parametrize(
    "given",
    [
        {"unit": "mm h-1"},
        {"band_tags": [{"units": "kg m**-2 h**-1"}]},
        {"tags": {"UNITS": "mm/hr"}},
        {"description": "Rain rate [mm/h]"},
    ],
)
def test_the_unit_is_looked_for_in_four_places(make_tiff: MakeTiff, given: dict[str, Any]) -> None:
    frame = read(make_tiff(**given))
    assert frame.unit == "mm/h" and frame.field[0, 2] == 12.0


def test_the_grid_begins_at_the_outer_corner(make_tiff: MakeTiff) -> None:
    grid = read(make_tiff(unit="mm/h")).grid
    assert (grid.shape, grid.pixel, grid.west, grid.north) == ((2, 3), (500.0, 250.0), 10_000.0, 7_000_000.0)
    with rasterio.open(make_tiff(unit="mm/h")) as data:
        assert data.xy(1, 2) == (grid.x[2], grid.y[1])
    assert corner_of(grid.proj, 27.0, 0.0) == pytest.approx((500_000.0, 0.0), abs=1e-6)  # TM35FIN's central meridian


def test_a_tie_point_at_a_pixels_centre_is_moved_to_its_corner(make_tiff: MakeTiff) -> None:
    area = read(make_tiff(unit="mm/h")).grid
    point = make_tiff(unit="mm/h", tags={"AREA_OR_POINT": "Point"})
    assert read(point).grid == area
    place = np.array([10_000.0 + 125.0, 7_000_000.0 - 250.0])
    assert place.tobytes() in point.read_bytes()  # what the file holds is the centre


def test_a_south_up_file_is_turned(make_tiff: MakeTiff) -> None:
    up = rasterio.Affine(250.0, 0.0, 10_000.0, 0.0, 500.0, 6_999_000.0)
    turned = read(make_tiff(CODES[:, ::-1], unit="mm/h", transform=up))
    straight = read(make_tiff(unit="mm/h"))
    assert turned.grid == straight.grid
    np.testing.assert_array_equal(turned.field, straight.field)


def test_a_grid_in_degrees_has_longitudes_from_minus_180(make_tiff: MakeTiff) -> None:
    place = rasterio.Affine(0.02, 0.0, 230.0, 0.0, -0.01, 55.0)
    grid = read(make_tiff(unit="mm/h", crs="EPSG:4326", transform=place)).grid
    assert grid.unit == "degree" and grid.pixel == (0.01, 0.02)
    assert (grid.west, grid.north) == (-130.0, 55.0)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"unit": None},
            r'has no unit; write \{"unit": "mm/h"\} .* in rain_202008261430.json .* geotiff.json\) beside it',
        ),
        ({"unit": "m/s"}, "is in 'm/s', expected one of mm/h"),
        ({"unit": "mm"}, 'a sum, without the interval that it covers; .* "interval_s"'),
        ({"crs": None}, "has no coordinate system"),
        ({"transform": None}, "has no place in its coordinate system"),
        ({"transform": rasterio.Affine(1.0, 0.2, 0.0, 0.2, -1.0, 0.0)}, "rows do not run from west to east; reproject"),
        ({"crs": "EPSG:2263"}, "neither a map projection in metres nor"),  # US feet
        ({"codes": np.zeros((3, 2, 3), np.uint8), "photometric": "RGB"}, "is a coloured picture"),
        ({"codes": np.zeros((1, 2, 3), np.complex64)}, "type complex64, expected integers or floating"),
        ({"name": "rain.tif"}, r"no time in its tags or name; write \{\"name_time\""),
        ({"name": "rain_209913991460.tif"}, "no time in its tags or name"),
        ({"name": "rain_202008261430_202008261435.tif"}, "has 2 times in its name; write"),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_is_lacking_or_unfit_is_said_with_what_to_do(
    make_tiff: MakeTiff, given: dict[str, Any], reason: str
) -> None:
    path = make_tiff(**({"unit": "mm/h"} | given))
    with pytest.raises(RadarFileError, match=reason) as caught:
        GeotiffReader().frames(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("a_20200826143000.tif", {}),
        ("a_20200826T1430Z.tif", {}),
        ("a-2020-08-26_14-30.tif", {}),
        ("a.tif", {"valid_time": "2020-08-26T16:30:00+02:00"}),
        ("a.tif", {"TIFFTAG_DATETIME": "2020:08:26 14:30:00"}),
        ("a_202008261430.tif", {"TIFFTAG_DATETIME": "2020:08:26 14:33:12"}),  # when the file was made
        ("a_202008261425.tif", {"valid_time": "20200826 1430"}),
    ],
)
def test_the_time_is_in_the_tags_or_the_name(make_tiff: MakeTiff, name: str, tags: dict[str, str]) -> None:
    assert read(make_tiff(name=name, unit="mm/h", tags=tags)).time == END


def test_a_side_car_says_what_the_file_does_not(make_tiff: MakeTiff, tmp_path: Path) -> None:
    path = make_tiff(name="radar20_239.1430.tif")
    beside = {"unit": "mm", "gain": 0.1, "offset": 0.0, "nodata": [255, 254], "undetect": 1, "interval_s": 600}
    (tmp_path / "geotiff.json").write_text(json.dumps(beside | {"time": "radar%y_%j.%H%M"}))
    found = READER.scan([str(tmp_path)])
    assert (found.product.name, found.product.unit, found.cadence_s) == ("rain", "mm/h", 600)
    [frame] = READER.read(found.recordings[0])
    assert frame.time == END
    np.testing.assert_allclose(frame.field, [[0.0, 0.0, 7.2], [120.0, np.nan, np.nan]], rtol=1e-6)  # 0.1 mm in 10 min
    (tmp_path / "radar20_239.1430.json").write_text('{"unit": "kg/m2", "time": "*%y_%j.%H%M"}')
    assert read(path).unit == "kg/m2"  # a file's own goes first


def test_a_side_car_may_name_what_json_writers_make_of_nan_and_infinity(tmp_path: Path, make_tiff: MakeTiff) -> None:
    path = make_tiff(np.array([[[np.nan, -np.inf, 3.5]]], np.float32), unit="dBZ")
    (tmp_path / "geotiff.json").write_text('{"nodata": NaN, "undetect": -Infinity}')
    np.testing.assert_array_equal(read(path).field, [[np.nan, -32.0, 3.5]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 5000, "is no JSON object .*recursion limit"),
        ('{"unit": "mm/h",}', "is no JSON object .*Invalid JSON"),
        ("[1]", "is no JSON object"),
        ('{"units": "mm/h"}', "unknown key 'units', did you mean 'unit'"),
        ('{"unit": 3}', "unit is '3': Input should be a valid string"),
        ('{"gain": true}', "gain is 'True': Input should be a valid number"),
        ('{"gain": 0}', "gain is '0': Input should be greater than 0"),
        ('{"offset": NaN}', "offset is 'nan': Input should be a finite number"),
        ('{"nodata": ["255"]}', "nodata.0 is '255': Input should be a valid number"),
        ('{"nodata": 255, "missing": 254}', "unknown key 'nodata'"),
        ('{"unit": "mm/h", "time": "%Y%m%d"}', "time format '%Y%m%d' is not one like"),
        ('{"unit": "mm/h", "time": "%Y%m%d%H"}', "name is not of the side-car's form"),
    ],
)
def test_a_side_car_that_cannot_be_used_is_named(make_tiff: MakeTiff, tmp_path: Path, text: str, reason: str) -> None:
    path = make_tiff()
    (tmp_path / "geotiff.json").write_text(text)
    with pytest.raises(RadarFileError, match=reason):
        GeotiffReader().frames(path)


def test_bands_with_times_of_their_own_are_frames_of_one_product(make_tiff: MakeTiff) -> None:
    codes = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    path = make_tiff(codes, unit="mm/h", description=["2020-08-26 14:25", "2020-08-26 14:30"])
    found = READER.scan([str(path)])
    assert (found.product.name, found.cadence_s) == ("rain", 300)
    frames = [READER.read(recording)[0] for recording in found.recordings]
    assert [frame.time.minute for frame in frames] == [25, 30]
    np.testing.assert_array_equal(frames[1].field, codes[1])


def test_other_bands_are_products_and_one_without_a_unit_is_left_out(make_tiff: MakeTiff) -> None:
    codes = np.arange(18, dtype=np.uint8).reshape(3, 2, 3)
    path = make_tiff(codes, unit=["mm/h", "", "dBZ"], description=["RATE", "quality", ""], photometric="MINISBLACK")
    listed = GeotiffReader().listed(path)
    assert [(entry.product.name, entry.product.unit) for _, entry in listed.entries] == [
        ("RATE", "mm/h"),
        ("band 3", "dBZ"),
    ]
    assert listed.left_out == [LeftOut(f"{path} band 2", "band without a unit", "has no unit")]
    with pytest.raises(UserError, match=r"several products: RATE .* choose one with --product"):
        READER.scan([str(path)])
    [frame] = GeotiffReader().frames(path, product="band 3")
    np.testing.assert_array_equal(frame.field, codes[2])


def test_path_gzip_and_file_object_give_the_same_frame(make_tiff: MakeTiff, tmp_path: Path) -> None:
    path = make_tiff(unit="mm/h", nodata=255)
    (tmp_path / "z" / NAME).parent.mkdir()
    packed = tmp_path / "z" / f"{NAME}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    [in_memory] = GeotiffReader().frames(io.BytesIO(path.read_bytes()), name=NAME)
    for frame in (read(packed), in_memory):
        assert (frame.time, frame.grid) == (END, read(path).grid)
        np.testing.assert_array_equal(frame.field, read(path).field)
    assert len(READER.scan([str(tmp_path / "z")]).recordings) == 1


def test_nothing_beside_the_file_changes_what_it_is(make_tiff: MakeTiff, tmp_path: Path) -> None:
    path = make_tiff(unit="mm/h", nodata=255)
    before = read(path)
    aux = (
        "<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>1, 1, 0, 1, 0, -1</GeoTransform><PAMRasterBand band='1'>"
        "<NoDataValue>1</NoDataValue><UnitType>dBZ</UnitType></PAMRasterBand></PAMDataset>"
    )
    (tmp_path / f"{NAME}.aux.xml").write_text(aux)
    (tmp_path / NAME.replace(".tif", ".tfw")).write_text("1\n0\n0\n-1\n5\n5\n")
    for name in (f"{NAME}.msk", f"{NAME}.ovr"):
        (tmp_path / name).write_bytes(tiff_bytes(np.zeros((1, 2, 3), np.uint8), unit="mm/h"))
    after = read(path)
    assert (after.grid, after.unit) == (before.grid, "mm/h")
    np.testing.assert_array_equal(after.field, before.field)


@pytest.mark.parametrize(
    "text", ["/vsicurl/http://127.0.0.1:9/a.tif", "{vrt}", "GTIFF_DIR:1:{path}", "GTIFF_RAW:{path}"]
)
def test_a_file_that_points_elsewhere_is_not_followed(make_tiff: MakeTiff, tmp_path: Path, text: str) -> None:
    path = make_tiff(unit="mm/h")
    vrt = (
        f'<VRTDataset rasterXSize="3" rasterYSize="2"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{path}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    other = tmp_path / "b_202008261430.tif"
    other.write_text(text.format(path=path, vrt=vrt))
    with pytest.raises(RadarFileError, match=r"cannot be read as GeoTIFF .*not recognized"):
        GeotiffReader().frames(other)


def test_a_forged_size_allocates_nothing(make_tiff: MakeTiff) -> None:
    content = bytearray(make_tiff(unit="mm/h").read_bytes())
    [first] = struct.unpack_from(
        "<I", content, 4
    )  # TIFF 6.0: the directory's place, then entries of tag, type, count, value
    for tag in (256, 257):  # width and height
        at = content.index(struct.pack("<HHI", tag, 3, 1), first)
        struct.pack_into("<HHII", content, at, tag, 4, 1, 100_000)
    with pytest.raises(RadarFileError, match="declares 100000 x 100000 pixels"):
        GeotiffReader().frames(io.BytesIO(bytes(content)), name=NAME)


def test_a_block_larger_than_a_frame_is_refused(make_tiff: MakeTiff, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_tiff(np.zeros((1, 64, 64), np.float64), unit="mm/h", tiled=True, blockxsize=512, blockysize=512)
    monkeypatch.setattr("data_prep.readers.raster.MOST_BYTES", 512 * 512 * 4)
    with pytest.raises(RadarFileError, match="declares more than 1048576 bytes for one band or block"):
        GeotiffReader().frames(path)


def test_a_truncated_file_is_a_radar_file_error_without_a_name_that_changes(make_tiff: MakeTiff) -> None:
    content = tiff_bytes(np.random.default_rng(0).integers(0, 99, (1, 60, 60), np.uint8), unit="mm/h")
    for share in (0.0, 0.01, 0.3, 0.9, 0.99):
        reasons = set()
        for _ in range(2):
            with pytest.raises(RadarFileError) as caught:
                GeotiffReader().frames(io.BytesIO(content[: int(share * len(content))]), name=NAME)
            reasons.add(caught.value.reason)
        assert len(reasons) == 1 and "vsimem" not in reasons.pop()


SMALL = tiff_bytes(
    np.random.default_rng(1).gamma(0.5, 2.0, (2, 20, 30)).astype(np.float32),
    unit="mm/h",
    band_tags=[{"valid_time": "20200826 1425"}, {"valid_time": "20200826 1430"}],
    compress="deflate",
    predictor=3,
)
FLIPS = st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


# derandomized: libtiff or GDAL could crash on a hostile file, so the same damage is tried every time
@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(flips=FLIPS, kept=st.floats(0.5, 1.0), moved=st.integers(0, 20))
def test_damage_gives_frames_or_a_radar_file_error(flips: list[tuple[float, int]], kept: float, moved: int) -> None:
    content = bytearray(SMALL[: int(len(SMALL) * (1.0 if kept < 0.8 else kept))])
    for place, byte in flips:
        content[int(place * (len(content) if moved % 2 else 1200)) % len(content)] = byte
    try:
        frames = GeotiffReader().frames(io.BytesIO(bytes(content)), name=NAME)
    except RadarFileError as error:
        assert error.path == NAME and error.reason
    else:
        assert all(frame.field.shape == frame.grid.shape for frame in frames)


def test_without_rasterio_the_extra_is_named(make_tiff: MakeTiff, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_tiff(unit="mm/h")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(UserError, match=r"ds-nowcast\[geotiff\]"):
        list(GeotiffReader().contents(RadarFile(path)))
