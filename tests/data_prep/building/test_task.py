from __future__ import annotations

import resource
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.building.task import ShardTask, write_shards
from data_prep.encoding import ENCODINGS
from data_prep.errors import RadarFileError
from data_prep.shards.index import Shards, make_idx
from data_prep.shards.stored import read_sample
from tests.data_prep.fake_builds import archive_plan, build_shards
from tests.data_prep.fake_reader import READER, FakeArchive, at

TAR = "train-000000-0000.tar"


@pytest.fixture
def task(archive: FakeArchive, tmp_path: Path) -> ShardTask:
    """Four events of six frames in one shard."""
    archive.add_events(4)
    (tmp_path / "out/.build").mkdir(parents=True)
    return archive_plan(archive, tmp_path / "out", split="train").tasks[0]


@pytest.fixture
def shards(archive: FakeArchive, tmp_path: Path) -> Shards:
    archive.add_events(5)
    return build_shards(archive, tmp_path / "out", split="train", samples_per_shard=3)


def test_the_codes_are_those_of_the_archives_frames(shards: Shards, archive: FakeArchive) -> None:
    recordings = {recording.event: recording for recording in READER.scan([str(archive.folder)]).recordings}
    for number in range(5):
        meta, codes_THW = read_sample(shards, "train", number)
        frames = READER.read(recordings[meta["event"]])
        expected = np.stack([ENCODINGS["dbz8"].encode(frame.field, "mm/h") for frame in frames])
        np.testing.assert_array_equal(codes_THW, expected)


def test_the_json_says_what_the_sample_is(shards: Shards) -> None:
    meta, codes_THW = read_sample(shards, "train", 0)
    number = int(meta["event"][1:])
    seen = codes_THW[codes_THW < 255]
    assert meta["key"] == meta["event"] and meta["sources"] == [f"e{number:03d}.npy"]
    assert meta["times"] == [f"{at(288 * number + step):%Y-%m-%dT%H:%M:%SZ}" for step in range(6)]
    assert meta["frames"] == {"shape": [6, 12, 12], "dtype": "uint8", "codec": "lz4", "frames_per_chunk": 4}
    assert meta["missing"] == pytest.approx(3 / 144, abs=1e-6) and meta["probability"] == 1.0
    assert meta["wet"] == pytest.approx(np.mean(seen >= ENCODINGS["dbz8"].wet_code), abs=1e-6)
    assert meta["grid"]["shape"] == [12, 12]


def test_a_sequence_of_composites_names_the_source_of_each_frame(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_run(range(4))
    meta, _ = read_sample(build_shards(archive, tmp_path / "out", split="all", frames=4), "all", 0)
    assert [name[-8:] for name in meta["sources"]] == ["_000.npy", "_001.npy", "_002.npy", "_003.npy"]


def test_a_crop_is_the_middle_with_its_place_on_the_grid(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(1)
    meta, codes_THW = read_sample(build_shards(archive, tmp_path / "out", split="a", crop=4), "a", 0)
    whole = np.load(archive.folder / "e000.npy")
    np.testing.assert_array_equal(codes_THW, ENCODINGS["dbz8"].encode(whole[:, 4:8, 4:8], "mm/h"))
    assert (meta["grid"]["west"], meta["grid"]["north"]) == (4000.0, -4000.0)


def test_the_tar_tells_nothing_of_when_and_by_whom_it_was_made(task: ShardTask) -> None:
    write_shards(task)
    with tarfile.open(task.folder / TAR) as tar:
        members = tar.getmembers()
    assert (task.folder / TAR).read_bytes()[257:265] == b"ustar\x0000"
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "nowcast", "nowcast", 0o644)
    }
    names = [m.name.split(".", 1) for m in members]
    assert [ext for _, ext in names] == ["frames.lz4", "json"] * 4
    assert sorted(key for key, _ in names[::2]) == sorted(sequence.key for sequence in task.sequences)


