from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webdataset import TarWriter

from data_prep import readers
from data_prep.__main__ import COMMANDS
from data_prep.console import main
from data_prep.shards.index import Shards, make_idx, open_shards
from data_prep.shards.stored import read_sample
from data_prep.verify import faults
from data_prep.workers import InProcess, Workers, inside
from tests.data_prep.fake_builds import Command, build_shards
from tests.data_prep.fake_reader import MODULE, FakeArchive

Change = Callable[[dict[str, Any]], object]


def built(folder: Path, **options: Any) -> Path:
    """Composites' runs of 4 frames that do not overlap, in shards of 2."""
    folder.mkdir()
    archive = FakeArchive(folder / "archive")
    archive.add_run(range(20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(readers.READERS, "fake", MODULE)
        return build_shards(archive, folder / "out", frames=4, samples_per_shard=2, **options).folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("sound") / "built", split_dates="2020-01-01T00:55,2020-01-01T01:15")


@pytest.fixture
def shards(sound: Path, tmp_path: Path) -> Shards:
    """Five runs: 3 in train (2 shards), 1 in val, 1 in test."""
    return open_shards(shutil.copytree(sound, tmp_path / "out"))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.verify.Workers", lambda count: InProcess())


def found(shards: Shards) -> list[str]:
    return list(faults(open_shards(shards.folder)))


def edit_index(shards: Shards, change: Change) -> None:
    path = shards.folder / "index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


def rewrite(shards: Shards, split: str, change: Callable[[dict[str, Any], Any], Any]) -> None:
    """Makes a split's only shard anew from its changed samples, with a true .idx, size and hash in the index."""
    number = shards.split(split).samples
    samples = [read_sample(shards, split, i) for i in range(number)]
    tar = shards.folder / shards.split(split).shards[0].name
    with open(tar, "wb") as file, TarWriter(file, encoder=False, mtime=0) as writer:
        for meta, codes_THW in samples:
            key = meta["key"]
            blob = shards.packing.pack(change(meta, codes_THW))
            writer.write({"__key__": key, "frames.lz4": blob, "json": json.dumps(meta).encode()})
    tar.with_suffix(".idx").write_bytes(make_idx(tar))

    def update(index: dict[str, Any]) -> None:
        content = tar.read_bytes()
        index["splits"][split]["shards"][0] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    edit_index(shards, update)


def test_what_was_built_has_no_fault(shards: Shards) -> None:
    counted: list[int] = []
    assert list(faults(shards, counted.append)) == []
    assert sum(counted) == 5


def test_verify_ends_with_0_or_with_3_and_a_line_per_fault(shards: Shards, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("data_prep", "", COMMANDS, ["verify", str(shards.folder)]) == 0
    assert "is sound: 5 sequences in 3 splits" in capsys.readouterr().out
    edit_index(shards, lambda index: index["splits"]["val"]["shards"][0].update(sha256="0" * 64))
    assert main("data_prep", "", COMMANDS, ["verify", str(shards.folder), "--quiet"]) == 3
    printed = capsys.readouterr()
    assert printed.out == "val/val-000000.tar: its sha256 is not the one in the index\n"
    assert printed.err.startswith("error: ") and "1 fault;" in printed.err


def test_each_shard_that_is_missing_or_cut_off_is_named_and_nothing_follows_from_it(
    shards: Shards, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, cut = (shards.folder / shards.split(split).shards[0].name for split in ("train", "test"))
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-512])
    assert main("data_prep", "", COMMANDS, ["verify", str(shards.folder), "--quiet"]) == 3
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert f"{missing} is missing" in first and f"{cut} has {cut.stat().st_size} bytes, index.json says" in second


def test_verify_of_no_shards_folder_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("data_prep", "", COMMANDS, ["verify", str(tmp_path)]) == 2
    assert "has no index.json" in capsys.readouterr().err


@pytest.mark.parametrize("where", [600, 1000, -1])
def test_any_changed_byte_is_found(shards: Shards, where: int) -> None:
    tar = shards.folder / shards.split("val").shards[0].name
    content = bytearray(tar.read_bytes())
    content[where] ^= 1
    tar.write_bytes(content)
    assert "val/val-000000.tar: its sha256 is not the one in the index" in found(shards)


def test_an_idx_that_does_not_fit_or_is_gone_is_found(shards: Shards) -> None:
    idx = (shards.folder / shards.split("val").shards[0].name).with_suffix(".idx")
    idx.write_text(idx.read_text().replace("frames.lz4 512", "frames.lz4 511", 1))
    assert "val/val-000000.tar: val-000000.idx does not fit its headers" in found(shards)
    idx.unlink()
    assert any("val-000000.tar: cannot be read by its .idx" in fault for fault in found(shards))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda meta: meta.update(key="other"), "its JSON is of other"),
        (lambda meta: meta["frames"].update(shape=[4, 12, 11]), "its JSON says frames are"),
        (lambda meta: meta["times"].reverse(), "its times are not 4 at 300 s"),
        (lambda meta: meta["times"].insert(1, meta["times"][0]), "the JSON of"),
        (lambda meta: meta["grid"].update(shape=[11, 12]), "its grid is 11 x 12"),
        (lambda meta: meta.update(missing=0.5), "its JSON says 0.5 missing"),
        (lambda meta: meta.pop("wet"), "its JSON is damaged: KeyError('wet')"),
        (lambda meta: meta.pop("times"), "is damaged: KeyError('times')"),
        (lambda meta: meta.update(sources=3), "is damaged: TypeError"),
        (lambda meta: meta.update(sources=[]), "it has no times or no sources"),
        (lambda meta: meta.update(times=[], sources=["a"]), "it has no times or no sources"),
        (lambda meta: meta["grid"].update(pixel=[500.0, 1000.0]), "its pixels are 500 x 1000 m"),
        (lambda meta: meta["grid"].update(proj="+proj=longlat"), "its pixels are 1000 x 1000 degree"),
        (lambda meta: meta.update(probability=0.5), "its acceptance probability is 0.5"),
    ],
)
def test_a_json_that_does_not_fit_is_found(shards: Shards, change: Change, fault: str) -> None:
    rewrite(shards, "val", lambda meta, codes_THW: (change(meta), codes_THW)[1])
    faulty = found(shards)
    assert any(fault in line and line.startswith("val/val-000000.tar: ") for line in faulty), faulty


