"""KNMI: exact rain rates, times and places of real files, and that a damaged file ends in one named error."""

from __future__ import annotations

import gzip
import io
import itertools
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.encoding import ENCODINGS
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import RadarFrame
from data_prep.projection import corner_of, place_of
from data_prep.readers import Product, Recording, reader_named
from data_prep.readers.knmi import READER
from tests.data_prep.readers.conftest import KNMI_PROJ, MakeKnmi

REAL = "knmi/RAD_NL25_RAP_5min_201008260730.h5"
RAIN, REFLECTIVITY = Product("rain", "mm/h"), Product("reflectivity", "dBZ")
END = datetime(2010, 8, 26, 7, 30, tzinfo=UTC)


def read(path: Path) -> RadarFrame:
    [recording] = READER.scan([str(path)]).recordings
    [frame] = READER.read(recording)
    return frame


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("knmi") is READER
    assert READER.split_dates is None


def test_a_5_minute_sum_becomes_a_rain_rate(make_knmi: MakeKnmi) -> None:
    frame = read(make_knmi(codes=((0, 1, 12), (1152, 65534, 65535))))
    expected = np.array([[0.0, 0.12, 1.44], [138.24, np.nan, np.nan]], np.float32)  # 0.01 mm in 5 min is 0.12 mm/h
    np.testing.assert_allclose(frame.field, expected, rtol=1e-6)
    assert frame.field.dtype == np.float32 and frame.unit == "mm/h"


@pytest.mark.parametrize(
    ("formula", "rain_mm_h"),
    [
        ("GEO=0.01*PV+0.0", 12.0),
        ("GEO = 0.010000 * PV + 0.500000", 18.0),
        ("GEO=0.02*PV+-0.5", 18.0),
        ("GEO=1e-2*PV", 12.0),
    ],
)
def test_the_calibration_formula_is_the_files_own(make_knmi: MakeKnmi, formula: str, rain_mm_h: float) -> None:
    frame = read(make_knmi(codes=np.full((2, 3), 100), calibration_formulas=formula))
    assert frame.field == pytest.approx(np.full((2, 3), rain_mm_h))


def test_the_rate_depends_on_the_interval(make_knmi: MakeKnmi) -> None:
    start = np.array([b"26-AUG-2010;06:30:00.000"])
    assert read(make_knmi(product_datetime_start=start)).field[0, 2] == pytest.approx(0.12)


def test_the_time_is_the_end_in_the_file_whatever_its_name(make_knmi: MakeKnmi) -> None:
    path = make_knmi("RAD_NL25_RAP_5min_199901010000.h5")
    [recording] = READER.scan([str(path)]).recordings
    assert recording == Recording(path, 0, (END,), RAIN) and read(path).time == END


def test_the_grid_is_in_metres_and_begins_at_the_outer_corner(make_knmi: MakeKnmi) -> None:
    grid = read(make_knmi(geo_column_offset=np.array([10.0], np.float32))).grid
    assert grid.shape == (2, 3) and grid.pixel == (1000.0, 1000.0)
    assert (grid.west, grid.north) == (10_000.0, -3_650_000.0)
    assert "+a=6378137 +b=6356752" in grid.proj and grid.proj.endswith("+units=m")


def test_files_come_from_a_folder_and_those_below_it_a_file_or_a_glob(make_knmi: MakeKnmi, tmp_path: Path) -> None:
    path = make_knmi()
    (tmp_path / "README.txt").write_text("no radar file")
    (tmp_path / "deeper").mkdir()
    below = make_knmi("deeper/b.h5", product_datetime_end=np.array([b"26-AUG-2010;07:35:00.000"]))
    for sources, paths in (
        ([tmp_path], [path, below]),
        ([path], [path]),
        ([tmp_path / "*.h5"], [path]),
        ([tmp_path / "**/*.h5"], [path, below]),
        ([tmp_path, path], [path, below]),
    ):
        found = READER.scan([str(source) for source in sources])
        assert [recording.path for recording in found.recordings] == paths and not found.left_out