def test_the_record_counts_what_was_written(task: ShardTask) -> None:
    record = write_shards(task)
    tar = task.folder / TAR
    [shard] = record.shards
    assert (shard.name, shard.samples, shard.bytes) == (TAR, 4, tar.stat().st_size)
    assert tar.with_suffix(".idx").read_bytes() == make_idx(tar)
    assert record.tally.pixels == 4 * 6 * 144 and record.tally.missing == 4 * 6 * 3
    assert sum(record.tally.code_counts) == record.tally.pixels
    assert (record.first_time, record.last_time) == ("2020-01-01T00:00:00Z", "2020-01-04T00:25:00Z")
    assert sorted(path.name for path in tar.parent.iterdir()) == ["train-000000-0000.idx", TAR]


def with_fields(archive: FakeArchive, tmp_path: Path, *fields: np.ndarray[Any, Any]) -> ShardTask:
    for number, field in enumerate(fields):
        stack = np.stack([field.astype(np.float32)] * 6)
        archive.add(f"{number}.npy", [at(100 * number + step) for step in range(6)], f"E{number}", stack)
    (tmp_path / "out/.build").mkdir(parents=True)
    return archive_plan(archive, tmp_path / "out", split="train").tasks[0]


def with_limits(task: ShardTask, **limits: float) -> ShardTask:
    return replace(task, selection=replace(task.selection, **limits))


def test_dry_and_unseen_sequences_are_left_out_by_the_share_of_what_was_seen(
    archive: FakeArchive, tmp_path: Path
) -> None:
    half_wet, unseen, hardly_seen = np.zeros((12, 12)), np.full((12, 12), np.nan), np.full((12, 12), np.nan)
    half_wet[:6], hardly_seen[:1] = 5.0, 5.0
    task = with_fields(archive, tmp_path, half_wet, unseen, hardly_seen)
    out = {key: reason for key, reason, _ in write_shards(task).left_out.examples}
    assert out == {"E1": "all missing"}
    out = {key: reason for key, reason, _ in write_shards(with_limits(task, min_wet=0.6)).left_out.examples}
    assert out == {"E0": "drier than 0.6", "E1": "all missing"}
    out = {key: reason for key, reason, _ in write_shards(with_limits(task, max_missing=0.5)).left_out.examples}
    assert out == {"E1": "all missing", "E2": "more missing than 0.5"}


def test_a_shard_of_which_nothing_remains_is_not_written(archive: FakeArchive, tmp_path: Path) -> None:
    record = write_shards(with_fields(archive, tmp_path, np.full((12, 12), np.nan)))
    assert record.shards == [] and list((tmp_path / "out/.build").iterdir()) == []


def test_a_frame_of_another_shape_leaves_its_sequence_out(archive: FakeArchive, tmp_path: Path) -> None:
    task = with_fields(archive, tmp_path, *[np.ones((12, 12))] * 2, np.ones((10, 12)), np.ones((12, 12)))
    [(key, reason, detail)] = write_shards(task).left_out.examples
    assert (key, reason) == ("E2", "another grid") and "10 x 12" in detail and "12 x 12" in detail


def test_an_unreadable_file_is_left_out_by_name_or_stops_a_strict_build(task: ShardTask) -> None:
    (task.recordings[1].path).write_bytes(b"no array")
    record = write_shards(task)
    [(key, reason, detail)] = record.left_out.examples
    assert record.shards[0].samples == 3
    assert (key, reason) == ("E001", "unreadable") and detail.startswith(str(task.recordings[1].path))
    with pytest.raises(RadarFileError, match=r"e001\.npy"):
        write_shards(replace(task, number=7, strict=True))
    assert not list(task.folder.glob("*7*"))


def test_a_file_with_fewer_frames_than_listed_is_unreadable(task: ShardTask) -> None:
    path = task.recordings[0].path
    np.save(path, np.load(path)[:5])
    assert [item[:2] for item in write_shards(task).left_out.examples] == [("E000", "unreadable")]


def test_a_full_disk_leaves_no_half_of_a_shard(task: ShardTask) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_shards(task)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(task.folder.iterdir()) == []
