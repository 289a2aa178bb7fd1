from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webdataset import TarWriter

from data_prep.__main__ import COMMANDS
from data_prep.console import main
from data_prep.shards.index import Shards, make_idx, open_shards
from data_prep.shards.shard import read_sample
from data_prep.verify import faults
from tests.data_prep.fake_builds import build_shards
from tests.data_prep.fake_reader import FakeArchive

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def shards(archive: FakeArchive, tmp_path: Path) -> Shards:
    """Five composites' runs of 4 frames: 3 in train (2 shards), 1 in val, 1 in test."""
    archive.add_run(range(20))
    dates = "2020-01-01T00:55,2020-01-01T01:15"
    return build_shards(archive, tmp_path / "out", split_dates=dates, frames=4, samples_per_shard=2)


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
    assert printed.err.startswith("error: ") and "1 faults" in printed.err


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
