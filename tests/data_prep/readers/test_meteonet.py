"""MeteoNet: exact values, times and places of real files, and that a file that is damaged or hostile runs nothing."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.errors import RadarFileError, UserError
from data_prep.frames import RadarFrame
from data_prep.readers import Product, Recording, reader_named
from data_prep.readers.meteonet import READER, ZONES, MeteonetReader
from data_prep.readers.pickled_times import pickled_times

FOLDER, MONTH = "meteonet", "NW_2016_08.3.npz"
NAME = f"rainfall_{MONTH}"
START = datetime(2016, 8, 21)
CODES = np.array([[-1, 0, 1], [2, 300, 32767]], np.int16)
LATS, LONS = np.array([[45.005] * 3, [44.995] * 3]), np.array([[3.005, 3.015, 3.025]] * 2)
SKEWED = np.array([0, 0.002, 0])
Make = Callable[..., Path]


def dates(count: int) -> Any:
    return np.array([START + timedelta(minutes=5 * i) for i in range(count)], object)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(name, **arrays): a file of two frames, and the coordinates of its 2 x 3 pixels; None leaves an array out."""

    def written(name: str = NAME, **changes: Any) -> Path:
        arrays = {"data": np.stack([CODES, CODES[::-1]]), "dates": dates(2), "miss_dates": dates(5)[2:]} | changes
        np.savez_compressed(tmp_path / name, **{key: array for key, array in arrays.items() if array is not None})
        np.savez_compressed(tmp_path / "radar_coords_NW.npz", lats=LATS, lons=LONS)
        return tmp_path / name

    return written


def frames(path: Path) -> list[RadarFrame]:
    return [frame for recording in READER.scan([str(path)]).recordings for frame in READER.read(recording)]


def npy(content: bytes, descr: str = "|O", shape: tuple[int, ...] = (2,), version: int = 1) -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + content


