"""MRMS: exact values, times and places of real files, units and flags, and that damage ends in one named error."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from data_prep.encoding import encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.projection import to_cf
from data_prep.readers import LeftOut, Product, Recording, reader_named
from data_prep.readers.file_reader import Entry
from data_prep.readers.files import RadarFile
from data_prep.readers.mrms_products import NAMES, product_of
from tests.data_prep.readers import grib2_files as made
from tests.data_prep.readers.grib2_files import READER, grib, listed, read

END = datetime(2019, 6, 10, 0, 2, 39, tzinfo=UTC)
RAIN = Product("PrecipRate", "mm/h")
REAL_RAIN = "mrms/PrecipRate_00.00_20190610-000000.grib2"
REAL_DBZ = "mrms/gz/MRMS_ReflectivityAtLowestAltitude_00.50_20230406-120039.grib2.gz"
NAN = np.nan


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("mrms") is READER


# meanings


def test_a_rain_rate_is_a_table_of_the_files_own_codes() -> None:
    frame = read(grib(((0, 20, 30), (31, 150, 1518))))  # (-30 + code) / 10
    np.testing.assert_array_equal(frame.field, np.array([[NAN, NAN, 0.0], [0.1, 12.0, 148.8]], np.float32))
    assert frame.unit == "mm/h" and frame.stored.dtype == np.uint16


def test_no_echo_is_dry_and_no_coverage_is_no_data_in_reflectivity() -> None:
    frame = read(grib(((0, 9000, 9680), (9990, 10190, 10590)), made.LOWEST, reference=-9990.0))
    np.testing.assert_array_equal(frame.field, np.array([[NAN, -32.0, -31.0], [0.0, 20.0, 60.0]], np.float32))
    codes = frame.encode(encoding_named("dbz8"))
    assert frame.unit == "dBZ" and codes[0].tolist() == [255, 0, 2]


def test_no_echo_is_dry_and_no_coverage_is_no_data_in_vil() -> None:
    frame = read(grib(((0, 20, 30), (31, 60, 830)), (209, 3, 41)))
    np.testing.assert_array_equal(frame.field, np.array([[NAN, 0.0, 0.0], [0.1, 3.0, 80.0]], np.float32))
    assert frame.unit == "kg/m2" and listed(grib(parameter=(209, 3, 41)))[0].product.encoding == "vil255"  # type: ignore


@pytest.mark.parametrize(
    ("number", "name", "seconds"), [(2, "RadarOnly_QPE_01H", 3600), (37, "MultiSensor_QPE_01H_Pass2", 3600),
                                    (45, "RadarOnly_QPE_15M", 900)]
)  # fmt: skip
def test_a_sum_becomes_a_rate_by_the_interval_in_its_name(number: int, name: str, seconds: int) -> None:
    content = grib(((0, 30, 130),), (209, 6, number))
    assert listed(content) == [Entry(END, Product(name, "mm/h"), 0, seconds)]
    np.testing.assert_allclose(read(content).field, [[NAN, 0.0, 10.0 * 3600 / seconds]], rtol=1e-6)


def test_a_sum_of_template_8_says_its_interval_and_its_end_itself() -> None:
    meaning = made.over(6, 2, (2019, 6, 10, 0, 30, 0), (0, 30))
    content = grib(((0, 30, 130),), made.HOURLY, meaning=meaning)
    end = datetime(2019, 6, 10, 0, 30, tzinfo=UTC)
    assert listed(content) == [Entry(end, Product("RadarOnly_QPE_01H", "mm/h"), 0, 1800)]
    frame = read(content)
    assert frame.time == end
    np.testing.assert_allclose(frame.field, [[NAN, 0.0, 20.0]], rtol=1e-6)


def test_the_time_is_the_reference_time_and_the_forecast_time_with_its_seconds() -> None:
    assert read(grib()).time == END
    assert read(grib(meaning=made.product(6, 1, ahead=(0, 2)))).time == END.replace(minute=4)
    assert read(grib(meaning=made.product(6, 1, ahead=(13, -39)))).time == END.replace(second=0)


@pytest.mark.parametrize(
    ("parameter", "name"),
    [((209, 6, 0), "PrecipFlag"), ((209, 9, 3), "MergedRhoHV"), ((209, 6, 6), "RadarOnly_QPE_24H"),
     ((209, 3, 43), "VII"), ((209, 10, 7), "CREF_1HR_MAX"), ((209, 13, 1), "ANC_FinalForecast"),
     ((209, 12, 15), "FLASH_QPE_ARI01H"), ((209, 99, 1), "209/99/1"), ((0, 6, 1), "of GRIB discipline 0,")]
)  # fmt: skip
def test_a_product_without_meaning_here_is_left_out_by_its_name(parameter: tuple[int, int, int], name: str) -> None:
    [left_out] = listed(grib(parameter=parameter, meaning=made.product(*parameter[1:], height_m=19_000)))
    assert isinstance(left_out, LeftOut) and name in left_out.reason


def test_each_height_of_a_three_dimensional_mosaic_is_a_product_named_like_its_files() -> None:
    content = grib(parameter=(209, 9, 0), meaning=made.product(9, 0, height_m=500))
    assert listed(content)[0].product == Product("MergedReflectivityQC_00.50", "dBZ")  # type: ignore
    assert read(content).unit == "dBZ"
    with pytest.raises(RadarFileError, match="its level is of type 103, expected 102"):
        listed(grib(parameter=(209, 9, 0), meaning=made.product(9, 0, level=103)))


def test_the_products_of_the_table_are_those_that_a_nowcast_can_use() -> None:
    taken = [product_of(category, number, 0.5) for category, names in NAMES.items() for number in names]
    names = {unit: {p.name for p in taken if p and p.unit == unit} for unit in ("mm/h", "dBZ", "kg/m2")}
    assert names["kg/m2"] == {"VIL", "LVL3_HighResVIL"}
    assert {"PrecipRate", "RadarOnly_QPE_15M", "GaugeCorr_QPE_01H", "MultiSensor_QPE_01H_Pass1"} < names["mm/h"]
    assert {"SeamlessHSR", "Reflectivity_-20C", "MergedReflectivityQCComposite", "MergedBaseReflectivityQC"} < names[
        "dBZ"
    ]
    assert NAMES[6][43] == "MultiSensor_QPE_72H_Pass2" and NAMES[3][34] == "MESHMax1440min"  # the ends of families


# sources


def test_a_file_is_the_same_plain_gzipped_and_as_a_file_object(tmp_path: Path) -> None:
    (tmp_path / "a.grib2").write_bytes(grib())
    (tmp_path / "b.GRIB2.gz").write_bytes(gzip.compress(grib()))
    sources = [tmp_path / "a.grib2", tmp_path / "b.GRIB2.gz", io.BytesIO(grib()), io.BytesIO(gzip.compress(grib()))]
    frames = [READER.frames(source)[0] for source in sources]
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame.field, frames[0].field)
        assert (frame.time, frame.grid, frame.unit) == (frames[0].time, frames[0].grid, "mm/h")


def test_an_archive_is_listed_and_read_by_product(tmp_path: Path) -> None:
    for minute in (0, 2, 4):
        (tmp_path / f"{minute}.grib2").write_bytes(grib(time=(2019, 6, 10, 0, minute, 39 - minute)))
    (tmp_path / "z.grib2.gz").write_bytes(gzip.compress(grib(parameter=made.LOWEST)))
    with pytest.raises(UserError, match=r"several products: PrecipRate \(mm/h, 3 frames\), ReflectivityAtLowestAlt"):
        READER.scan([str(tmp_path)])
    found = READER.scan([str(tmp_path)], "PrecipRate")
    assert (found.product, found.cadence_s, len(found.recordings)) == (RAIN, 120, 3) and not found.left_out
    assert [READER.read(recording)[0].time.second for recording in found.recordings] == [39, 37, 35]


def test_listing_unpacks_only_the_head_of_a_file_of_one_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = grib(np.random.default_rng(0).integers(0, 60000, (200, 200)))
    (tmp_path / "a.grib2.gz").write_bytes(gzip.compress(content))
    (tmp_path / "b.grib2").write_bytes(content)
    asked: list[int] = []
    head = RadarFile.head
    monkeypatch.setattr(RadarFile, "head", lambda file, size: asked.append(size) or head(file, size))
    monkeypatch.setattr(RadarFile, "content", None)
    found = [READER.listed(tmp_path / name).entries for name in ("a.grib2.gz", "b.grib2")]
    assert found == [[("", Entry(END, RAIN, 0))]] * 2 and max(asked) <= 4096 < len(content)


def test_no_message_of_a_gzipped_file_is_overlooked(tmp_path: Path) -> None:
    one, two = grib(), grib(((30, 40),), time=(2019, 6, 10, 0, 4, 0))
    for name, content in (("a", gzip.compress(one + two)), ("b", gzip.compress(one) + gzip.compress(two))):
        (tmp_path / f"{name}.grib2.gz").write_bytes(content)
        assert [entry.item for _, entry in READER.listed(tmp_path / f"{name}.grib2.gz").entries] == [0, 1]


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs PIL, which is not installed; .* 'ds-nowcast\[mrms\]"):
        READER.frames(io.BytesIO(grib()))


def test_a_file_that_changed_since_it_was_listed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.grib2"
    path.write_bytes(grib())
    [recording] = READER.scan([str(path)]).recordings
    path.write_bytes(grib(parameter=made.LOWEST))
    with pytest.raises(RadarFileError, match="no longer holds PrecipRate as its field 0"):
        READER.read(recording)


# real files; what ecCodes 2.50 reads of them: each value that they hold, and how often


def test_a_real_rain_rate_has_exactly_the_values_that_eccodes_reads(radar_data: Path) -> None:
    [frame] = READER.frames(radar_data / REAL_RAIN)
    field = frame.field
    assert frame.stored.dtype == np.uint16 and frame.unit == "mm/h" and frame.time == datetime(2019, 6, 10, tzinfo=UTC)
    counts = np.bincount(np.round(field[~np.isnan(field)] * 10).astype(np.int64))
    assert np.isnan(field).sum() == 8_769_493 and counts[:7].tolist() == [
        14_747_625,
        149,
        30_027,
        81_741,
        84_670,
        77_446,
        65_390,
    ]
    assert field[np.isfinite(field)].max() == np.float32(148.8)


def test_a_real_grid_agrees_with_the_corners_that_the_file_states(radar_data: Path) -> None:
    with open(radar_data / REAL_RAIN, "rb") as file:
        section = file.read(109)[37:]  # the third
    assert section[4] == 3
    first_lat, first_lon = struct.unpack(">II", section[46:54])
    last_lat, last_lon = struct.unpack(">II", section[55:63])
    [frame] = READER.frames(radar_data / REAL_RAIN)
    grid = frame.grid
    assert grid.shape == (3500, 7000) and (grid.west, grid.north, grid.pixel) == (-130.0, 55.0, (0.01, 0.01))
    assert (grid.y[0], grid.x[0]) == pytest.approx((first_lat / 1e6, first_lon / 1e6 - 360.0), abs=1e-6)
    assert (grid.y[-1], grid.x[-1]) == pytest.approx((last_lat / 1e6, last_lon / 1e6 - 360.0), abs=1e-5)
    assert to_cf(grid.proj)["grid_mapping_name"] == "latitude_longitude"


def test_a_real_reflectivity_is_no_data_only_where_no_radar_looks(radar_data: Path) -> None:
    [entry] = [entry for _, entry in READER.listed(radar_data / REAL_DBZ).entries]
    product = Product("ReflectivityAtLowestAltitude", "dBZ")
    assert entry == Entry(datetime(2023, 4, 6, 12, 0, 39, tzinfo=UTC), product)
    [frame] = READER.read(Recording(radar_data / REAL_DBZ, 0, (entry.time,), product))
    assert frame.stored.dtype == np.uint16
    counts = {value: int(np.sum(frame.field == value)) for value in (-32.0, -31.0, -30.5, -29.5, -28.5, 60.0)}
    assert np.isnan(frame.field).sum() == 8_528_048 and np.nanmax(frame.field) == 60.0
    assert (
        counts == {-32.0: 15_041_671, -31.0: 2, -30.5: 1, -29.5: 5, -28.5: 9, 60.0: counts[60.0]} and counts[60.0] > 0
    )


def test_the_real_archive_is_one_run_of_2_minute_frames(radar_data: Path) -> None:
    found = READER.scan([str(radar_data / "mrms")], "PrecipRate")
    times = sorted(recording.times[0] for recording in found.recordings)
    assert len(times) == 36 and found.cadence_s == 120
    assert {(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)} == {120.0}
    assert sorted(one.reason.split()[1] for one in found.left_out) == ["MergedRhoHV", "PrecipFlag"]
