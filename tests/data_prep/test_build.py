from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset  # noqa: F401  (imported once, so that forked builds need not)

from data_prep.__main__ import COMMANDS
from data_prep.build import build
from data_prep.console import main
from data_prep.encoding import ENCODINGS
from data_prep.errors import RadarFileError, UserError
from data_prep.readers import reader_named
from data_prep.shards.index import FORMAT_VERSION, open_shards
from data_prep.shards.stored import read_sample
from data_prep.verify import faults
from tests.data_prep.fake_builds import Command, archive_plan, build_shards, hashes, in_a_fork, killed_at_rename
from tests.data_prep.fake_reader import READER, FakeArchive, at

BUILD_PROGRAM = """
import sys
from data_prep import readers
from data_prep.__main__ import run_command_line
readers.READERS["fake"] = "tests.data_prep.fake_reader"
if __name__ == "__main__":
    sys.exit(run_command_line())
"""


def test_the_same_input_gives_the_same_bytes_with_any_number_of_workers(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(6)
    for name, workers in (("one", 0), ("again", 1), ("two", 2)):
        build_shards(archive, tmp_path / name, workers, split="train", samples_per_shard=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "again") == hashes(tmp_path / "two")
    moved = FakeArchive(tmp_path / "moved")
    shutil.copytree(archive.folder, moved.folder, dirs_exist_ok=True)
    build_shards(moved, tmp_path / "from moved", split="train", samples_per_shard=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "from moved")


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_build_killed_at_any_rename_is_finished_by_the_same_command(
    archive: FakeArchive, tmp_path: Path, before: bool
) -> None:
    archive.add_events(4)
    options: dict[str, Any] = {"split": "train", "samples_per_shard": 2}
    whole = hashes(build_shards(archive, tmp_path / "whole", **options).folder)
    renames = 0
    while True:
        renames += 1
        out = tmp_path / f"killed {renames}"
        if not killed_at_rename(renames, partial(build_shards, archive, out, **options), before=before):
            break
        assert hashes(out) != whole or not before
        build_shards(archive, out, **options)
        assert hashes(out) == whole
    # the plan; twice .idx, tar and record; twice .idx and tar to their places; index.json; and then one that never came
    assert renames == 13


def run_program(archive: FakeArchive, out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = ["build", "--format", "fake", "--source", str(archive.folder), "--out", str(out), *options]
    return subprocess.run(
        [sys.executable, "-c", BUILD_PROGRAM, *given, "--split", "train", "--samples-per-shard", "1"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.slow
def test_a_parallel_build_whose_parent_is_killed_is_finished_by_the_same_command(
    archive: FakeArchive, tmp_path: Path
) -> None:
    archive.add_events(5)
    out = tmp_path / "out"
    killed = run_program(archive, out, "--workers", "2", NOWCAST_TEST_KILL="e003.npy")
    assert killed.returncode == -signal.SIGKILL and not (out / "index.json").exists()
    finished = run_program(archive, out, "--workers", "1")
    assert finished.returncode == 0, finished.stderr
    build_shards(archive, tmp_path / "whole", split="train", samples_per_shard=1)
    assert hashes(out) == hashes(tmp_path / "whole")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_kills_its_worker_is_left_out_by_name(archive: FakeArchive, tmp_path: Path, workers: int) -> None:
    archive.add_events(5)
    archive.add("dies.npy", [at(900 + step) for step in range(6)], "X")
    shards = build_shards(archive, tmp_path / "out", workers, split="train", samples_per_shard=2)
    assert shards.index.splits["train"].samples == 5 and shards.index.left_out == {"unreadable": 1}
    assert list(faults(shards)) == []


def test_the_account_says_what_was_left_out_and_why(archive: FakeArchive, command: Command, tmp_path: Path) -> None:
    archive.add_events(6)
    for number in (1, 2, 3, 4):
        (archive.folder / f"e00{number}.npy").write_bytes(b"no array")
    code, text = command()
    assert code == 0 and "left out 4: unreadable" in text and all(f"e00{number}.npy" in text for number in (1, 2, 3, 4))
    assert open_shards(tmp_path / "out").index.left_out == {"unreadable": 4}


def test_a_strict_build_stops_at_an_unreadable_file_without_an_index(
    archive: FakeArchive, command: Command, tmp_path: Path
) -> None:
    archive.add_events(4)
    (archive.folder / "e002.npy").write_bytes(b"no array")
    code, text = command("--strict", "--samples-per-shard", "1")
    assert code == 2 and "error: " in text and "e002.npy" in text and "Traceback" not in text
    left = hashes(tmp_path / "out")
    assert "index.json" not in left and not any(name.endswith(".partial") for name in left)
    assert command("--samples-per-shard", "1")[0] == 0
    assert open_shards(tmp_path / "out").index.splits["train"].samples == 3


def test_a_strict_build_does_not_take_over_what_a_lenient_one_left_out(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(4)
    out = tmp_path / "out"
    plan = archive_plan(archive, out, split="train", samples_per_shard=2)
    first, last = plan.tasks[0].recordings, plan.tasks[1].recordings
    first[min(first)].path.write_bytes(b"no array")
    plan = archive_plan(archive, out, split="train", samples_per_shard=2)
    monkeypatch.setenv("NOWCAST_TEST_KILL", last[max(last)].path.name)
    in_a_fork(lambda: build(plan, out))
    monkeypatch.delenv("NOWCAST_TEST_KILL")
    with pytest.raises((UserError, RadarFileError), match=first[min(first)].path.name):
        build(archive_plan(archive, out, strict=True, split="train", samples_per_shard=2), out)
    assert not (out / "index.json").exists()


def test_a_full_disk_is_one_sentence_and_exit_code_3(archive: FakeArchive, command: Command, tmp_path: Path) -> None:
    archive.add_events(3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        code, text = command()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 3 and "cannot be written: File too large" in text and "Traceback" not in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rename", range(1, 14, 3))
def test_after_a_full_disk_the_same_command_goes_on(
    archive: FakeArchive, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rename: int
) -> None:
    archive.add_events(4)
    few = ("--samples-per-shard", "2")
    assert command(*few, out=tmp_path / "whole")[0] == 0
    replace, count = os.replace, 0

    def replace_or_fail(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count >= rename:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_or_fail)
    code, text = command(*few)
    assert code == (3 if rename < 13 else 0) and ("No space left on device" in text) == (rename < 13)
    monkeypatch.setattr(os, "replace", replace)
    assert not list(tmp_path.glob("out/**/*.partial"))
    assert command(*few)[0] == 0 and hashes(tmp_path / "out") == hashes(tmp_path / "whole")


@pytest.mark.parametrize("option", ["--frames=0", "--min-wet=2", "--workers=-1", "--seed=x", "--colour=red"])
def test_an_option_that_makes_no_sense_ends_with_2(command: Command, option: str) -> None:
    with pytest.raises(SystemExit) as end:
        command(option)
    assert end.value.code == 2


def test_quiet_prints_nothing(archive: FakeArchive, command: Command) -> None:
    archive.add_events(2)
    assert command("--quiet") == (0, "")


def test_the_index_describes_the_shards(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_run(range(11))
    shards = build_shards(archive, tmp_path / "out", split="train", frames=5, crop=8)
    index = shards.index
    assert (index.archive, index.encoding, index.unit, index.cadence_s) == ("fake", "dbz8", "mm/h", 300)
    assert (shards.shape_THW, index.pixel, index.codec) == ((5, 8, 8), (1000.0, 1000.0), "lz4")
    assert index.left_out == {"run shorter than 5 frames": 1}
    split = index.splits["train"]
    assert (split.first_time, split.last_time) == ("2020-01-01T00:00:00Z", "2020-01-01T00:45:00Z")
    assert sum(split.code_counts) == 2 * 5 * 64 and 0 < split.wet_share < 1
    assert json.loads((tmp_path / "out/index.json").read_text())["format_version"] == FORMAT_VERSION


def test_a_build_with_nothing_readable_is_an_error(archive: FakeArchive, command: Command, tmp_path: Path) -> None:
    archive.add_events(2)
    for path in archive.folder.glob("*.npy"):
        path.write_bytes(b"no array")
    code, text = command()
    assert code == 2 and "e000.npy" in text and not (tmp_path / "out").exists()


def test_an_interrupted_build_says_so_and_leaves_no_half_file(
    archive: FakeArchive, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(4)
    read, calls = READER.read, list[object]()

    def interrupt(recording: object) -> object:
        calls.append(recording)
        if len(calls) == 6:  # three to see the usual grid, then the third of the shards
            raise KeyboardInterrupt
        return read(recording)  # type: ignore[arg-type]

    monkeypatch.setattr(READER, "read", interrupt)
    code, text = command("--samples-per-shard", "1")
    assert code == 130 and text.endswith("interrupted\n")
    shards = [name for name in hashes(tmp_path / "out") if name.endswith((".idx", ".tar"))]
    assert shards == [f".build/train-00000{number}-0000.{ext}" for number in (0, 1) for ext in ("idx", "tar")]


def test_a_simulated_archive_is_built_and_verified(tmp_path: Path) -> None:
    storms, out = str(tmp_path / "storms"), str(tmp_path / "out")
    small = ["--events", "8", "--size", "32", "--frames", "13", "--seed", "0"]
    assert main("data_prep", "", COMMANDS, ["simulate", "--out", storms, *small]) == 0
    words = ["build", "--format", "sevir", "--source", storms, "--out", out, "--workers", "1"]
    assert main("data_prep", "", COMMANDS, words) == 0
    assert main("data_prep", "", COMMANDS, ["verify", out]) == 0
    assert open_shards(Path(out)).shape_THW == (13, 32, 32)


def test_real_composites_become_sequences_with_their_values(radar_data: Path, tmp_path: Path) -> None:
    words = ["build", "--format", "knmi", "--source", str(radar_data / "knmi"), "--out", str(tmp_path / "out")]
    cut = ["--split", "train", "--frames", "25", "--stride", "36", "--crop", "256", "--workers", "1", "--quiet"]
    assert main("data_prep", "", COMMANDS, [*words, *cut]) == 0
    shards = open_shards(tmp_path / "out")
    assert list(faults(shards)) == []
    meta, codes_THW = read_sample(shards, "train", 0)
    knmi = reader_named("knmi")
    path = radar_data / "knmi" / meta["sources"][7]
    [frame] = knmi.read(knmi.scan([str(path)]).recordings[0])
    field = frame.crop(*frame.grid.centre(256), 256, 256).field
    dbz8 = ENCODINGS["dbz8"]
    np.testing.assert_array_equal(codes_THW[7] == dbz8.missing, np.isnan(field))
    rain = dbz8.decode(codes_THW[7], "mm/h")
    np.testing.assert_allclose(rain, field, rtol=0.04, atol=0.01)  # 0.25 dBZ is 3.7 % of the rain rate


def test_tiles_are_cut_from_frames_that_are_read_once(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_run(range(8))
    read, calls = READER.read, list[object]()
    plan = archive_plan(archive, tmp_path / "out", split="train", frames=4, tile=5, overlap=1, samples_per_shard=7)
    monkeypatch.setattr(READER, "read", lambda recording: calls.append(recording) or read(recording))  # type: ignore[func-returns-value]
    build(plan, tmp_path / "out")
    assert len(calls) == 8 and len(plan.layout.cuts) == 9
    shards = open_shards(tmp_path / "out")
    assert [shard.samples for shard in shards.index.splits["train"].shards] == [5, 4, 5, 4]
    assert list(faults(shards)) == []
    fields = {at(step): read(recording)[0] for step, recording in enumerate(sorted(calls, key=lambda one: one.times))}  # type: ignore[attr-defined]
    places = set()
    for number in range(18):
        meta, codes_THW = read_sample(shards, "train", number)
        row, column = (int(part) for part in meta["key"].split("_")[1:])
        places.add((row, column))
        assert (meta["grid"]["west"], meta["grid"]["north"]) == (column * 1000.0, -row * 1000.0)
        for time, codes in zip(meta["times"], codes_THW, strict=True):
            frame = fields[datetime.fromisoformat(time)]
            expected = frame.crop(row, column, 5, 5).encode(ENCODINGS["dbz8"])
            np.testing.assert_array_equal(codes, expected)
    assert places == {(row, column) for row in (0, 4, 7) for column in (0, 4, 7)}


def test_samples_are_drawn_by_importance_and_say_with_which_probability(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(30)
    chosen = build_shards(archive, tmp_path / "some", split="train", importance=0.5, importance_floor=0.05)
    everything = build_shards(archive, tmp_path / "all", split="train")
    kept = chosen.index.splits["train"].samples
    assert 3 < kept < 27 and everything.index.splits["train"].samples == 30
    assert chosen.index.left_out == {"not drawn by importance": 30 - kept} and chosen.index.importance
    metas = [read_sample(chosen, "train", number)[0] for number in range(kept)]
    assert all(0.05 < meta["probability"] < 1 for meta in metas)
    assert list(faults(chosen)) == []


def test_coarser_frames_are_means_of_rain_over_time_and_area(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_run(range(1, 13))
    shards = build_shards(archive, tmp_path / "out", split="train", frames=3, cadence_s=900, to_pixel=3000.0)
    index = shards.index
    assert (index.cadence_s, index.shape, index.pixel) == (900, (4, 4), (3000.0, 3000.0))
    assert (index.archive_shape, index.archive_pixel) == ((12, 12), (1000.0, 1000.0))
    meta, codes_THW = read_sample(shards, "train", 0)
    assert meta["times"] == [f"{at(step):%Y-%m-%dT%H:%M:%SZ}" for step in (3, 6, 9)] and len(meta["sources"]) == 9
    fields_THW = np.stack([np.load(archive.folder / name)[0] for name in meta["sources"]])
    parts = fields_THW.reshape(3, 3, 4, 3, 4, 3).transpose(0, 2, 4, 1, 3, 5).reshape(3, 4, 4, 27)
    expected = np.where(np.isnan(parts).mean(axis=-1) > 0.5, np.nan, np.nanmean(parts, axis=-1))
    np.testing.assert_array_equal(codes_THW, ENCODINGS["dbz8"].encode(expected.astype(np.float32), "mm/h"))
    assert list(faults(shards)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tile", "13"), "tile=13 is larger than the 12 x 12 pixels of a frame"),
        (("--tile", "4", "--overlap", "4"), "overlap=4 is not less than tile=4"),
        (("--overlap", "4"), "--overlap is of tiles; give --tile PX too"),
        (("--importance-floor", "0.3"), "--importance-floor is of importance sampling; give --importance M too"),
        (("--pixel", "500"), "finer than the archive's 1000"),
        (("--cadence", "400"), "cadence=400 s is no multiple of the archive's 300 s; give 300, 600"),
        (("--guard", "-1"), "is not a number of hours"),
        (("--part", "2/2"), "is not I/N"),
    ],
)
def test_options_that_contradict_each_other_or_the_archive_are_refused(
    archive: FakeArchive, command: Command, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    archive.add_events(2)
    code, text = command(*options)
    assert code == 2 and message in text and not (tmp_path / "out").exists()


def test_gaps_are_told(archive: FakeArchive, command: Command) -> None:
    archive.add_run([*range(4), *range(6, 10), *range(20, 24)])
    code, text = command("--frames", "4")
    assert code == 0 and "2 gaps in time, 12 frames missing" in text
    assert "10 frames between 2020-01-01T00:45:00Z and 2020-01-01T01:40:00Z" in text