def test_codes_that_are_not_those_of_the_index_are_found(shards: Shards) -> None:
    rewrite(shards, "val", lambda meta, codes_THW: np.where(codes_THW < 255, 7, codes_THW).astype(np.uint8))
    assert "val: the index's code counts are not those of its sequences" in found(shards)


def test_a_changed_statistic_in_the_index_is_found(shards: Shards) -> None:
    edit_index(shards, lambda index: index["splits"]["train"].update(wet=7, first_time="2019-01-01T00:00:00Z"))
    assert found(shards) == [
        "train: the index's statistics are not those of its code counts; `python -m data_prep stats` mends them",
        "train: the index's counts of missing and wet are not those of its sequences",
        "train: the index's first and last time are not those of its sequences",
    ]


def test_a_sample_in_two_splits_is_found(shards: Shards) -> None:
    source, target = (shards.folder / shards.split(split).shards[0].name for split in ("val", "test"))
    target.write_bytes(source.read_bytes())
    target.with_suffix(".idx").write_bytes(source.with_suffix(".idx").read_bytes())

    def copy(index: dict[str, Any]) -> None:
        shard = {**index["splits"]["val"]["shards"][0], "name": "test/test-000000.tar"}
        index["splits"]["test"] = {**index["splits"]["val"], "shards": [shard]}

    edit_index(shards, copy)
    key = read_sample(shards, "val", 0)[0]["key"]
    twice, leak = found(shards)
    assert twice == f"key {key} occurs twice: in val and test"
    assert leak.startswith(f"test/{key} and val/{key} both show a frame of ")


def test_two_workers_find_what_one_process_finds_in_the_same_order(shards: Shards) -> None:
    for split in ("train", "test"):
        tar = shards.folder / shards.split(split).shards[0].name
        tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    with Workers(2) as pool:
        by_two = list(faults(shards, pool=pool))
    assert by_two == found(shards) and len(by_two) == 2