@pytest.mark.parametrize(("name", "mode"), [("day.tar", "w"), ("day.tar.gz", "w:gz")])
def test_a_days_tar_is_read_file_by_file_also_gzipped_ones(
    make_knmi: MakeKnmi, tmp_path: Path, name: str, mode: Literal["w", "w:gz"]
) -> None:
    with tarfile.open(tmp_path / name, mode) as archive:
        for minute in (30, 35, 40):
            end = np.array([f"26-AUG-2010;07:{minute}:00.000".encode()])
            start = np.array([f"26-AUG-2010;07:{minute - 5}:00.000".encode()])
            codes = ((minute, 1, 2), (3, 65534, 65535))
            path = make_knmi("made.h5", codes, product_datetime_end=end, product_datetime_start=start)
            content = gzip.compress(path.read_bytes()) if minute == 35 else path.read_bytes()
            entry = tarfile.TarInfo(f"08/RAD_NL25_RAC_5M_2010082607{minute}.h5" + (".gz" if minute == 35 else ""))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
            path.unlink()
        archive.addfile(tarfile.TarInfo("08/README.txt"))
    found = READER.scan([str(tmp_path)])
    assert [recording.times[0].minute for recording in found.recordings] == [30, 35, 40] and not found.left_out
    assert found.recordings[1].member == "08/RAD_NL25_RAC_5M_201008260735.h5.gz" and found.cadence_s == 300
    rain = [READER.read(recording)[0].field[0, 0] for recording in found.recordings]
    assert rain == pytest.approx([3.6, 4.2, 4.8])  # 0.01 mm in 5 minutes is 0.12 mm/h


def test_a_path_a_gzip_file_and_an_open_file_give_the_same_frame(make_knmi: MakeKnmi, tmp_path: Path) -> None:
    path = make_knmi()
    packed = tmp_path / "a.h5.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for source in (path, str(packed), io.BytesIO(path.read_bytes()), io.BytesIO(packed.read_bytes())):
        [frame] = READER.frames(source)
        np.testing.assert_array_equal(frame.stored, read(path).stored)
        assert (frame.time, frame.grid, frame.unit) == (END, read(path).grid, "mm/h")


def test_in_reflectivity_code_0_is_no_echo_though_it_is_declared_missing(make_knmi: MakeKnmi) -> None:
    header = {
        "image_geo_parameter": "REFLECTIVITY_[DBZ]",
        "calibration_formulas": "GEO = 0.500000 * PV + -32.000000",
        "calibration_missing_data": np.array([0], np.int32),
        "calibration_out_of_image": np.array([255], np.int32),
    }
    path = make_knmi(codes=((0, 1, 64), (144, 254, 255)), dtype=np.uint8, **header)
    [frame] = READER.frames(path)
    np.testing.assert_array_equal(frame.field, np.array([[-32.0, -31.5, 0.0], [40.0, 95.0, np.nan]], np.float32))
    assert READER.scan([str(path)]).product == REFLECTIVITY and frame.stored.dtype == np.uint8
    dbz8 = ENCODINGS["dbz8"]
    np.testing.assert_array_equal(frame.encode(dbz8), [[dbz8.no_echo, 1, 64], [144, 254, dbz8.missing]])


def test_the_older_reflectivity_formula_leaves_no_echo_at_its_lowest(make_knmi: MakeKnmi) -> None:
    header = {"image_geo_parameter": "REFLECTIVITY_[DBZ]", "calibration_formulas": "GEO=0.5*PV+-31.5"}
    nodata = {name: np.array([255]) for name in ("calibration_missing_data", "calibration_out_of_image")}
    [frame] = READER.frames(make_knmi(codes=((0, 77, 255), (1, 2, 3)), dtype=np.uint8, **header, **nodata))
    np.testing.assert_array_equal(frame.field[0], np.array([-32.0, 7.0, np.nan], np.float32))


