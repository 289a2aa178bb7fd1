"""npy and npz: frames in the unit, place and time of the side-car, whatever the order of axes; nothing is guessed or run."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.encoding import ENCODINGS
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Grid, Lookup, RadarFrame
from data_prep.projection import corner_of
from data_prep.readers import Product, reader_named
from data_prep.readers.npy import READER, NpyReader

LAEA = "+proj=laea +lat_0=50 +lon_0=10 +ellps=GRS80"
SIDE_CAR: dict[str, Any] = {
    "unit": "mm/h",
    "axes": "THW",
    "rows": "north_first",
    "proj": LAEA,
    "pixel": [1000, 2000],
    "west": -3000.0,
    "north": 5000,
    "start": "2024-05-01T12:00:00",
    "step_s": 300,
}
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
FIELDS = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(array, name, **changes of the side-car): writes both; of a side-car key that is None nothing is written."""

    def written(array: Any = FIELDS, name: str = "radar.npy", side_car: str = "radar.json", **changes: Any) -> Path:
        keys = {key: value for key, value in (SIDE_CAR | changes).items() if value is not None}
        (tmp_path / side_car).write_text(json.dumps(keys))
        path = tmp_path / name
        if name.endswith(".npz"):
            np.savez_compressed(path, **array) if isinstance(array, dict) else np.savez_compressed(path, radar=array)
        else:
            np.save(path, array)
        return path

    return written


def frames(*paths: Path) -> list[RadarFrame]:
    found = READER.scan([str(path) for path in paths])
    return [frame for recording in found.recordings for frame in READER.read(recording)]


def fields(*paths: Path) -> Any:
    return np.stack([frame.field for frame in frames(*paths)])


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("npy") is READER and READER.split_dates is None


def test_frames_have_the_place_and_the_times_of_the_side_car(make: Make) -> None:
    read = frames(make())
    np.testing.assert_array_equal([frame.field for frame in read], FIELDS)
    assert [frame.time for frame in read] == [NOON + timedelta(minutes=5 * i) for i in range(4)]
    assert read[0].grid == Grid((2, 3), LAEA + " +units=m", (1000.0, 2000.0), -3000.0, 5000.0)
    found = READER.scan([str(make())])
    assert found.product == Product("field", "mm/h") and found.cadence_s == 300 and not found.left_out


@pytest.mark.parametrize("name", ["radar.npy", "radar.npz"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axes", ["THW", "HWT"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", ">i4", "u1", "<f2"])
def test_axes_order_and_type_of_the_array_do_not_matter(
    make: Make, name: str, order: Any, axes: str, dtype: str
) -> None:
    array = np.moveaxis(FIELDS, 0, -1) if axes == "HWT" else FIELDS
    path = make(np.array(array, dtype, order=order), name, axes=axes)
    np.testing.assert_array_equal(fields(path), FIELDS)


def test_a_file_of_one_frame_has_the_time_in_its_name(make: Make, tmp_path: Path) -> None:
    changes = {"axes": "HW", "start": None, "step_s": None, "name_time": "radar_%Y%m%d-%H%M.npy", "interval_s": 600}
    for i, time in enumerate(("20240501-1210", "20240501-1200")):
        make(FIELDS[i], f"radar_{time}.npy", "npy.json", **changes)
    assert [frame.time for frame in frames(tmp_path)] == [NOON, NOON + timedelta(minutes=10)]
    np.testing.assert_array_equal(fields(tmp_path), FIELDS[1::-1])
    make(FIELDS[0], "other.npy", "npy.json", **changes)
    [left_out] = READER.scan([str(tmp_path)]).left_out
    assert (
        left_out.what.endswith("other.npy")
        and "times are not known: its name is not of the side-car's form 'radar_" in left_out.detail
    )


def test_a_name_may_give_the_first_of_several_frames(make: Make) -> None:
    path = make(name="r_2024-05-01.npy", side_car="npy.json", start=None, name_time="r_%Y-%m-%d.npy")
    assert [frame.time.hour * 60 + frame.time.minute for frame in frames(path)] == [0, 5, 10, 15]


def test_a_start_of_an_interval_becomes_its_end(make: Make) -> None:
    found = READER.scan([str(make(time_is="start", interval_s=900))]).recordings
    assert found[0].times == (NOON + timedelta(minutes=15),)