def test_a_sample_over_which_a_worker_died_is_one_fault(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shards.split("val").shards[0].name
    key = read_sample(shards, "val", 0)[0]["key"]
    monkeypatch.setitem(inside._refused, f"{shard}: sample {key}", "its reader died (signal 11, Segmentation fault)")
    assert f"{shard}: sample {key}: its reader died (signal 11, Segmentation fault)" in found(shards)


def test_a_worker_that_is_killed_ends_verify_with_3(
    shards: Shards, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("data_prep.shards.check.sha256_of", no_memory)
    assert main("data_prep", "", COMMANDS, ["verify", str(shards.folder)]) == 3
    assert "a worker died while train/train-000000.tar was read (out of memory)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda index: index["left_out"].update(dry=0), "the index says 0 were left out: dry"),
        (
            lambda index: index["builds"][0].update(spans=[["x", "y"]]),
            "a build of the index has sequences from 'x' to 'y'",
        ),
        (lambda index: index["builds"][0].update(events=["E1", "E1"]), "event E1 belongs to 2 builds of the index"),
        (
            lambda index: index["splits"]["val"]["statistics"].update(wet_share=0.9),
            "val: the index's statistics are not those of its code counts; `python -m data_prep stats` mends them",
        ),
        (
            lambda index: index["splits"]["val"]["shards"].append(index["splits"]["val"]["shards"][0]),
            "val/val-000000.tar: the index names it 2 times",
        ),
    ],
)
def test_an_index_that_contradicts_itself_is_found(shards: Shards, change: Change, fault: str) -> None:
    edit_index(shards, change)
    assert fault in found(shards)


def test_a_sample_that_no_build_considered_is_found(shards: Shards) -> None:
    edit_index(
        shards,
        lambda index: index["builds"][0].update(spans=[["2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z"]]),
    )
    meta, _ = read_sample(shards, "test", 0)
    begins = f"test/{meta['key']} begins at {meta['times'][0]}, which no build of the index has"
    assert found(shards) == [begins]


def test_an_event_that_no_build_considered_is_found(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(3)
    events = build_shards(archive, tmp_path / "out", split="train")
    assert found(events) == []
    edit_index(events, lambda index: index["builds"][0]["events"].remove("E001"))
    assert found(events) == ["train/E001 shows event E001, which no build of the index has"]


def test_an_event_in_two_splits_is_found(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(2, frames=8)
    events = build_shards(archive, tmp_path / "out", frames=4, split_dates="2020-01-01T12:00,2020-01-05")
    assert found(events) == []
    rewrite(events, "val", lambda meta, codes_THW: (meta.update(event="E000"), codes_THW)[1])
    [leak] = found(events)  # of the samples of an event one of each split is named
    assert re.fullmatch("val/E001_00[04] and train/E000_00[04] both show event E000", leak)


def test_splits_nearer_than_the_guard_are_found(shards: Shards) -> None:
    edit_index(shards, lambda index: index.update(guard_s=3600))
    near = found(shards)
    assert len(near) == 2 and near[0].startswith("val/20200101T0100 begins 0:05:00 after train/")
    edit_index(shards, lambda index: index.update(guard_s=300))
    assert found(shards) == []


def test_tiles_that_overlap_are_no_leak_inside_a_split(tmp_path: Path) -> None:
    folder = built(tmp_path / "tiled", split_dates="2020-01-01T00:55,2020-01-01T01:15", tile=8, overlap=3)
    assert found(open_shards(folder)) == [] and open_shards(folder).split("val").samples == 4


def test_samples_kept_by_chance_may_have_a_probability_below_1(tmp_path: Path) -> None:
    folder = built(tmp_path / "drawn", split="train", importance=1.8)
    assert read_sample(open_shards(folder), "train", 0)[0]["probability"] < 1.0
    assert found(open_shards(folder)) == []
    edit_index(open_shards(folder), lambda index: index.update(importance=False))
    assert any("its acceptance probability is 0." in fault for fault in found(open_shards(folder)))


def test_what_was_appended_has_no_fault(archive: FakeArchive, command: Command, tmp_path: Path) -> None:
    archive.add_run(range(8))
    assert command("--frames", "4")[0] == 0
    archive.add_run(range(20, 28))
    assert command("--frames", "4", "--append")[0] == 0
    appended = open_shards(tmp_path / "out")
    assert len(appended.index.builds) == 2 and found(appended) == []