def replace_members(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (kept | {f"{name}.npy": content for name, content in members.items()}).items():
            archive.writestr(name, content)


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("meteonet") is READER and READER.split_dates is None


def test_hundredths_of_mm_in_5_minutes_become_a_rain_rate_and_minus_1_is_no_data(make: Make) -> None:
    first, second = frames(make())
    expected = np.array([[np.nan, 0.0, 0.12], [0.24, 36.0, 3932.04]], np.float32)
    np.testing.assert_allclose(first.field, expected, rtol=1e-6)
    np.testing.assert_allclose(second.field, expected[::-1], rtol=1e-6)
    assert first.unit == "mm/h" and first.stored.dtype == np.uint16


@pytest.mark.parametrize(
    ("kind", "codes", "dbz"),
    [
        ("old", [[0, 7, 8], [16, 70, 255]], [[-32, -32, 8], [16, 70, np.nan]]),
        ("old", [[-1, 254, 256], [20, 21, 0]], [[np.nan, 254, np.nan], [20, 21, -32]]),
        ("new", [[-200, -100, -90], [-95, 0, 385]], [[np.nan, -32, -9], [-9.5, 0, 38.5]]),
        ("new", [[-201, -101, -32768], [5, 10, 15]], [[np.nan] * 3, [0.5, 1, 1.5]]),
    ],
)
def test_reflectivity_is_in_dbz_with_no_echo_dry_and_missing_missing(
    make: Make, kind: str, codes: Any, dbz: Any
) -> None:
    [frame] = frames(make(f"reflectivity_{kind}_{MONTH}", data=np.array([codes], np.int16), dates=dates(1)))
    np.testing.assert_allclose(frame.field, np.array(dbz, np.float32), rtol=1e-6)
    assert frame.unit == "dBZ"


def test_each_date_is_an_entry_of_its_own_and_gaps_stay(make: Make) -> None:
    times = dates(4)[[0, 3]]
    found = READER.scan([str(make(dates=times))])
    expected = [time.replace(tzinfo=UTC) for time in times]
    assert [recording.times[0] for recording in found.recordings] == expected
    assert [recording.item for recording in found.recordings] == [0, 1] and not found.left_out
    assert found.product == Product("rainfall_NW", "mm/h")
    assert [frame.time for frame in frames(make(dates=times))] == expected


def test_a_file_of_one_frame_has_the_cadence_of_the_archive(make: Make) -> None:
    assert READER.scan([str(make(data=CODES[None], dates=dates(1)))]).cadence_s == 300


def test_the_grid_begins_half_a_pixel_outside_the_first_centre(make: Make) -> None:
    grid = frames(make())[0].grid
    assert grid.shape == (2, 3) and grid.unit == "degree"
    assert (grid.west, grid.north, *grid.pixel) == pytest.approx((3.0, 45.01, 0.01, 0.01))


def test_without_coordinates_the_zone_of_the_name_holds(make: Make) -> None:
    for zone in ("NW", "SE"):
        data = np.zeros((1, *ZONES[zone].shape), np.int16)
        path = make(f"rainfall_{zone}_2016_08.3.npz", data=data, dates=dates(1))
        (path.parent / "radar_coords_NW.npz").unlink()
        assert frames(path)[0].grid == ZONES[zone]


def test_zones_are_products_of_their_own(make: Make) -> None:
    make()
    path = make("rainfall_SE_2016_08.3.npz")
    shutil.copy(path.parent / "radar_coords_NW.npz", path.parent / "radar_coords_SE.npz")
    with pytest.raises(UserError, match=r"several products: .*rainfall_NW.*--product NAME"):
        READER.scan([str(path.parent)])
    assert len(READER.scan([str(path.parent)], product="rainfall_SE").recordings) == 2


def test_quality_codes_are_left_out_by_name(make: Make) -> None:
    path = make()
    shutil.copy(path, path.parent / "rainfall_mean_quality-code_NW_2016_08.3.npz")
    found = READER.scan([str(path.parent)])
    assert len(found.recordings) == 2
    assert [one.reason for one in found.left_out] == ["quality codes, not rain"]


@pytest.mark.parametrize(("index", "compress"), [(range(2), True), ([1, 0, 1], True), ([1, 0], False)])
def test_frames_come_in_any_order_from_deflated_and_stored_files(make: Make, index: list[int], compress: bool) -> None:
    path = make()
    if not compress:
        with np.load(path, allow_pickle=True) as arrays:
            np.savez(path, **arrays)
    recordings = READER.scan([str(path)]).recordings
    read = [READER.read(recordings[i])[0].stored.view(np.int16) for i in index]
    np.testing.assert_array_equal(read, [(CODES, CODES[::-1])[i] for i in index])


def test_going_back_does_not_begin_anew_and_reading_on_costs_one_pass(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    side, count = 512, 24  # 12 MB: several kept states of the decoder
    data = (np.random.default_rng(0).random((count, side, side), np.float32) < 0.01).astype(np.int16)
    path = make(data=data, dates=dates(count))
    lats = 45.0 - 0.01 * np.arange(side)[:, None] + np.zeros(side)
    np.savez(path.parent / "radar_coords_NW.npz", lats=lats, lons=-lats.T)
    recordings = READER.scan([str(path)]).recordings
    given = []

    def crc32(part: bytes, value: int, *, of: Any = zlib.crc32) -> int:
        given.append(len(part))
        return int(of(part, value))

    monkeypatch.setattr(zlib, "crc32", crc32)
    for i in range(count):
        np.testing.assert_array_equal(READER.read(recordings[i])[0].stored, data[i])
    assert sum(given) == pytest.approx(data.nbytes, abs=4096)
    for i in (20, 3, 12, 11):
        given.clear()
        np.testing.assert_array_equal(READER.read(recordings[i])[0].stored, data[i])
        assert sum(given) < 8 * data[0].nbytes


def test_a_file_that_changes_between_reads_is_opened_again(make: Make) -> None:
    recordings = READER.scan([str(make())]).recordings
    READER.read(recordings[0])
    path = make(data=np.stack([CODES + 1, CODES, CODES]), dates=dates(3))
    os.utime(path, (1, 1))
    np.testing.assert_array_equal(READER.read(recordings[0])[0].stored.view(np.int16), CODES + 1)
    make(data=CODES[None], dates=dates(1))
    with pytest.raises(RadarFileError, match="now has 1 frames, not as it was listed"):
        READER.read(recordings[1])


def test_a_frame_is_the_same_from_path_gzip_and_open_file(make: Make, tmp_path: Path) -> None:
    path = make()
    packed = tmp_path / f"{NAME}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    reader = MeteonetReader()
    (tmp_path / "radar_coords_NW.npz").rename(tmp_path / "radar_coords_SE.npz")
    path = path.rename(tmp_path / NAME.replace("NW", "SE"))
    packed = packed.rename(tmp_path / f"{path.name}.gz")
    expected = reader.frames(path)
    assert len(expected) == 2
    for frame, other in zip(expected, reader.frames(packed), strict=True):
        np.testing.assert_array_equal(frame.stored, other.stored)
        assert (frame.time, frame.grid) == (other.time, other.grid)


def test_an_open_file_needs_a_name_and_then_is_read_with_the_zones_grid() -> None:
    buffer = io.BytesIO()
    data = np.arange(565 * 784, dtype=np.int16).reshape(1, 565, 784)
    np.savez_compressed(buffer, data=data, dates=dates(1))
    buffer.seek(0)
    with pytest.raises(RadarFileError, match="its name does not tell product and zone"):
        MeteonetReader().frames(buffer)
    buffer.seek(0)
    [frame] = MeteonetReader().frames(buffer, name=NAME)
    np.testing.assert_array_equal(frame.stored, data[0].view(np.uint16))
    assert frame.grid == ZONES["NW"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": None}, "holds no array 'data'; it holds dates, miss_dates"),
        ({"dates": None}, "holds no array 'dates'"),
        ({"data": np.zeros((2, 2, 3), np.int32)}, r"'data' is \(2, 2, 3\) int32, expected"),
        ({"data": np.zeros((2, 3), np.int16)}, r"'data' is \(2, 3\) int16, expected"),
        ({"data": np.asfortranarray(np.zeros((2, 2, 3), np.int16))}, "expected"),
        ({"data": np.zeros((0, 2, 3), np.int16), "dates": dates(1)}, "declares 0 frames"),
        ({"data": np.zeros((2, 0, 3), np.int16)}, "declares 0 x 3 pixels"),
        ({"data": np.zeros((2, 3, 3), np.int16)}, r"has frames of \(3, 3\) pixels, but radar_coords_NW\.npz"),
        ({"data": np.array([None, "a"], object)}, "'data' is"),
        ({"dates": dates(3)}, "has 3 dates for 2 frames"),
        ({"dates": np.arange(2)}, "expected an array of objects"),
        ({"dates": np.array(["2016", 3], object)}, "objects that are no date-times"),
        ({"dates": np.array([START.date()] * 2, object)}, "the name datetime.date"),
        ({"dates": np.array([START.replace(tzinfo=UTC)] * 2, object)}, "the name datetime.timezone"),
    ],
)
def test_a_file_of_another_content_is_left_out_with_its_reason(make: Make, changes: Any, reason: str) -> None:
    bad = make("rainfall_NW_2016_08.2.npz", **changes)
    make()
    found = READER.scan([str(bad.parent)])
    assert len(found.recordings) == 2 and [one.what for one in found.left_out] == [str(bad)]
    with pytest.raises(RadarFileError, match=reason):
        READER.read(Recording(bad, 0, (START.replace(tzinfo=UTC),), Product("rainfall_NW", "mm/h")))


@pytest.mark.parametrize("lats", [LATS[::-1], LATS * [[1, 1, 2]], np.full((2, 3), np.nan), LATS + SKEWED])
def test_coordinates_that_are_no_regular_grid_are_refused_by_their_own_name(make: Make, lats: Any) -> None:
    path = make()
    np.savez(path.parent / "radar_coords_NW.npz", lats=lats, lons=LONS)
    with pytest.raises(RadarFileError, match=r"radar_coords_NW\.npz: is not a regular grid"):
        MeteonetReader().frames(path)


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


PARTS = b"\x8c\x01x\x94" + b"".join(b"h" + bytes([i]) + b"\x86\x94" for i in range(100))  # a tuple of 2**100


@pytest.mark.parametrize(
    "pickled",
    [
        PARTS + PARTS + b"\x93.",  # as a name
        b"c_codecs\nencode\n" + PARTS + b"\x8c\x06latin1\x86R.",  # as a text
        b"c_codecs\nencode\n\x8c\x01a" + PARTS + b"\x86R.",  # as an encoding
    ],
)
def test_a_pickle_of_a_few_bytes_does_not_work_for_ever(pickled: bytes) -> None:
    with pytest.raises(ValueError, match="a tuple in the place of a text"):
        pickled_times(b"\x80\x04" + pickled)


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_runs_nothing(make: Make, tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "executed"
    hostile = np.array([START, Hostile(target)], object)
    path = make()
    for objects in (hostile, [Hostile(target), Hostile(target)], Hostile(target)):
        content = pickle.dumps(objects, protocol)
        replace_members(path, dates=npy(content))
        with pytest.raises(RadarFileError, match="not a plain array of date-times"):
            MeteonetReader().frames(path)
        assert not target.exists()
    pickle.loads(content)
    assert target.exists()  # the very same bytes do run where they are unpickled


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_times_are_those_that_unpickling_gives_whatever_the_protocol(protocol: int) -> None:
    times = [datetime(2018, 12, 31, 23, 55, 7, 654321), START, START.replace(fold=1)]
    array = np.array([*times, times[0]], object)
    read = pickled_times(pickle.dumps(array, protocol))
    assert read == [time.replace(tzinfo=UTC) for time in pickle.loads(pickle.dumps(array))]


def test_a_pickle_of_an_older_numpy_is_read(make: Make) -> None:
    content = pickle.dumps(dates(2), 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path = make()
    replace_members(path, dates=npy(content, version=2))
    assert [frame.time for frame in MeteonetReader().frames(path)] == [time.replace(tzinfo=UTC) for time in dates(2)]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (npy(b"", "<i2", (2, 1 << 40, 1 << 40)), "declares shape"),
        (npy(b"", "<i2", (1 << 62, 2, 3)), "declares shape"),
        (npy(b"", "<i2", (-2, -2, 3)), "declares shape"),
        (npy(b"\0" * 23, "<i2", (2, 2, 3)), "but has 23 bytes"),
        (npy(b"\0" * 48, "V4", (2, 2, 3)), r"holds values of type \|V4, expected numbers"),
        (npy(b"\0" * 24, "__import__('os').getcwd()", (2, 2, 3)), "has a header that cannot be read"),
        (npy(b"\0" * 24, "<i2", (2, 2, 3)).replace(b"'<i2'", b"print"), "has a header that cannot be read"),
        (npy(b"\0" * 24, "(" * 9000, (2, 2, 3)), "has a header that cannot be read"),
        (b"\x93NUMPY\x01\x00\xff\xff{}", "has a header of 65535 bytes"),
        (b"\x93NUMPY\x09\x00\x02\x00{}  ", "is no .npy"),
        (b"", "is no .npy"),
    ],
)
def test_a_forged_header_is_refused_before_anything_is_allocated(make: Make, header: bytes, reason: str) -> None:
    path = make()
    replace_members(path, data=header)
    with pytest.raises(RadarFileError, match=reason):
        MeteonetReader().frames(path)


def test_a_bomb_is_unpacked_no_further_than_its_first_frame(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make()
    monkeypatch.setattr("data_prep.readers.numpy_files.MOST_BYTES", 1 << 20)
    replace_members(path, data=npy(b"\0" * (1 << 24), "<i2", (2, 1 << 11, 1 << 11)))
    (path.parent / "radar_coords_NW.npz").unlink()
    monkeypatch.setitem(ZONES, "NW", ZONES["NW"].crop(0, 0, 1, 1).__class__((1 << 11, 1 << 11), "", (1, 1), 0, 0))
    with pytest.raises(RadarFileError, match="8388608 bytes to be read at once, expected numbers of at most 1048576"):
        MeteonetReader().frames(path)


def test_a_zip_of_many_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(1001):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(RadarFileError, match="holds more than 1000 arrays"):
        MeteonetReader().frames(path)


def test_a_wrong_value_in_the_compressed_data_is_told_when_the_last_frame_is_read(make: Make) -> None:
    path = make()
    with zipfile.ZipFile(path) as archive:
        checksum = archive.getinfo("data.npy").CRC.to_bytes(4, "little")
    content = path.read_bytes()
    path.write_bytes(content.replace(checksum, b"\1\2\3\4"))
    recordings = READER.scan([str(path)]).recordings
    READER.read(recordings[0])
    with pytest.raises(RadarFileError, match=r"data are damaged \(they do not fit their checksum\)"):
        READER.read(recordings[1])


settle = settings(max_examples=80, derandomize=True, database=None, deadline=None,
                  suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip


def read_or_refused(path: Path) -> None:
    try:
        read = MeteonetReader().frames(path)
    except RadarFileError as error:
        assert error.path and error.reason
    else:
        assert all(frame.field.shape == frame.grid.shape for frame in read)


@settle
@given(
    flips=st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 7)), max_size=6),
    keep=st.one_of(st.just(1.0), st.floats(0.0, 1.0)),
)
def test_a_mutated_file_gives_frames_or_one_named_error(
    make: Make, flips: list[tuple[float, int]], keep: float
) -> None:
    path = make()
    content = bytearray(path.read_bytes())
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content[: int(keep * len(content))])
    read_or_refused(path)


