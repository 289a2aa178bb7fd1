"""SEVIR: which events of a catalog are listed, and that their codes come back bit for bit, north-up."""

from __future__ import annotations

import bz2
import csv
import gzip
import pickle
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.encoding import ENCODINGS
from data_prep.errors import RadarFileError, UserError
from data_prep.projection import corner_of
from data_prep.readers import Scan, reader_named
from data_prep.readers.sevir import CADENCE_S, READER
from tests.data_prep.readers.conftest import SEVIR_FILE, MakeSevir

STAND_IN = "derived/sevir_layout"


def scan(*sources: Path | str) -> Scan:
    return READER.scan([str(source) for source in sources])


def left_out(found: Scan) -> dict[str, list[str]]:
    return {event: [one.reason for one in found.left_out if one.what == event] for event, *_ in found.left_out}


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("sevir") is READER
    assert READER.split_dates == ("2019-01-01", "2019-06-01") and CADENCE_S == 300


def test_an_event_is_read_bit_for_bit_with_row_0_in_the_north(make_sevir: MakeSevir, vil: NDArray[np.uint8]) -> None:
    found = scan(make_sevir({"id": "S2", "file_index": "1"})).recordings
    frames = READER.read(found[0])
    np.testing.assert_array_equal(np.stack([frame.stored for frame in frames]), np.moveaxis(vil[1, ::-1], -1, 0))
    assert all(frame.stored.dtype == np.uint8 and frame.encode(ENCODINGS["vil255"]) is frame.stored for frame in frames)
    assert frames[0].unit == "kg/m2"


@pytest.mark.parametrize("chunks", [None, (1, 6, 8, 1), (1, 6, 8, 3), (2, 4, 3, 2)])
def test_codes_do_not_depend_on_how_the_file_is_chunked(
    make_sevir: MakeSevir, vil: NDArray[np.uint8], chunks: tuple[int, ...] | None
) -> None:
    root = make_sevir({"id": "S3", "file_index": "2"}, chunks=chunks, compression="gzip" if chunks else None)
    frames = READER.read(scan(root).recordings[0])
    np.testing.assert_array_equal(np.stack([frame.stored for frame in frames]), np.moveaxis(vil[2, ::-1], -1, 0))


def test_missing_is_not_zero(make_sevir: MakeSevir) -> None:
    frame = READER.read(scan(make_sevir({})).recordings[0])[0]
    assert np.isnan(frame.field[-1, 0]) and np.isnan(frame.field).sum() == 1  # code 255 lay in the south-west
    assert frame.field[-1, 1] == 0.0  # code 3 is dry


def test_times_are_the_jittered_minutes_round_the_event_in_utc(make_sevir: MakeSevir) -> None:
    [event] = scan(make_sevir({"minute_offsets": "-119:-114:6"})).recordings
    centre = datetime(2019, 5, 12, 18, 30, tzinfo=UTC)
    assert event.times == tuple(centre + timedelta(minutes=minute) for minute in (-119, -114, 6))
    assert event.event == "S1" and event.event_time == centre
    assert [frame.time for frame in READER.read(event)] == list(event.times)


def test_the_grid_begins_at_the_catalogs_lower_left_corner(make_sevir: MakeSevir) -> None:
    grid = READER.read(scan(make_sevir({})).recordings[0])[0].grid
    assert grid.shape == (6, 8) and grid.pixel == (1000.0, 1000.0)
    assert (grid.west, grid.north) == pytest.approx((0.0, 6000.0), abs=1e-3)


def test_a_recording_reads_the_same_in_another_process(make_sevir: MakeSevir) -> None:
    [event] = scan(make_sevir({})).recordings
    copy = pickle.loads(pickle.dumps(event))
    assert copy == event and len(READER.read(copy)) == 3


