"""KNMI: exact rain rates, times and places of real files, and that a damaged file ends in one named error."""

from __future__ import annotations

import itertools
import sys
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.errors import RadarFileError, UserError
from data_prep.frames import RadarFrame
from data_prep.projection import corner_of
from data_prep.readers import Product, Recording, reader_named
from data_prep.readers.knmi import READER
from tests.data_prep.readers.conftest import MakeKnmi

REAL = "knmi/RAD_NL25_RAP_5min_201008260730.h5"
RAIN = Product("rain", "mm/h")
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


def test_files_come_from_a_folder_a_file_or_a_glob(make_knmi: MakeKnmi, tmp_path: Path) -> None:
    path = make_knmi()
    (tmp_path / "README.txt").write_text("no radar file")
    (tmp_path / "deeper").mkdir()
    make_knmi("deeper/b.h5")
    for sources in ([tmp_path], [path], [tmp_path / "*.h5"], [tmp_path, path]):
        found = READER.scan([str(source) for source in sources])
        assert [recording.path for recording in found.recordings] == [path] and not found.left_out


def test_of_two_files_of_one_time_the_second_is_left_out(make_knmi: MakeKnmi, tmp_path: Path) -> None:
    later = np.array([b"26-AUG-2010;07:35:00.000"])
    second, first, third = make_knmi("b.h5"), make_knmi("a.h5"), make_knmi("c.h5", product_datetime_end=later)
    found = READER.scan([str(tmp_path)])
    assert [recording.path for recording in found.recordings] == [first, third]
    assert found.left_out == [(str(second), "time occurs more than once", "2010-08-26T07:30:00+00:00")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_geo_parameter": "REFLECTIVITY_[DBZ]"}, r"holds REFLECTIVITY_\[DBZ\], this reader takes ACCUM"),
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
    with pytest.raises(UserError, match=r"holds no \.h5 file"):
        READER.scan([str(tmp_path)])
    with pytest.raises(UserError, match="does not exist"):
        READER.scan([str(tmp_path / "absent.h5")])
    make_knmi("a.h5", image_geo_parameter="REFLECTIVITY_[DBZ]")
    (tmp_path / "b.h5").write_text("a text")
    with pytest.raises(UserError, match=r"none of 2 files is a readable KNMI rain composite, .* because: holds REF"):
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


def test_a_forged_shape_allocates_nothing(make_knmi: MakeKnmi) -> None:
    side = 1_000_000
    path = make_knmi(geo_number_rows=np.array([side]), geo_number_columns=np.array([side]))
    with h5py.File(path, "r+") as file:
        del file["image1/image_data"]
        file.create_dataset("image1/image_data", (side, side), np.uint16, chunks=(10, 10))
    with pytest.raises(RadarFileError, match="declares more than"):
        read(path)


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
    with pytest.raises(UserError, match=r"with its extra \[hdf5\]"):
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