def test_an_instant_of_reflectivity_has_no_interval_but_a_sum_must(make_knmi: MakeKnmi) -> None:
    instant = {"product_datetime_start": np.array([b"26-AUG-2010;07:30:00.000"])}
    [frame] = READER.frames(
        make_knmi(dtype=np.uint8, image_geo_parameter="REFLECTIVITY_[DBZ]", codes=np.ones((2, 3)), **instant)
    )
    assert frame.time == END
    with pytest.raises(RadarFileError, match="before it begins"):
        READER.frames(make_knmi(**instant))


@pytest.mark.parametrize("name", ["PRECIP_[MM]", "ACCUMULATION_[MM]"])
def test_sums_adjusted_by_gauges_are_rain_too(make_knmi: MakeKnmi, name: str) -> None:
    """As RTCOR's: image1 is the sum, 65534 and 65535 are no data, and image2 (its quality) is not read."""
    codes = {"calibration_missing_data": np.array([65534]), "calibration_out_of_image": np.array([65535])}
    path = make_knmi(image_geo_parameter=name, **codes)
    with h5py.File(path, "r+") as file:
        file["image2/image_data"] = np.zeros((2, 3), np.uint8)
        file["image2"].attrs["image_geo_parameter"] = "QUALITY_[-]"
    [frame] = READER.frames(path)
    assert READER.scan([str(path)]).product == RAIN
    np.testing.assert_array_equal(np.isnan(frame.field), [[False] * 3, [False, True, True]])


def test_a_forecast_is_left_out(make_knmi: MakeKnmi, tmp_path: Path) -> None:
    make_knmi()
    two_hours = {
        "product_datetime_start": np.array([b"26-AUG-2010;07:40:00.000"]),
        "product_datetime_end": np.array([b"26-AUG-2010;09:40:00.000"]),
    }
    forecast = make_knmi("b.h5", image_geo_parameter="PRECIP_[MM]", **two_hours)
    with h5py.File(forecast, "r+") as file:
        file["image1"].attrs["image_datetime_valid"] = "26-AUG-2010;07:40:00.000"  # the first of 25 lead times
    found = READER.scan([str(tmp_path)])
    assert len(found.recordings) == 1
    assert found.left_out == [(str(forecast), "a forecast, not an observation", "valid at 2010-08-26 07:40 UTC")]


def test_a_projection_in_kilometres_or_without_a_plus_still_has_its_corner(make_knmi: MakeKnmi) -> None:
    expected = read(make_knmi()).grid
    newer = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.14 +b=6356.75 +x_0=0 y_0=0"
    for proj in (newer, newer.replace("6378.14", "6378137").replace("6356.75", "6356752") + " +units=km"):
        grid = read(make_knmi(projection_proj4_params=proj)).grid
        place = place_of(grid.proj, grid.west + 350e3, grid.north)
        assert place == pytest.approx(place_of(expected.proj, expected.west + 350e3, expected.north), abs=1e-4)