def test_other_image_types_are_passed_over(make_sevir: MakeSevir) -> None:
    found = scan(make_sevir({"img_type": "ir069"}, {"img_type": "vis"}, {}))
    assert [event.event for event in found.recordings] == ["S1"] and not found.left_out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pct_missing": ""}, "catalog row unusable"),
        ({"file_name": "vil/2019/absent.h5"}, "file is missing"),
        ({"file_name": "vil/2019/" + "x" * 5000}, "file is missing"),
        ({"proj": "+proj=stere +nadgrids=/etc/passwd"}, "catalog row unusable"),
        ({"file_name": "../data/" + SEVIR_FILE}, "file lies outside the data folder"),
        ({"file_name": "/etc/hostname"}, "file lies outside the data folder"),
        ({"file_name": ""}, "file lies outside the data folder"),
        ({"minute_offsets": "-5:0:0"}, "minute_offsets unusable"),
        ({"minute_offsets": "5:0:-5"}, "minute_offsets unusable"),
        ({"minute_offsets": ""}, "minute_offsets unusable"),
        ({"minute_offsets": "0:" + "9" * 30}, "minute_offsets unusable"),
        ({"file_index": "-1"}, "catalog row unusable"),
        ({"file_index": "x"}, "catalog row unusable"),
        ({"time_utc": "yesterday"}, "catalog row unusable"),
        ({"proj": "+proj=nothing"}, "catalog row unusable"),
        ({"llcrnrlat": "nan"}, "catalog row unusable"),
        ({"size_x": "0"}, "catalog row unusable"),
        ({"height_m": "inf"}, "catalog row unusable"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_with_its_reason(
    make_sevir: MakeSevir, change: dict[str, str], reason: str
) -> None:
    found = scan(make_sevir({}, {"id": "S2", "file_index": "1"} | change))
    assert [event.event for event in found.recordings] == ["S1"]
    assert left_out(found) == {"S2": [reason]}


def test_every_row_of_an_id_that_occurs_twice_is_left_out(make_sevir: MakeSevir) -> None:
    found = scan(make_sevir({}, {"id": "S2"}, {"file_index": "1"}, {"id": "S2", "img_type": "vis"}))
    assert [event.event for event in found.recordings] == ["S2"]
    assert left_out(found) == {"S1": ["id occurs more than once"] * 2}


def test_an_archive_is_found_by_folder_catalog_file_or_glob(make_sevir: MakeSevir) -> None:
    root = make_sevir({})
    expected = scan(root)
    for source in ("CATALOG.csv", f"data/{SEVIR_FILE}", "data/vil/*/*.h5", "data/**/*.h5"):
        assert scan(root / source) == expected
    assert scan(root, root / "CATALOG.csv", root / "data" / SEVIR_FILE) == expected


@pytest.mark.parametrize(
    "place",
    [
        f"data/{SEVIR_FILE}",
        SEVIR_FILE,
        "data/vil/SEVIR_VIL_STORMEVENTS_2019_0101_0630.h5",
        "vil/SEVIR_VIL_STORMEVENTS_2019_0101_0630.h5",
        "data/2019/SEVIR_VIL_STORMEVENTS_2019_0101_0630.h5",
        "SEVIR_VIL_STORMEVENTS_2019_0101_0630.h5",
    ],
)
def test_a_copy_with_fewer_folders_is_found(make_sevir: MakeSevir, place: str) -> None:
    root = make_sevir({})
    moved = root / place
    moved.parent.mkdir(parents=True, exist_ok=True)
    (root / "data" / SEVIR_FILE).rename(moved)
    [event] = scan(root).recordings
    assert event.path == moved and len(READER.read(event)) == 3
    assert scan(moved).recordings == [event]


@pytest.mark.parametrize(("packing", "ending"), [(gzip, ".gz"), (bz2, ".bz2")])
def test_a_compressed_file_is_found_and_reads_the_same(
    make_sevir: MakeSevir, vil: NDArray[np.uint8], packing: ModuleType, ending: str
) -> None:
    folder = make_sevir({})
    [plain] = folder.rglob("*.h5")
    plain.with_name(plain.name + ending).write_bytes(packing.compress(plain.read_bytes()))
    plain.unlink()
    [recording] = scan(folder).recordings
    assert recording.name == plain.name + ending
    codes = np.stack([frame.stored for frame in READER.read(recording)])
    np.testing.assert_array_equal(codes, vil[0, ::-1].transpose(2, 0, 1))


def test_a_catalog_inside_the_folder_data_is_found(make_sevir: MakeSevir) -> None:
    root = make_sevir({})
    (root / "CATALOG.csv").rename(root / "data/CATALOG.csv")
    assert len(scan(root / "data").recordings) == 1


def test_a_folder_below_the_catalog_has_the_events_of_its_files(make_sevir: MakeSevir) -> None:
    root = make_sevir(
        {}, {"id": "S2", "file_name": "vil/2018/other.h5"}, {"id": "S3", "file_name": "vil/2018/absent.h5"}
    )
    other = root / "data/vil/2018/other.h5"
    other.parent.mkdir()
    other.touch()
    (root / "data/vis").mkdir()
    (root / "data/vis/stray.h5").touch()
    for folder, expected in [("data", ["S1", "S2"]), ("data/vil", ["S1", "S2"]), ("data/vil/2018", ["S2"])]:
        found = scan(root / folder)
        assert [event.event for event in found.recordings] == expected and not found.left_out
    with pytest.raises(UserError, match="names any of the 1 files given"):
        scan(root / "data/vis")


def test_an_event_of_several_catalogs_is_listed_once(make_sevir: MakeSevir) -> None:
    root = make_sevir({}, {"id": "S2", "file_index": "1"})
    whole = (root / "CATALOG.csv").read_text().splitlines(keepends=True)
    for year, lines in [("2018", whole[:2]), ("2019", whole[::2])]:
        (root / f"CATALOG_{year}.csv").write_text("".join(lines))
    assert [event.event for event in scan(root / "CATALOG_2018.csv", root / "CATALOG_2019.csv").recordings] == [
        "S1",
        "S2",
    ]
    found = scan(root, root / "CATALOG_2019.csv")
    assert len(found.recordings) == 2 and left_out(found) == {"S2": ["event is in more than one catalog"]}


@pytest.mark.parametrize(
    "change",
    [
        {"file_index": "1.0"},
        {"size_x": "8.0", "size_y": "6.0", "height_m": "6000"},
        {"time_utc": "2019-05-12T18:30:00"},
        {"time_utc": "2019-05-12T18:30:00Z"},
        {"time_utc": "2019-05-12 18:30:00.000000"},
        {"time_utc": "2019-05-12 18:30:00.000000000"},
        {"time_utc": "2019-05-12 20:30:00+02:00"},
        {"time_utc": " 2019-05-12 18:30 "},
    ],
)
def test_numbers_and_times_as_other_programs_write_them_mean_the_same(
    make_sevir: MakeSevir, change: dict[str, str]
) -> None:
    expected = scan(make_sevir({"id": "S2", "file_index": "1"})).recordings
    assert scan(make_sevir({"id": "S2", "file_index": "1"} | change)).recordings == expected


def test_a_catalog_that_pandas_wrote_with_its_index_is_read(make_sevir: MakeSevir) -> None:
    root = make_sevir({}, {"id": "S2", "file_index": "1"})
    expected = scan(root).recordings
    header, *rows = (root / "CATALOG.csv").read_text().splitlines()
    for name in ("", "Unnamed: 0"):
        numbered = [f"{name},{header}", *(f"{i},{row}" for i, row in enumerate(rows))]
        (root / "CATALOG.csv").write_text("\n".join(numbered))
        assert scan(root).recordings == expected


def test_storm_and_random_events_are_both_read_and_named_as_the_file_does(make_sevir: MakeSevir) -> None:
    text = h5py.string_dtype()
    for ids in (
        np.array([b"S1", b"R19010300"]),
        np.array(["S1", "R19010300"], text),
        np.array([b"S1\0\0", b"R19010300"]),
    ):
        root = make_sevir({}, {"id": "R19010300", "file_index": "1"})
        with h5py.File(root / "data" / SEVIR_FILE, "r+") as file:
            del file["id"]
            file["id"] = ids
        assert [len(READER.read(event)) for event in scan(root).recordings] == [3, 3]


def test_a_copy_with_time_first_is_told_by_its_shape(make_sevir: MakeSevir, vil: NDArray[np.uint8]) -> None:
    [event] = scan(make_sevir({"id": "S2", "file_index": "1"})).recordings
    expected = np.stack([frame.stored for frame in READER.read(event)])
    with h5py.File(event.path, "r+") as file:
        del file["vil"]
        file["vil"] = np.moveaxis(vil, -1, 1)
    np.testing.assert_array_equal(np.stack([frame.stored for frame in READER.read(event)]), expected)
    with h5py.File(event.path, "r+") as file:
        del file["vil"]
        file["vil"] = np.moveaxis(vil, -1, 2)  # rows, frames, columns: no layout that is known
    with pytest.raises(RadarFileError, match=r"'vil' has shape \(3, 6, 3, 8\), expected \(any, 6, 8, 3\)"):
        READER.read(event)


def test_where_sizes_do_not_tell_time_is_last_as_sevir_has_it(make_sevir: MakeSevir) -> None:
    root = make_sevir({"size_x": "3", "size_y": "3"})
    codes = np.arange(27, dtype=np.uint8).reshape(1, 3, 3, 3)
    with h5py.File(root / "data" / SEVIR_FILE, "w") as file:
        file["id"], file["vil"] = [b"S1"], codes
    frames = READER.read(scan(root).recordings[0])
    np.testing.assert_array_equal(np.stack([frame.stored for frame in frames]), np.moveaxis(codes[0, ::-1], -1, 0))


def reduced(root: Path, shape: tuple[int, ...], name: str = SEVIR_FILE, **more: Any) -> NDArray[np.uint8]:
    codes = (np.arange(np.prod(shape)) % 256).reshape(shape).astype(np.uint8)
    with h5py.File(root / "data" / name, "w") as file:
        file["vil"] = codes
        file.update(more)
    return codes


@pytest.mark.parametrize(("offsets", "kept"), [("-5:0:5", (-5, 5)), ("-5:0:5:10", (-5, 5))])
def test_sevir_lr_has_pixels_of_3_km_and_every_second_frame(
    make_sevir: MakeSevir, offsets: str, kept: tuple[int, ...]
) -> None:
    root = make_sevir({"size_x": "9", "size_y": "6", "width_m": "9000", "file_index": "1", "minute_offsets": offsets})
    codes = reduced(root, (2, 2, 3, 2))
    found = scan(root)
    frames = READER.read(found.recordings[0])
    centre = datetime(2019, 5, 12, 18, 30, tzinfo=UTC)
    assert found.cadence_s == 600
    assert [frame.time for frame in frames] == [centre + timedelta(minutes=minute) for minute in kept]
    np.testing.assert_array_equal(np.stack([frame.stored for frame in frames]), np.moveaxis(codes[1, ::-1], -1, 0))
    grid = frames[0].grid
    assert grid.shape == (2, 3) and grid.pixel == (3000.0, 3000.0)
    assert (grid.west, grid.north) == pytest.approx((0.0, 6000.0), abs=1e-3)


def test_a_file_without_ids_of_another_shape_than_sevir_lrs_is_refused(make_sevir: MakeSevir) -> None:
    root = make_sevir({"size_x": "9", "size_y": "6", "width_m": "9000"})
    for shape in ((1, 6, 9, 3), (1, 2, 3, 3), (1, 3, 3, 2), (1, 2, 2, 3)):
        reduced(root, shape)
        with pytest.raises(RadarFileError, match=r"has no 'id'|'vil' has shape"):
            READER.read(scan(root).recordings[0])
    reduced(root, (1, 2, 3, 2), id=[b"S1"])
    with pytest.raises(RadarFileError, match="'vil' has shape"):
        READER.read(scan(root).recordings[0])
    reduced(root, (1, 2, 3, 2))
    with pytest.raises(RadarFileError, match="points at nothing: file_index 5 of 1 events"):
        READER.read(scan(make_catalog(root, file_index="5")).recordings[0])


def make_catalog(root: Path, **change: str) -> Path:
    """The catalog's first row with a change."""
    with open(root / "CATALOG.csv", newline="") as file:
        row = next(csv.DictReader(file)) | change
    with open(root / "CATALOG.csv", "w", newline="") as file:
        table = csv.DictWriter(file, row)
        table.writeheader()
        table.writerow(row)
    return root


def test_sevir_and_sevir_lr_are_not_mixed(make_sevir: MakeSevir) -> None:
    change = {"size_x": "9", "size_y": "6", "width_m": "9000"}
    root = make_sevir(change, {"id": "S2", "file_name": "vil/2019/other.h5"})
    (root / "data/vil/2019/other.h5").write_bytes((root / "data" / SEVIR_FILE).read_bytes())
    reduced(root, (1, 2, 3, 2))
    with pytest.raises(UserError, match="are of SEVIR and of SEVIR-LR"):
        scan(root)
    assert scan(root / "data/vil/2019/other.h5").cadence_s == 300


@pytest.mark.parametrize(("share", "why"), [("0", ""), ("0.01", "pct_missing above 0"), ("nan", "pct_missing above 0")])
def test_an_event_with_missing_data_is_listed_and_says_so(make_sevir: MakeSevir, share: str, why: str) -> None:
    [event] = scan(make_sevir({"pct_missing": share})).recordings
    assert event.incomplete == why


def test_of_files_given_only_their_own_events_are_listed(make_sevir: MakeSevir) -> None:
    root = make_sevir({}, {"id": "S2", "file_name": "vil/2019/other.h5"}, {"id": "S3", "pct_missing": "3"})
    other, stray = root / "data/vil/2019/other.h5", root / "data/vil/2019/stray.h5"
    other.touch()
    stray.touch()
    assert [event.path for event in scan(other).recordings] == [other]
    found = scan(root / "data" / SEVIR_FILE, stray)
    assert [event.event for event in found.recordings] == ["S1", "S3"]
    assert left_out(found) == {str(stray): ["file is not in the catalog"]}
    with pytest.raises(UserError, match="names any of the 1 files given"):
        scan(stray)


def test_sources_that_are_no_archive_are_named(make_sevir: MakeSevir, tmp_path: Path) -> None:
    root = make_sevir({})
    lone = tmp_path / "a/b/c/d/lone.h5"
    lone.parent.mkdir(parents=True)
    lone.touch()
    for source, message in [
        (root / "absent", "absent does not exist"),
        (root / "*.hdf", "matches no file"),
        (lone.parent, "has no CATALOG.csv in it or the 3 folders above"),
        (lone, "has no CATALOG.csv in its folder or the 3 folders above"),
    ]:
        with pytest.raises(UserError, match=message):
            scan(source)
    (root / "data").rename(root / "elsewhere")
    with pytest.raises(UserError, match=r"none of the 1 files that .*CATALOG.csv names lies in its folder or data/"):
        scan(root)


def test_a_catalog_without_vil_rows_or_columns_is_refused(make_sevir: MakeSevir) -> None:
    root = make_sevir({"img_type": "vis"})
    with pytest.raises(UserError, match="no row with img_type vil"):
        scan(root)
    (root / "CATALOG.csv").write_text("id,img_type,file_name\nS1,vil,a.h5\n")
    with pytest.raises(UserError, match="lacks the columns file_index, time_utc, minute_offsets"):
        scan(root)
    (root / "CATALOG.csv").write_bytes(b"\xff\xfe\x00id\x00")
    with pytest.raises(UserError, match="cannot be read as CSV"):
        scan(root)


def test_a_byte_order_mark_alone_is_tolerated(make_sevir: MakeSevir) -> None:
    catalog = make_sevir({}) / "CATALOG.csv"
    catalog.write_bytes(b"\xef\xbb\xbf" + catalog.read_bytes())
    assert len(scan(catalog).recordings) == 1


@pytest.mark.parametrize("damage", [("proj", "#NAME?"), ("time_utc", "5/12/19 18:30"), ("time_utc", "12.05.2019")])
def test_a_catalog_saved_by_a_spreadsheet_program_is_refused(make_sevir: MakeSevir, damage: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="spreadsheet program, which damaged proj or time_utc in 2 of its 3 VIL rows"):
        scan(make_sevir({}, dict([damage], id="S2"), dict([damage], id="S3")))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "S2"}, "event 0 is S1, but the catalog says S2"),
        ({"file_index": "3"}, "row of S1 points at nothing: file_index 3 of 3 events"),
        ({"minute_offsets": "0:5"}, r"'vil' has shape \(3, 6, 8, 3\), expected \(any, 6, 8, 2\)"),
        ({"size_x": "9"}, "expected \\(any, 6, 9, 3\\)"),
    ],
)
def test_a_file_that_contradicts_the_catalog_is_named(
    make_sevir: MakeSevir, change: dict[str, str], reason: str
) -> None:
    [event] = scan(make_sevir(change)).recordings
    with pytest.raises(RadarFileError, match=reason) as caught:
        READER.read(event)
    assert caught.value.path == str(event.path)