def test_times_may_be_listed_and_lie_in_any_zone(make: Make) -> None:
    times = ["2024-05-01T12:00Z", "2024-05-01 14:10+02:00", "2024-05-01 12:05", "2024-05-02"]
    read = frames(make(times=times, start=None, step_s=None))
    east = timezone(timedelta(hours=2))
    expected = [
        NOON,
        datetime(2024, 5, 1, 14, 10, tzinfo=east),
        NOON + timedelta(minutes=5),
        NOON + timedelta(hours=12),
    ]
    assert [frame.time for frame in read] == expected


def test_rows_that_begin_in_the_south_are_turned_round(make: Make) -> None:
    np.testing.assert_array_equal(fields(make(rows="south_first")), FIELDS[:, ::-1])
    codes = FIELDS.astype(np.uint8)
    np.testing.assert_array_equal(fields(make(codes, rows="south_first")), FIELDS[:, ::-1])


@pytest.mark.parametrize(
    ("unit", "dtype", "dry"),
    [("mm/h", np.uint8, 0), ("dBZ", np.int16, -32), ("dBZ", np.float32, -32), ("kg/m2", np.int32, 0)],
)
def test_missing_and_undetect_are_told_apart_by_stored_values(make: Make, unit: str, dtype: Any, dry: float) -> None:
    stored = np.array([[[0, 1, 2], [3, 99, 98]]], dtype)
    path = make(stored, unit=unit, gain=0.5, offset=2, missing=[99, 98, -1e9], undetect=[0, 500])
    np.testing.assert_array_equal(fields(path), [[[dry, 2.5, 3], [3.5, np.nan, np.nan]]])


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float16, np.float64])
@pytest.mark.parametrize(("unit", "odd"), [("mm/h", -9999), ("dBZ", -101), ("kg/m2", -1)])
def test_what_no_radar_measures_is_missing_though_it_is_not_declared(
    make: Make, dtype: Any, unit: str, odd: float
) -> None:
    path = make(np.array([[[odd, 0, 3]]], dtype), unit=unit)
    np.testing.assert_array_equal(fields(path), [[[np.nan, 0, 3]]])


