"""Simulated archives: SEVIR's layout to the letter, the same for the same arguments, whole or not there."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from data_prep import simulate as simulate_module
from data_prep.errors import UserError
from data_prep.simulate import COLUMNS, PROJ, add_arguments, blinded, plan, run, simulate

h5py = pytest.importorskip("h5py")
pyproj = pytest.importorskip("pyproj")

EVENTS, SIZE, FRAMES = 40, 24, 9
VAL, TEST = datetime(2019, 1, 1), datetime(2019, 6, 1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "storms"
    simulate(out, EVENTS, SIZE, FRAMES, seed=3)
    return out


def rows_of(archive: Path) -> list[dict[str, str]]:
    with open(archive / "CATALOG.csv", newline="") as file:
        return list(csv.DictReader(file))


def codes_of(archive: Path, row: dict[str, str]) -> NDArray[np.uint8]:
    with h5py.File(archive / "data" / row["file_name"]) as file:
        return np.asarray(file["vil"][int(row["file_index"])])


def contents_of(archive: Path) -> dict[str, object]:
    contents: dict[str, object] = {"CATALOG.csv": (archive / "CATALOG.csv").read_bytes()}
    for path in sorted(archive.rglob("*.h5")):
        with h5py.File(path) as file:
            contents[str(path.relative_to(archive))] = (file["id"][:].tobytes(), file["vil"][:].tobytes())
    return contents


def split_of(moment: datetime) -> str:
    return "train" if moment <= VAL else "val" if moment <= TEST else "test"


def test_files_are_half_years_of_uint8_events_with_time_last_and_one_chunk_an_event(archive: Path) -> None:
    paths = sorted(str(path.relative_to(archive)) for path in archive.rglob("*.h5"))
    years_and_halves = [(year, half) for year in (2018, 2019) for half in ("0101_0630", "0701_1231")]
    assert paths == [f"data/vil/{y}/SEVIR_VIL_STORMEVENTS_{y}_{half}.h5" for y, half in years_and_halves]
    stored = 0
    for path in paths:
        with h5py.File(archive / path) as file:
            assert sorted(file) == ["id", "vil"]
            assert file["vil"].dtype == np.uint8
            assert file["vil"].shape == (len(file["id"]), SIZE, SIZE, FRAMES)
            assert file["vil"].chunks == (1, SIZE, SIZE, FRAMES)
            assert file["vil"].compression == "gzip"
            stored += len(file["id"])
    assert stored == EVENTS


def test_each_line_of_the_catalog_points_at_its_event(archive: Path) -> None:
    rows = rows_of(archive)
    assert len(rows) == EVENTS
    assert list(rows[0]) == COLUMNS
    assert len({(row["file_name"], row["file_index"]) for row in rows}) == EVENTS
    for row in rows:
        with h5py.File(archive / "data" / row["file_name"]) as file:
            assert file["id"][int(row["file_index"])].decode() == row["id"] == f"S{row['event_id']}"
        moment = datetime.strptime(row["time_utc"], "%Y-%m-%d %H:%M:%S")
        assert f"_{moment.year}_{'0101' if moment.month <= 6 else '0701'}_" in row["file_name"]
        assert (row["img_type"], row["size_x"], row["height_m"]) == ("vil", str(SIZE), f"{SIZE * 1000.0}")


def test_catalog_has_the_columns_of_sevirs_own(archive: Path, radar_data: Path) -> None:
    with open(radar_data / "sevir" / "CATALOG_excel_mangled_851rows.csv", encoding="utf-8-sig") as file:
        assert file.readline().strip().split(",")[: len(COLUMNS)] == COLUMNS
    derived = rows_of(radar_data / "derived" / "sevir_layout")[0]
    assert set(rows_of(archive)[0]) == set(derived)


def test_minutes_run_in_steps_of_five_round_the_middle_frame(tmp_path: Path) -> None:
    simulate(tmp_path / "a", 1, 16, 49, seed=0)
    offsets = [int(minute) for minute in rows_of(tmp_path / "a")[0]["minute_offsets"].split(":")]
    assert offsets == list(range(-120, 121, 5))


def test_corners_lie_where_the_projection_puts_them(archive: Path) -> None:
    for row in rows_of(archive):
        assert row["proj"] == PROJ
        project = pyproj.Proj(row["proj"])
        west, south = project(float(row["llcrnrlon"]), float(row["llcrnrlat"]))
        east, north = project(float(row["urcrnrlon"]), float(row["urcrnrlat"]))
        assert (east - west, north - south) == pytest.approx((SIZE * 1000, SIZE * 1000), abs=0.01)
        assert west / 2000 == pytest.approx(round(west / 2000), abs=1e-5)


def test_catalog_tells_range_and_missing_share_of_the_stored_codes(archive: Path) -> None:
    for row in rows_of(archive):
        codes = codes_of(archive, row)
        seen = codes[codes != 255]
        assert (int(row["data_min"]), int(row["data_max"])) == (seen.min(), seen.max())
        assert float(row["pct_missing"]) == pytest.approx((codes == 255).mean(), abs=1e-12)


def test_rows_are_stored_from_south_to_north_and_frames_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def northern_edge_brightens(rng: np.random.Generator, size: int, frames: int) -> NDArray[np.float32]:
        vil = np.zeros((frames, size, size), np.float32)
        vil[:, 0] = 1.0 + np.arange(frames)[:, None]
        return vil

    monkeypatch.setattr(simulate_module, "storm", northern_edge_brightens)
    simulate(tmp_path / "a", 1, 16, 5, seed=0)
    codes = codes_of(tmp_path / "a", rows_of(tmp_path / "a")[0])
    assert not codes[:-1].any()
    assert codes[-1, 0].tolist() == [84, 111, 127, 138, 147]  # exp((code - 83.9) / 38.9) is nearest to 1, 2, 3, 4, 5


def test_same_arguments_give_the_same_content_with_any_number_of_workers(tmp_path: Path) -> None:
    for name, seed, workers in (("one", 5, 1), ("two", 5, 2), ("other", 6, 1)):
        simulate(tmp_path / name, 13, 16, 4, seed, workers=workers)
    assert contents_of(tmp_path / "one") == contents_of(tmp_path / "two")
    one, other = contents_of(tmp_path / "one"), contents_of(tmp_path / "other")
    assert all(one[name] != other[name] for name in one)


def test_twelve_events_or_more_reach_all_splits_in_sevirs_shares() -> None:
    for events in (*range(12, 60), 160, 1000):
        splits = [split_of(event.time) for event in plan(events, seed=events)]
        shares = [splits.count(split) / events for split in ("train", "val", "test")]
        assert min(shares) > 0
        assert shares == pytest.approx([0.70, 0.12, 0.18], abs=1 / events)


def test_times_ascend_on_whole_five_minutes() -> None:
    times = [event.time for event in plan(200, seed=1)]
    assert times == sorted(times)
    assert all(moment.minute % 5 == 0 and moment.second == 0 for moment in times)


def test_three_in_a_hundred_events_lack_pixels_and_one_id_occurs_twice(archive: Path) -> None:
    rows = rows_of(archive)
    assert sum(float(row["pct_missing"]) > 0 for row in rows) == round(0.03 * EVENTS)
    assert len({row["id"] for row in rows}) == EVENTS - 1


def test_what_a_builder_leaves_out_is_all_in_the_training_split() -> None:
    for seed in range(8):
        events = plan(200, seed)
        ids = [event.event_id for event in events]
        left_out = [event for event in events if event.has_missing or ids.count(event.event_id) == 2]
        assert len(left_out) == 8
        assert {split_of(event.time) for event in left_out} == {"train"}


def test_fewer_than_forty_events_have_distinct_ids() -> None:
    assert len({event.event_id for event in plan(39, seed=0)}) == 39


def test_blinding_leaves_out_whole_late_frames_or_one_sector_of_all_frames() -> None:
    vil = np.ones((12, 32, 32), np.float32)
    kinds = set()
    for seed in range(20):
        missing = np.isnan(blinded(vil, np.random.default_rng(seed)))
        late = np.asarray(missing.all(axis=(1, 2)))
        assert 0 < missing.mean() < 0.9
        assert (missing == late[:, None, None]).all() or (missing == missing[0]).all()
        kinds.add(bool(late.any()))
    assert kinds == {True, False}


@pytest.mark.parametrize(
    ("events", "size", "frames", "seed", "message"),
    [
        (0, 16, 2, 0, "--events 0 is too small; give 1 or more"),
        (1, 15, 2, 0, "--size 15 is too small; give 16 or more"),
        (1, 16, 1, 0, "--frames 1 is too small; give 2 or more"),
        (1, 16, 2, -1, "--seed -1 is too small; give 0 or more"),
    ],
)
def test_numbers_that_are_too_small_are_refused(
    tmp_path: Path, events: int, size: int, frames: int, seed: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        simulate(tmp_path / "a", events, size, frames, seed)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "taken" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(UserError, match="taken exists and is not an empty folder"):
        simulate(tmp_path / "taken", 1, 16, 2, seed=0)
    with pytest.raises(UserError, match=r"thesis\.txt exists and is not an empty folder"):
        simulate(kept, 1, 16, 2, seed=0)
    assert kept.read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    simulate(tmp_path, 1, 16, 2, seed=0)
    assert len(rows_of(tmp_path)) == 1
    assert not tmp_path.with_name(tmp_path.name + ".partial").exists()


def test_a_run_that_fails_leaves_no_archive_and_the_next_clears_what_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, partial = tmp_path / "a", tmp_path / "a.partial"

    def stop(done: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        simulate(out, 3, 16, 2, 0, stop)
    assert partial.exists()
    assert not out.exists()
    (partial / "stale").touch()
    simulate(out, 3, 16, 2, 0)
    assert not partial.exists()
    assert not (out / "stale").exists()
    assert len(rows_of(out)) == 3


@pytest.mark.slow
def test_a_killed_run_leaves_no_archive_and_no_worker(tmp_path: Path) -> None:
    call = f"from data_prep.simulate import *; simulate(Path({str(tmp_path / 'a')!r}), 5000, 16, 49, 0, workers=2)"
    process = subprocess.Popen([sys.executable, "-c", call])
    try:
        workers: list[Any] = []
        deadline = time.monotonic() + 60
        while len(workers) < 2 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
            with suppress(psutil.NoSuchProcess):  # of a child that ends while we ask
                workers = [one for child in psutil.Process(process.pid).children() for one in child.children()]
    finally:
        process.kill()
        process.wait()
    assert len(workers) == 2
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial"]
    shutil.rmtree(tmp_path / "a.partial")


def test_the_command_writes_the_archive_and_says_so_unless_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = ArgumentParser()
    add_arguments(parser)
    small = ["--events", "2", "--size", "16", "--frames", "3", "--seed", "4"]
    assert run(parser.parse_args(["--out", str(tmp_path / "loud"), *small])) == 0
    assert "2 storms of 16 x 16 pixels and 3 frames" in capsys.readouterr().out
    assert run(parser.parse_args(["--out", str(tmp_path / "still"), "--quiet", *small])) == 0
    assert capsys.readouterr() == ("", "")
    assert contents_of(tmp_path / "loud") == contents_of(tmp_path / "still")


def test_progress_counts_every_event_once(tmp_path: Path) -> None:
    counts: list[int] = []
    progress: Callable[[int], None] = counts.append
    simulate(tmp_path / "a", 5, 16, 2, 0, progress)
    assert sum(counts) == 5
