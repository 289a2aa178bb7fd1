from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import webdataset

from data_prep.errors import DataError
from data_prep.shards.index import Shards, open_shards
from data_prep.shards.stored import read_sample
from tests.data_prep.fake_builds import build_shards
from tests.data_prep.fake_reader import FakeArchive


@pytest.fixture
def shards(archive: FakeArchive, tmp_path: Path) -> Shards:
    archive.add_events(5)
    return build_shards(archive, tmp_path / "out", split="train", samples_per_shard=3)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its file open
def test_plain_webdataset_reads_a_shard_in_five_lines(shards: Shards) -> None:
    url, seen = str(shards.folder / "train/train-000000.tar"), {}
    for sample in webdataset.WebDataset(url, shardshuffle=False):
        meta = json.loads(sample["json"])
        raw = lz4.frame.open(io.BytesIO(sample["frames.lz4"])).read()
        codes_THW = np.frombuffer(raw, meta["frames"]["dtype"]).reshape(meta["frames"]["shape"])
        seen[sample["__key__"]] = codes_THW
    assert len(seen) == 3
    for number in range(3):
        meta, codes_THW = read_sample(shards, "train", number)
        np.testing.assert_array_equal(seen[meta["key"]], codes_THW)


def test_samples_are_numbered_through_the_shards(shards: Shards) -> None:
    keys = [read_sample(shards, "train", number)[0]["key"] for number in range(5)]
    assert sorted(keys) == ["E000", "E001", "E002", "E003", "E004"]
    with pytest.raises(IndexError):
        read_sample(shards, "train", 5)


def test_a_damaged_sample_is_an_error_that_names_it(shards: Shards) -> None:
    tar = shards.folder / "train/train-000000.tar"
    content = bytearray(tar.read_bytes())
    content[520] ^= 255  # in the first sample's first chunk
    tar.write_bytes(content)
    with tarfile.open(tar) as members:
        key = members.getnames()[0].split(".")[0]
    with pytest.raises(DataError, match=f"train-000000.tar: sample {key}"):
        read_sample(open_shards(shards.folder), "train", 0)