def test_a_file_of_another_type_or_without_pictures_is_named(make_sevir: MakeSevir, vil: Any) -> None:
    [event] = scan(make_sevir({})).recordings
    for content, reason in [
        ({"id": [b"S1"]}, "has no 'vil'"),
        ({"vil": vil}, "has no 'id'"),
        ({"vil": vil.astype(np.int16), "id": [b"S1"]}, "'vil' has type int16"),
        ({"vil": vil, "id": [1]}, "'id' has type int64, expected text"),
    ]:
        with h5py.File(event.path, "w") as file:
            file.update(content)
        with pytest.raises(RadarFileError, match=reason):
            READER.read(event)


def test_a_forged_shape_allocates_nothing(make_sevir: MakeSevir) -> None:
    [event] = scan(make_sevir({"size_x": "1000000", "size_y": "1000000"})).recordings
    with h5py.File(event.path, "w") as file:
        file["id"] = [b"S1"]
        file.create_dataset("vil", (3, 1_000_000, 1_000_000, 3), np.uint8, chunks=(1, 10, 10, 1))
    with pytest.raises(RadarFileError, match="declares more than"):
        READER.read(event)


def test_values_kept_in_other_files_are_not_followed(make_sevir: MakeSevir, vil: Any, tmp_path: Path) -> None:
    [event] = scan(make_sevir({})).recordings
    vil.tofile(tmp_path / "outside.bin")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file["vil"] = vil
    with h5py.File(event.path, "w") as file:
        file["id"] = [b"S1"]
        file.create_dataset("vil", vil.shape, np.uint8, external=[(tmp_path / "outside.bin", 0, vil.nbytes)])
    with pytest.raises(RadarFileError, match="in other files"):
        READER.read(event)
    with h5py.File(event.path, "r+") as file:
        del file["vil"]
        file["vil"] = h5py.ExternalLink(tmp_path / "outside.h5", "vil")
    with pytest.raises(RadarFileError, match="link to another file"):
        READER.read(event)


