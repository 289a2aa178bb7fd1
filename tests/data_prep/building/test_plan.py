from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.errors import RadarFileError
from data_prep.readers import LeftOut, Scan
from data_prep.shards.index import open_shards, read_idx
from tests.data_prep.fake_builds import Command, archive_plan, build_shards
from tests.data_prep.fake_reader import READER, FakeArchive, at


def test_every_sequence_lies_once_in_its_split(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(9)
    shards = build_shards(archive, tmp_path / "out", split_dates="2020-01-06,2020-01-08", samples_per_shard=4)
    keys = {
        name: [key for shard in split.shards for key in read_idx(shards.source, shard).keys]
        for name, split in shards.index.splits.items()
    }
    assert {name: sorted(of) for name, of in keys.items()} == {
        "train": ["E000", "E001", "E002", "E003", "E004"],
        "val": ["E005", "E006"],
        "test": ["E007", "E008"],
    }
    assert [shard.samples for shard in shards.index.splits["train"].shards] == [3, 2]


def test_one_shard_mixes_sequences_from_all_over_the_split(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(40, frames=1)
    shards = build_shards(archive, tmp_path / "out", split="train", samples_per_shard=10)
    shard = shards.index.splits["train"].shards[0]
    numbers = [int(key[1:]) for key in read_idx(shards.source, shard).keys]
    assert len(numbers) == 10 and np.ptp(numbers) > 20 and numbers != sorted(numbers)


def test_another_seed_deals_otherwise(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(6)
    first, second = (build_shards(archive, tmp_path / str(seed), split="train", seed=seed) for seed in (0, 1))
    assert first.index.splits["train"].shards != second.index.splits["train"].shards


def test_a_dry_run_tells_sizes_and_writes_nothing(archive: FakeArchive, command: Command, tmp_path: Path) -> None:
    archive.add_events(5)
    code, text = command("--dry-run", "--samples-per-shard", "2")
    assert code == 0 and text.split()[:4] == ["split", "sequences", "samples", "at"]
    assert ["train", "5", "5", "4.32", "kB", "5"] in [line.split()[:6] for line in text.splitlines()]
    assert not (tmp_path / "out").exists()


def test_an_archive_without_customary_dates_needs_a_split(archive: FakeArchive, command: Command) -> None:
    archive.add_events(2)
    code, text = command(split=())
    assert code == 2 and "give --split-dates VAL,TEST" in text and "--split NAME" in text


def test_customary_dates_are_the_default(
    archive: FakeArchive, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(3)
    monkeypatch.setattr(READER, "split_dates", ("2020-01-02", "2020-01-03"))
    assert command(split=())[0] == 0
    splits = open_shards(tmp_path / "out").index.splits
    assert {name: split.samples for name, split in splits.items()} == {"train": 1, "val": 1, "test": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--crop", "13"), "crop=13 is larger than the 12 x 12 pixels of a frame; give 12 or less"),
        (("--frames", "7"), "frames=7 is longer than the 6 frames of an event"),
        (("--encoding", "vil255"), "encoding vil255 cannot hold the mm/h of"),
        (("--split", "a/b"), "split name 'a/b' cannot be used"),
    ],
)
def test_options_that_do_not_fit_the_archive_are_refused(
    archive: FakeArchive, command: Command, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    archive.add_events(2)
    code, text = command(*options)
    assert code == 2 and message in text and not (tmp_path / "out").exists()


def test_a_sequence_over_a_boundary_is_in_no_split(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_run(range(12))
    dates = "2020-01-01T00:20,2020-01-01T00:40"  # frames 4 and 8
    shards = build_shards(archive, tmp_path / "out", split_dates=dates, frames=3)
    counts = {name: split.samples for name, split in shards.index.splits.items()}
    assert counts == {"train": 1, "val": 1, "test": 1}
    assert shards.index.left_out == {"crosses a split boundary": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"crop": 8},
        {"seed": 1},
        {"codec": "zstd"},
        {"codec": "lz4hc"},
        {"samples_per_shard": 2},
        {"min_wet": 0.1},
        {"max_missing": 0.5},
        {"split": "val"},
        {"frames": 3},
    ],
    ids=str,
)
def test_the_hash_changes_with_every_option_that_changes_the_bytes(
    archive: FakeArchive, tmp_path: Path, change: dict[str, Any]
) -> None:
    archive.add_events(3)
    usual: dict[str, Any] = {"split": "train"}
    assert archive_plan(archive, tmp_path, **usual).hash == archive_plan(archive, tmp_path / "x", **usual).hash
    assert archive_plan(archive, tmp_path, **usual).hash != archive_plan(archive, tmp_path, **{**usual, **change}).hash


def test_the_hash_changes_with_the_archive(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(3)
    before = archive_plan(archive, tmp_path, split="train").hash
    archive.add("new.npy", [at(5000 + step) for step in range(6)], "NEW")
    assert archive_plan(archive, tmp_path, split="train").hash != before


@pytest.mark.parametrize("found", ["rain", "grid"])
def test_the_hash_changes_with_what_frames_are_found_to_be_like(
    archive: FakeArchive, tmp_path: Path, command: Command, found: str
) -> None:
    """The listing does not show it, and parts that derive it otherwise would not fit together."""
    drizzle = np.full((6, 12, 12), 0.01, np.float32)
    for number in range(4):
        archive.add(f"{number}.npy", [at(288 * number + step) for step in range(6)], f"E{number}", drizzle)
    options = ("--tile", "4", "--importance", "1", "--samples-per-shard", "2")
    assert command(*options, "--part", "0/2")[0] == 0
    for number in range(4):
        np.save(archive.folder / f"{number}.npy", drizzle + 9 if found == "rain" else drizzle.reshape(6, 9, 16))
    code, text = command(*options, "--part", "1/2")
    assert code == 2 and "was begun from other files or with other settings" in text


def test_a_strict_plan_refuses_what_the_reader_could_not_list(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(2)
    scan = READER.scan([str(archive.folder)])
    monkeypatch.setattr(
        READER, "scan", lambda *asked: replace(scan, left_out=[LeftOut("bad.h5", "unreadable", "torn")])
    )
    assert archive_plan(archive, tmp_path, split="train").left_out.examples == [("bad.h5", "unreadable", "torn")]
    with pytest.raises(RadarFileError, match=r"bad\.h5: torn"):
        archive_plan(archive, tmp_path, strict=True, split="train")


def test_what_the_catalog_calls_incomplete_is_left_out_unless_a_limit_is_given(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(3)
    scan = READER.scan

    def marked(sources: Any, *asked: Any) -> Scan:
        found = scan(sources)
        return replace(
            found, recordings=[replace(one, incomplete="holes" * (one.event == "E001")) for one in found.recordings]
        )

    monkeypatch.setattr(READER, "scan", marked)
    plan = archive_plan(archive, tmp_path / "out", split="train")
    assert [example[:2] for example in plan.left_out.examples] == [("E001", "holes")]
    assert sum(len(task.sequences) for task in plan.tasks) == 2
    plan = archive_plan(archive, tmp_path / "out", split="train", max_missing=0.9)
    assert not plan.left_out.counts
    assert sum(len(task.sequences) for task in plan.tasks) == 3