def test_missing_weighs_more_than_undetect_and_numbers_that_are_none_are_missing(make: Make) -> None:
    stored = np.array([[[0, np.nan, np.inf], [-np.inf, -9.999e6, 1]]], np.float32)
    path = make(stored, missing=[0, -9.999e6], undetect=[0])
    np.testing.assert_array_equal(fields(path), [[[np.nan] * 3, [np.nan, np.nan, 1]]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_small_integers_stay_the_archives_own_codes(make: Make, dtype: Any) -> None:
    stored = (FIELDS * 5).astype(dtype)
    first, second, *_ = frames(make(stored, gain=0.1))
    assert first.stored.dtype.kind == "u" and isinstance(first.codes, Lookup) and first.codes is second.codes
    dbz8 = ENCODINGS["dbz8"]
    np.testing.assert_array_equal(second.encode(dbz8), dbz8.encode(second.field, "mm/h"))
    np.testing.assert_allclose(second.field, stored[1] * 0.1, rtol=1e-6)


def test_a_corner_in_degrees_is_projected(make: Make) -> None:
    grid = frames(make(west=None, north=None, corner_lonlat=[10.5, 50.2]))[0].grid
    assert (grid.west, grid.north) == pytest.approx(corner_of(LAEA + " +units=m", 10.5, 50.2))
    grid = frames(make(proj="+proj=longlat", west=350.0, north=50, pixel=[0.01, 0.01]))[0].grid
    assert (grid.west, grid.north, grid.unit) == (-10.0, 50.0, "degree")


def test_of_several_arrays_the_side_car_names_one(make: Make) -> None:
    arrays = {"rain": FIELDS, "quality": FIELDS + 1}
    np.testing.assert_array_equal(fields(make(arrays, "radar.npz", variable="quality")), FIELDS + 1)
    with pytest.raises(UserError, match="holds rain, quality: name one by the side-car's variable"):
        frames(make(arrays, "radar.npz"))
    with pytest.raises(UserError, match="holds no array 'hail'; it holds rain, quality"):
        frames(make(arrays, "radar.npz", variable="hail"))


def test_a_files_own_side_car_goes_before_that_of_its_folder(make: Make) -> None:
    make(side_car="npy.json", gain=3)
    np.testing.assert_array_equal(fields(make(gain=2)), FIELDS * 2)
    np.testing.assert_array_equal(fields(make(name="other.npy")), FIELDS * 3)


def test_a_changed_side_car_is_read_again(make: Make) -> None:
    np.testing.assert_array_equal(fields(make(gain=2)), FIELDS * 2)
    np.testing.assert_array_equal(fields(make(gain=4)), FIELDS * 4)


@pytest.mark.parametrize("name", ["radar.npy", "radar.npz"])
@pytest.mark.parametrize("axes", ["THW", "HWT"])
def test_a_frame_is_the_same_from_path_gzip_tar_and_open_file(make: Make, tmp_path: Path, name: str, axes: str) -> None:
    path = make(np.moveaxis(FIELDS, 0, -1) if axes == "HWT" else FIELDS, name, axes=axes)
    np.testing.assert_array_equal([frame.field for frame in NpyReader().frames(path)], FIELDS)
    content = path.read_bytes()
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(content))
    np.testing.assert_array_equal(fields(packed), FIELDS)
    for side_car in (SIDE_CAR | {"axes": axes}, tmp_path / "radar.json"):
        read = NpyReader(side_car).frames(io.BytesIO(content))
        np.testing.assert_array_equal([frame.field for frame in read], FIELDS)
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(path, name)
    reader = NpyReader(tmp_path / "radar.json")
    recordings = reader.scan([str(tmp_path / "all.tar")]).recordings
    np.testing.assert_array_equal([reader.read(recording)[0].field for recording in recordings], FIELDS)


def test_only_the_frame_that_is_asked_for_is_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.readers.numpy_files.MOST_BYTES", FIELDS[0].nbytes)
    time_last = np.moveaxis(FIELDS, 0, -1).copy()
    for array, name, axes in [(FIELDS, "a.npy", "THW"), (FIELDS, "a.npz", "THW"), (time_last, "a.npy", "HWT")]:
        np.testing.assert_array_equal(fields(make(array, name, "a.json", axes=axes)), FIELDS)
    with pytest.raises(RadarFileError, match="96 bytes to be read at once"):
        frames(make(time_last, "radar.npz", axes="HWT"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pixels": [1, 1]}, "unknown key 'pixels', did you mean 'pixel'"),
        ({"xyz": 1}, "unknown key 'xyz', the keys are missing, .*, unit, axes, rows"),
        ({"unit": None}, "missing key 'unit': of gain"),
        ({"unit": "mm"}, "unit is 'mm': Input should be 'mm/h', 'dBZ' or 'kg/m2'"),
        ({"axes": "TWH"}, "axes is 'TWH': Input should be 'HW', 'THW' or 'HWT'"),
        ({"gain": "2"}, "gain is '2': Input should be a valid number"),
        ({"pixel": [1000]}, "pixel.1"),
        ({"pixel": [1000, -1]}, "pixel.1 is '-1': Input should be greater than 0"),
        ({"proj": "EPSG:3035"}, r"proj: give a PROJ string with \+proj="),
        ({"proj": "+proj=stere +units=km"}, "proj: give a PROJ string"),
        ({"west": None}, "give either west and north, or corner_lonlat"),
        ({"corner_lonlat": [10, 50]}, "give either west and north, or corner_lonlat"),
        ({"start": None}, "give one of times, start and name_time"),
        ({"times": ["2024-05-01"]}, "give one of times, start and name_time"),
        ({"times": ["2024-05-01"], "start": None}, "give either times or step_s"),
        ({"step_s": None}, "an axis T with start or name_time needs step_s"),
        ({"start": "noon"}, "start: Invalid isoformat string: 'noon'"),
        ({"start": None, "step_s": None, "times": ["2024-05-01", "x"]}, "times: Invalid isoformat string: 'x'"),
        ({"time_is": "start"}, "needs interval_s, to know when a frame ends"),
        ({"start": None, "step_s": None, "times": ["2024-05-01"]}, "side-car gives 1 times for 4 frames"),
        ({"start": "9999-12-31T23:50"}, "its times are not known: date value out of range"),
        ({"axes": "HW"}, r"is \(4, 2, 3\) float32, but its side-car's axes are HW"),
    ],
)
def test_a_side_car_that_is_wrong_is_told_with_all_that_is_wrong(make: Make, changes: Any, reason: str) -> None:
    with pytest.raises(RadarFileError, match=reason):
        NpyReader().frames(make(**changes))


def test_a_side_car_that_is_no_json_or_absent_is_told(make: Make, tmp_path: Path) -> None:
    path = make()
    for content, reason in [(b"[1]", "is no JSON object"), (b"{", "Invalid JSON"), (b"\xff\xfe", "is no UTF-8 text")]:
        (tmp_path / "radar.json").write_bytes(content)
        with pytest.raises(RadarFileError, match=reason):
            NpyReader().frames(path)
    (tmp_path / "radar.json").write_bytes(b" " * (1 << 22) + b"{}")
    with pytest.raises(RadarFileError, match="which no side-car is"):
        NpyReader().frames(path)
    (tmp_path / "radar.json").unlink()
    with pytest.raises(
        RadarFileError, match=r"has no side-car: write radar\.json or npy\.json beside it, with the keys"
    ):
        NpyReader().frames(path)
    with pytest.raises(RadarFileError, match="has no side-car"):
        NpyReader().frames(io.BytesIO(path.read_bytes()), name="radar.npy")


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("name", ["radar.npy", "radar.npz"])
def test_a_pickle_is_refused_and_runs_nothing(make: Make, tmp_path: Path, name: str) -> None:
    path = make(np.array([[[Hostile(tmp_path / "executed")]]], object), name)
    with pytest.raises(RadarFileError, match=r"is \(1, 1, 1\) object, but its side-car's axes are THW"):
        NpyReader().frames(path)
    path.write_bytes(pickle.dumps(Hostile(tmp_path / "executed")))
    with pytest.raises(RadarFileError, match=r"is no \.npy"):
        NpyReader().frames(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 2, 3), bool), "bool, but its side-car"),
        (np.zeros((4, 2, 3), complex), "type complex128, expected numbers"),
        (np.zeros((4, 2, 3), "S3"), "expected numbers"),
        (np.zeros((4, 2, 3), [("a", "f4")]), "expected numbers"),
        (np.zeros((4, 2)), r"is \(4, 2\) float64, but its side-car's axes are THW"),
        (np.zeros((0, 2, 3)), "declares 0 frames"),
        (np.zeros((4, 2, 0)), "declares 2 x 0 pixels"),
    ],
)
def test_an_array_of_another_kind_is_refused(make: Make, array: Any, reason: str) -> None:
    with pytest.raises(RadarFileError, match=reason):
        NpyReader().frames(make(array))