@settle
@given(flips=st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_mutated_pickle_gives_times_or_a_value_error(flips: list[tuple[float, int]]) -> None:
    content = bytearray(pickle.dumps(dates(3), 4))
    for place, byte in flips:
        content[int(place * len(content))] = byte
    try:
        times = pickled_times(bytes(content))
    except ValueError as error:
        assert str(error)
    else:
        assert all(isinstance(time, datetime) for time in times)


@settings(settle, max_examples=25)
@given(place=st.floats(0.0, 1.0, exclude_max=True), bit=st.integers(0, 7), keep=st.floats(0.5, 1.0))
def test_a_mutated_real_file_gives_frames_or_one_named_error(
    radar_data: Path, tmp_path: Path, place: float, bit: int, keep: float
) -> None:
    content = bytearray((radar_data / FOLDER / f"reflectivity_old_{MONTH}").read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path = tmp_path / f"reflectivity_old_{MONTH}"
    path.write_bytes(content[: int(max(keep, 0.75) * len(content))] if bit < 2 else content)
    read_or_refused(path)


def test_real_rain_has_its_exact_rates_times_and_missing_share(radar_data: Path) -> None:
    path = radar_data / FOLDER / NAME
    found = READER.scan([str(path)])
    with np.load(path) as arrays:
        codes = arrays["data"]
    times = [recording.times[0] for recording in found.recordings]
    assert len(times) == 45 and found.cadence_s == 300
    assert times[0] == datetime(2016, 8, 21, 0, 10, tzinfo=UTC) and times[-1] == datetime(
        2016, 8, 31, 0, 30, tzinfo=UTC
    )
    assert max((later - earlier).total_seconds() for earlier, later in pairwise(times)) > 86_400
    for item in (0, 13, 44):
        [frame] = READER.read(found.recordings[item])
        expected = np.where(codes[item] < 0, np.nan, codes[item].astype(np.float64) * 0.12)
        np.testing.assert_allclose(frame.field, expected, rtol=1e-6)
    assert codes.max() == 254


def test_real_reflectivity_has_its_exact_levels(radar_data: Path) -> None:
    path = radar_data / FOLDER / f"reflectivity_old_{MONTH}"
    recordings = READER.scan([str(path)]).recordings
    with np.load(path) as arrays:
        codes = arrays["data"]
    field = READER.read(recordings[7])[0].field
    np.testing.assert_array_equal(np.isnan(field), codes[7] == 255)
    np.testing.assert_array_equal(field == -32.0, codes[7] == 0)
    echo = (codes[7] > 0) & (codes[7] < 255)
    np.testing.assert_array_equal(field[echo], codes[7][echo])


def test_the_zones_grid_is_that_of_the_real_coordinates(radar_data: Path, tmp_path: Path) -> None:
    path = radar_data / FOLDER / NAME
    with np.load(radar_data / FOLDER / "radar_coords_NW.npz") as arrays:
        lats, lons = arrays["lats"], arrays["lons"]
    [beside, alone] = [reader_grid(source) for source in (path, Path(shutil.copy(path, tmp_path)))]
    for grid in (beside, alone):
        np.testing.assert_allclose(grid.y, lats[:, 0], atol=1e-9)
        np.testing.assert_allclose(grid.x, lons[0], atol=1e-9)


def reader_grid(path: Path) -> Any:
    return READER.read(READER.scan([str(path)]).recordings[0])[0].grid


def test_a_real_date_is_the_end_of_its_sum(radar_data: Path) -> None:
    """The reflectivity seen 5 minutes before a date resembles its sum more than that seen 5 minutes after."""
    rain = {r.times[0]: r for r in READER.scan([str(radar_data / FOLDER / NAME)]).recordings}
    path = str(radar_data / FOLDER / f"reflectivity_old_{MONTH}")
    seen = {r.times[0]: r for r in READER.scan([path]).recordings}
    step = timedelta(minutes=5)
    compared = [time for time in rain if time - step in seen and time + step in seen]
    assert len(compared) == 2
    for time in compared:
        rain_mm_h = READER.read(rain[time])[0].field
        before, after = (READER.read(seen[time + lag])[0].field for lag in (-step, step))
        known = ~np.isnan(rain_mm_h + before + after)
        alike = [np.corrcoef(rain_mm_h[known], 10 ** (dbz[known] / 16))[0, 1] for dbz in (before, after)]
        assert alike[0] > alike[1]