def test_a_damaged_or_vanished_file_is_a_radar_file_error(make_sevir: MakeSevir) -> None:
    [event] = scan(make_sevir({}, {"id": "S2"})).recordings[:1]
    whole = event.path.read_bytes()
    for content in (b"", b"id,file_name\n", whole[: len(whole) // 2], whole[:-1]):
        event.path.write_bytes(content)
        with pytest.raises(RadarFileError, match="cannot be read as HDF5"):
            READER.read(event)
    event.path.unlink()
    with pytest.raises(RadarFileError):
        READER.read(event)


def test_without_h5py_the_extra_is_named(make_sevir: MakeSevir, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_sevir({})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"ds-nowcast\[hdf5\]"):
        scan(root)


def test_the_stand_in_archive_is_read_whole_and_lies_where_its_catalog_says(radar_data: Path) -> None:
    with open(radar_data / STAND_IN / "CATALOG.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = scan(radar_data / STAND_IN).recordings
    assert [event.event for event in found] == ["R10082600", "R10082601", "R10082602", "R10082603"]
    frames, row = READER.read(found[2]), rows[2]
    with h5py.File(found[2].path) as file:
        np.testing.assert_array_equal(np.stack([frame.stored[::-1] for frame in frames], axis=-1), file["vil"][2])
    missing = np.mean([np.isnan(frame.field).mean() for frame in frames])
    assert len(frames) == 49 and 100 * missing == pytest.approx(30.03607855902778)
    assert frames[0].time == datetime(2010, 8, 26, 0, 0, tzinfo=UTC)
    grid = frames[0].grid
    east_north = grid.west + 384 * grid.pixel[1], grid.north
    assert corner_of(grid.proj, float(row["urcrnrlon"]), float(row["urcrnrlat"])) == pytest.approx(east_north, abs=1.0)


def test_the_real_catalog_that_excel_damaged_is_refused(radar_data: Path) -> None:
    with pytest.raises(UserError, match="damaged proj or time_utc in 851 of its 851 VIL rows"):
        scan(radar_data / "sevir/CATALOG_excel_mangled_851rows.csv")