@pytest.mark.parametrize("shape", [(1 << 40, 2, 3), (4, 1 << 30, 1 << 30), (3, 2, 3), (4, 2, -3)])
def test_a_forged_shape_is_refused_before_anything_is_allocated(make: Make, shape: Any) -> None:
    path = make()
    content = path.read_bytes().replace(b"(4, 2, 3), }", f"{shape}, }}".encode())
    start = 10 + int.from_bytes(content[8:10], "little") + len(content) - path.stat().st_size
    path.write_bytes(content[:8] + (start - 10).to_bytes(2, "little") + content[10:])
    with pytest.raises(RadarFileError, match="declares shape"):
        NpyReader().frames(path)


@settings(max_examples=60, derandomize=True, database=None, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    name=st.sampled_from(["radar.npy", "radar.npz"]),
    axes=st.sampled_from(["THW", "HWT"]),
    flips=st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 7)), max_size=6),
    keep=st.one_of(st.just(1.0), st.floats(0.0, 1.0)),
)
def test_a_mutated_file_gives_frames_or_one_named_error(
    make: Make, name: str, axes: str, flips: list[tuple[float, int]], keep: float
) -> None:
    path = make(np.moveaxis(FIELDS, 0, -1) if axes == "HWT" else FIELDS, name, axes=axes)
    content = bytearray(path.read_bytes())
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content[: int(keep * len(content))])
    try:
        read = NpyReader().frames(path)
    except RadarFileError as error:
        assert error.path and error.reason
    else:
        assert all(frame.field.shape == frame.grid.shape and frame.field.dtype == np.float32 for frame in read)
