from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.encoding import ENCODINGS
from data_prep.errors import DataError, UserError
from data_prep.shards.index import Member, Shard, idx_name, make_idx, open_shards, read_idx
from data_prep.shards.sources import open_source
from data_prep.shards.statistics import statistics_of
from data_prep.shards.tally import CodeTally

SPLIT = {
    "shards": [{"name": "train/train-000000.tar", "samples": 2, "bytes": 10240, "sha256": "0" * 64}],
    "first_time": "2020-01-01T00:00:00Z",
    "last_time": "2020-01-01T01:00:00Z",
    "code_counts": [0] * 256,
    "pixels": 384,
    "missing": 0,
    "wet": 192,
    "statistics": statistics_of(CodeTally(), ENCODINGS["dbz8"]).model_dump(),
}
INDEX = {
    "format_version": 2, "archive": "fake", "encoding": "dbz8", "unit": "mm/h", "cadence_s": 300, "frames": 4,
    "shape": [8, 6], "pixel": [1000.0, 1000.0], "pixel_unit": "m", "codec": "zstd", "frames_per_chunk": 4,
    "splits": {"train": SPLIT}, "archive_shape": [8, 6], "archive_pixel": [1000.0, 1000.0], "importance": False,
    "guard_s": 0, "left_out": {}, "builds": [{"plan": "p", "settings": "s", "spans": [], "events": []}],
}  # fmt: skip
SHARD = Shard(name="train/train-000000.tar", samples=2, bytes=10240, sha256="0" * 64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one shard with two samples of two members each."""
    (tmp_path / "train").mkdir()
    with tarfile.open(tmp_path / SHARD.name, "w") as tar:
        for key in ("a", "b"):
            for ext, content in (("frames.zst", key.encode() * 700), ("json", b"{}")):
                info = tarfile.TarInfo(f"{key}.{ext}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    (tmp_path / idx_name(SHARD.name)).write_bytes(make_idx(tmp_path / SHARD.name))
    (tmp_path / "index.json").write_text(json.dumps(INDEX))
    return tmp_path


def test_an_index_opens_and_says_the_shape_and_the_samples(folder: Path) -> None:
    shards = open_shards(folder)
    assert shards.shape_THW == (4, 8, 6) and shards.split("train").samples == 2
    assert shards.index.codes.name == "dbz8" and len(shards.hash) == 64


def test_the_hash_changes_with_any_byte_of_the_index(folder: Path) -> None:
    before = open_shards(folder).hash
    (folder / "index.json").write_text(json.dumps(INDEX) + "\n")
    assert open_shards(folder).hash != before


def test_an_idx_is_that_of_wds2idx(folder: Path) -> None:
    lines = make_idx(folder / SHARD.name).decode().split("\n")
    assert lines == [
        "v1.2 2",
        "frames.zst 512 700 a.frames.zst json 2048 2 a.json",
        "frames.zst 3072 700 b.frames.zst json 4608 2 b.json",
        "",
    ]


def test_an_idx_gives_the_places_of_the_members(folder: Path) -> None:
    places = read_idx(open_source(folder), SHARD)
    assert places.keys == ["a", "b"]
    assert places.members["frames.zst"] == [Member(512, 700), Member(3072, 700)]
    offset, size = places.members["frames.zst"][1]
    assert (folder / SHARD.name).read_bytes()[offset : offset + size] == b"b" * 700


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v1.2 2", "v1.2 3"),
        ("v1.2 2", "v9.9 2"),
        ("v1.2 2\n", "v1.2 2\nframes.zst 0 1 c.frames.zst\n"),
        ("3072", "10000"),
        ("3072", "-5"),
        ("3072", "x"),
        ("b.json", "b.json extra"),
        ("v1.2 2\n", ""),
    ],
)
def test_a_damaged_idx_is_a_data_error_that_names_it(folder: Path, old: str, new: str) -> None:
    path = folder / idx_name(SHARD.name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=r"train-000000\.idx cannot be used"):
        read_idx(open_source(folder), SHARD)


@pytest.mark.parametrize(("old", "new"), [(" json 4608 2 b.json", ""), ("json 4608 2", "txt 4608 2")])
def test_a_sample_that_lacks_a_member_leaves_the_others_usable(folder: Path, old: str, new: str) -> None:
    path = folder / idx_name(SHARD.name)
    path.write_text(path.read_text().replace(old, new, 1))
    places = read_idx(open_source(folder), SHARD)
    assert places.members["json"] == [Member(2048, 2), None]
    assert places.members["frames.zst"] == [Member(512, 700), Member(3072, 700)]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"v1.2 2\n\n\n"])
def test_an_idx_that_is_no_text_is_a_data_error(folder: Path, content: bytes) -> None:
    (folder / idx_name(SHARD.name)).write_bytes(content)
    with pytest.raises(DataError, match="cannot be used"):
        read_idx(open_source(folder), SHARD)


def test_a_missing_idx_is_a_data_error(folder: Path) -> None:
    (folder / idx_name(SHARD.name)).unlink()
    with pytest.raises(DataError, match="cannot be used"):
        read_idx(open_source(folder), SHARD)


def test_a_folder_without_an_index_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no index\.json; build it"):
        open_shards(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        open_shards(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.pop("frames"), "damaged: frames"),
        (lambda index: index.update(colour="red"), "damaged: colour"),
        (lambda index: index.update(frames="4"), "damaged: frames"),
        (lambda index: index.update(cadence_s=0), "damaged: cadence_s"),
        (lambda index: index.update(format_version=1), "format version 1, this program reads 2"),
        (lambda index: (index.update(format_version=1), index.pop("pixel")), "format version 1, this program reads 2"),
        (lambda index: index.update(encoding="png"), "names encoding 'png'"),
        (lambda index: index.update(unit="kg/m2"), "names encoding 'dbz8' in 'kg/m2'"),
        (lambda index: index.update(codec="png"), "names codec 'png'; known are lz4, lz4hc, zstd, raw"),
        (lambda index: index["splits"]["train"].update(shards=[]), "has a split without shards"),
        (lambda index: index["splits"]["train"]["shards"][0].update(samples=0), "damaged: .*samples"),
        (lambda index: index["splits"]["train"]["shards"][0].update(name="../x.tar"), "outside the folder"),
        (lambda index: index["splits"]["train"]["shards"][0].update(name="/etc/passwd"), "outside the folder"),
        (lambda index: index["splits"]["train"]["shards"][0].update(sha256="beef"), "damaged: .*sha256"),
    ],
)
def test_a_damaged_index_is_refused_by_name(folder: Path, change: Callable[[Any], object], message: str) -> None:
    index = json.loads(json.dumps(INDEX))
    change(index)
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=message):
        open_shards(folder)


def test_an_index_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "index.json").unlink()
    (folder / "index.json").mkdir()
    with pytest.raises(UserError, match=r"index\.json cannot be read \(Is a directory\)"):
        open_shards(folder)


def test_a_torn_index_is_refused(folder: Path) -> None:
    (folder / "index.json").write_text(json.dumps(INDEX)[:100])
    with pytest.raises(UserError, match="damaged"):
        open_shards(folder)


def test_a_shard_that_is_missing_or_short_is_a_data_error_that_names_it(folder: Path) -> None:
    tar = folder / SHARD.name
    tar.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"train-000000\.tar has 5000 bytes, index\.json says 10240"):
        open_shards(folder)
    tar.unlink()
    with pytest.raises(DataError, match=r"train-000000\.tar is missing"):
        open_shards(folder)
    assert open_shards(folder, whole=False).split("train").samples == 2


def test_a_split_that_is_not_there_names_those_that_are(folder: Path) -> None:
    with pytest.raises(UserError, match="no split 'val'; it has train"):
        open_shards(folder).split("val")