def test_of_two_files_of_one_time_the_second_is_left_out(make_knmi: MakeKnmi, tmp_path: Path) -> None:
    later = np.array([b"26-AUG-2010;07:35:00.000"])
    second, first, third = make_knmi("b.h5"), make_knmi("a.h5"), make_knmi("c.h5", product_datetime_end=later)
    found = READER.scan([str(tmp_path)])
    assert [recording.path for recording in found.recordings] == [first, third]
    assert found.left_out == [(str(second), "time occurs more than once", "2010-08-26T07:30:00+00:00")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_geo_parameter": "ECHOTOP_[KM]"}, r"holds ECHOTOP_\[KM\], this reader takes ACCUM"),
        ({"image_geo_parameter": None}, "has no 'image1'|has no attribute 'image_geo_parameter'"),
        ({"calibration_formulas": "GEO=PV^2"}, "its calibration is 'GEO=PV\\^2', expected the form"),
        ({"calibration_formulas": "GEO=0*PV+0"}, "its calibration is"),
        (
            {"calibration_missing_data": np.zeros(2)},
            "'calibration_missing_data' of .* is not 1 finite",
        ),
        ({"geo_row_offset": np.array([np.nan])}, "'geo_row_offset' of /geographic is not 1 finite"),
        ({"geo_row_offset": None}, "has no attribute 'geo_row_offset' of /geographic"),
        ({"geo_number_rows": np.zeros(5000)}, "holds more than 1024 values"),
        ({"geo_pixel_size_y": np.array([1.0])}, "expected rows from north to south"),
        ({"geo_dim_pixel": "DEG,DEG"}, "its pixel size is in DEG,DEG"),
        ({"geo_dim_pixel": h5py.Empty("S5")}, "'geo_dim_pixel' of /geographic is not one text"),
        ({"product_datetime_end": np.array([b"26-AUG-2010;07:25:00.000"])}, "ends .* before it begins"),
        ({"product_datetime_end": np.array([b"2010-08-26 07:30"])}, "expected the form 26-AUG-2010"),
        ({"product_datetime_end": np.array([b"31-FEB-2010;07:30:00.000"])}, "expected the form 26-AUG-2010"),
        ({"product_datetime_end": np.array([b"26-XXX-2010;07:30:00.000"])}, "expected the form 26-AUG-2010"),
    ],
)
def test_a_header_that_cannot_be_used_is_left_out_with_its_reason(
    make_knmi: MakeKnmi, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    good, bad = make_knmi(), make_knmi("bad.h5", **changes)
    found = READER.scan([str(tmp_path)])
    assert [recording.path for recording in found.recordings] == [good]
    [(what, why, _)] = found.left_out
    assert (what, why) == (str(bad), "unreadable")
    with pytest.raises(RadarFileError, match=reason):
        READER.read(Recording(bad, 0, (END,), RAIN))


def test_an_archive_without_one_readable_file_is_refused(make_knmi: MakeKnmi, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no file like \*\.h5 or"):
        READER.scan([str(tmp_path)])
    with pytest.raises(UserError, match="does not exist"):
        READER.scan([str(tmp_path / "absent.h5")])
    make_knmi("a.h5", image_geo_parameter="ECHOTOP_[KM]")
    (tmp_path / "b.h5").write_text("a text")
    with pytest.raises(UserError, match=r"no file of 2 can be used as knmi, .*a\.h5 because: holds ECHOTOP"):
        READER.scan([str(tmp_path)])


def test_a_picture_of_another_shape_or_type_is_named(make_knmi: MakeKnmi) -> None:
    with pytest.raises(RadarFileError, match=r"'image1/image_data' has shape \(1, 3\), expected \(2, 3\)"):
        read(make_knmi(codes=((1, 2, 3),)))
    path = make_knmi()
    with h5py.File(path, "r+") as file:
        del file["image1/image_data"]
        file["image1/image_data"] = np.zeros((2, 3), np.float32)
    with pytest.raises(RadarFileError, match="has type float32, expected"):
        read(path)


def test_a_projection_that_leads_to_another_file_is_refused(make_knmi: MakeKnmi) -> None:
    with pytest.raises(RadarFileError, match="is no PROJ string"):
        READER.frames(make_knmi(projection_proj4_params=KNMI_PROJ + " +nadgrids=/etc/passwd"))


def test_a_forged_shape_allocates_nothing(make_knmi: MakeKnmi) -> None:
    side = 1_000_000
    path = make_knmi(geo_number_rows=np.array([side]), geo_number_columns=np.array([side]))
    with h5py.File(path, "r+") as file:
        del file["image1/image_data"]
        file.create_dataset("image1/image_data", (side, side), np.uint16, chunks=(10, 10))
    with pytest.raises(RadarFileError, match="declares 1000000 x 1000000 pixels"):
        READER.frames(path)


def test_a_file_that_changed_since_it_was_listed_is_named(make_knmi: MakeKnmi) -> None:
    [recording] = READER.scan([str(make_knmi())]).recordings
    make_knmi(product_datetime_end=np.array([b"26-AUG-2010;07:35:00.000"]))
    with pytest.raises(RadarFileError, match="is now of 2010-08-26 07:35 UTC, not as it was listed"):
        READER.read(recording)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_truncated_file_is_a_radar_file_error(make_knmi: MakeKnmi, share: float) -> None:
    path = make_knmi()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RadarFileError, match="cannot be read as HDF5") as caught:
        READER.read(Recording(path, 0, (END,), RAIN))
    assert caught.value.path == str(path)


def test_what_is_no_hdf5_file_is_a_radar_file_error(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("station,rain\nDe Bilt,0.3\n")
    (tmp_path / "b.h5").mkdir()
    for name in ("a.h5", "b.h5", "absent.h5"):
        with pytest.raises(RadarFileError, match="cannot be read as HDF5"):
            READER.read(Recording(tmp_path / name, 0, (END,), RAIN))


# derandomized: libhdf5 itself can crash on a hostile file, so the same flips are tried every time
@settings(max_examples=60, derandomize=True, database=None, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(flips=st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=8))
def test_flipped_bits_give_a_frame_or_a_radar_file_error(make_knmi: MakeKnmi, flips: list[tuple[float, int]]) -> None:
    path = make_knmi()
    content = bytearray(path.read_bytes())
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        [frame] = READER.read(Recording(path, 0, (END,), RAIN))
    except RadarFileError as error:
        assert error.path == str(path) and error.reason
    else:
        assert frame.stored.shape == (2, 3) and frame.field.dtype == np.float32


def test_without_h5py_the_extra_is_named(make_knmi: MakeKnmi, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_knmi()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"ds-nowcast\[hdf5\]"):
        READER.scan([str(path)])


def test_a_real_file_has_its_exact_rain_rates_and_missing_share(radar_data: Path) -> None:
    frame = read(radar_data / REAL)
    with h5py.File(radar_data / REAL) as file:
        codes = file["image1/image_data"][()]
    assert frame.time == END and np.isnan(frame.field).mean() == 0.7437366946778712
    np.testing.assert_array_equal(np.isnan(frame.field), codes == 65535)
    row, column = np.unravel_index(np.argmax(np.where(codes == 65535, 0, codes)), codes.shape)
    assert codes[row, column] == 96 and frame.field[row, column] == np.float32(11.52)
    np.testing.assert_allclose(frame.field[codes < 65535], codes[codes < 65535] * 0.12, rtol=1e-6)


# derandomized, as above; a real file's layout differs from h5py's (older groups, one chunk, many attributes)
@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(cut=st.floats(0.0, 1.0), flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 7)), max_size=6))
def test_a_damaged_real_file_gives_a_frame_or_a_radar_file_error(
    radar_data: Path, cut: float, flips: list[tuple[int, int]]
) -> None:
    content = bytearray((radar_data / REAL).read_bytes())
    for place, bit in flips:
        content[place % len(content)] ^= 1 << bit
    content = content[: int(cut * len(content))] if cut < 0.3 else content
    try:
        frames = READER.frames(io.BytesIO(content), name="damaged.h5")
    except RadarFileError as error:
        assert error.path == "damaged.h5" and error.reason
    else:
        assert all(frame.field.shape == frame.grid.shape for frame in frames)


def test_a_real_files_grid_agrees_with_the_corners_it_states(radar_data: Path) -> None:
    grid = read(radar_data / REAL).grid
    assert grid.shape == (765, 700) and (grid.west, grid.north) == (0.0, -3_650_000.0)
    with h5py.File(radar_data / REAL) as file:
        stated = file["geographic"].attrs["geo_product_corners"].reshape(4, 2)
    south_m, east_m = grid.north - 765_000.0, grid.west + 700_000.0
    corners = [(grid.west, south_m), (grid.west, grid.north), (east_m, grid.north), (east_m, south_m)]
    for (lon, lat), corner in zip(stated, corners, strict=True):
        assert corner_of(grid.proj, float(lon), float(lat)) == pytest.approx(corner, abs=1000.0)


def test_the_real_archive_is_one_run_of_5_minute_frames(radar_data: Path) -> None:
    found = READER.scan([str(radar_data / "knmi")])
    times = sorted(recording.times[0] for recording in found.recordings)
    assert len(times) == 92 and not found.left_out
    assert {(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)} == {300.0}
