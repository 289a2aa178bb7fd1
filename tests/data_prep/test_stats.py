from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep import readers
from data_prep.__main__ import COMMANDS
from data_prep.console import main
from data_prep.shards.index import Shards, open_shards
from data_prep.shards.statistics import statistics_of
from data_prep.shards.tally import CodeTally
from data_prep.stats import count_all
from data_prep.verify import faults
from data_prep.workers import InProcess, Workers
from tests.data_prep.fake_builds import build_shards, hashes
from tests.data_prep.fake_reader import MODULE, FakeArchive

Result = tuple[int, str, str]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    archive = FakeArchive(folder / "archive")
    archive.add_events(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(readers.READERS, "fake", MODULE)
        dates = "2020-01-03,2020-01-04"
        return build_shards(archive, folder / "out", split_dates=dates, samples_per_shard=1).folder


@pytest.fixture
def shards(sound: Path, tmp_path: Path) -> Shards:
    """Two events in train, one in val, two in test."""
    return open_shards(shutil.copytree(sound, tmp_path / "out"))


@pytest.fixture
def stats(shards: Shards, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs the command in this process: exit code, stdout, stderr."""
    monkeypatch.setattr("data_prep.stats.Workers", lambda count: InProcess())

    def run(*options: str) -> Result:
        code = main("data_prep", "", COMMANDS, ["stats", str(shards.folder), *options])
        return code, *capsys.readouterr()

    return run


def edit(shards: Shards, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((shards.folder / "index.json").read_text())
    change(index["splits"]["train"])
    (shards.folder / "index.json").write_text(json.dumps(index))


def test_what_the_build_wrote_is_what_is_counted_again_and_stays_byte_for_byte(
    shards: Shards, stats: Callable[..., Result]
) -> None:
    before = hashes(shards.folder)
    for options in ((), ("--from-counts",)):
        code, out, _ = stats(*options)
        assert code == 0 and "nothing is written" in out
    assert hashes(shards.folder) == before


def test_the_table_has_a_line_for_each_split_and_unit(shards: Shards, stats: Callable[..., Result]) -> None:
    rows = [line.split() for line in stats("--from-counts")[1].splitlines()]
    by_unit = {
        row[0]: rows[place + 1 : place + 4]
        for place, row in enumerate(rows)
        if row[0] in ("mm/h", "dBZ") and row[1] == "mean"
    }
    train = shards.split("train").statistics
    assert set(by_unit) == {"mm/h", "dBZ"}
    for unit, lines in by_unit.items():
        assert [line[0] for line in lines] == ["train", "val", "test"]
        assert lines[0][1] == f"{train.values[unit].mean:.4g}" and lines[0][-1] == f"{train.values[unit].max:.4g}"
    reached = next(rows[place + 1] for place, row in enumerate(rows) if row[:2] == ["mm/h", "≥"])
    assert reached == ["train", *(f"{100 * share:.3g}%" for share in train.at_or_above["mm/h"].values())]


def test_changed_statistics_are_mended_with_a_warning(shards: Shards, stats: Callable[..., Result]) -> None:
    before = hashes(shards.folder)
    edit(shards, lambda split: split["statistics"].update(wet_share=0.9))
    code, out, _ = stats("--from-counts", "--quiet")
    assert code == 0 and "index.json has changed: statistics of train." in out and "refuse to resume" in out
    assert hashes(shards.folder) == before


def test_changed_counts_are_mended_only_by_counting(shards: Shards, stats: Callable[..., Result]) -> None:
    before = hashes(shards.folder)
    edit(shards, lambda split: split["code_counts"].__setitem__(0, split["code_counts"][0] + 7))
    stats("--from-counts")
    assert "train: the index's code counts are not those of its sequences" in faults(open_shards(shards.folder))
    assert "code counts of train, statistics of train" in stats()[1]
    assert hashes(shards.folder) == before


def test_workers_count_what_one_process_counts(shards: Shards) -> None:
    with Workers(2) as pool:
        assert count_all(shards, pool) == count_all(shards, InProcess())
    for split in shards.index.splits.values():
        assert split.statistics == statistics_of(split.tally, shards.index.codes)


def test_a_damaged_sample_ends_with_3_and_changes_nothing(shards: Shards, stats: Callable[..., Result]) -> None:
    edit(shards, lambda split: split["statistics"].update(wet_share=0.9))
    tar = shards.folder / shards.split("train").shards[0].name
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    before = hashes(shards.folder)
    code, _, err = stats()
    assert code == 3 and "train/train-000000.tar: sample E" in err
    assert hashes(shards.folder) == before


def test_a_folder_that_is_being_added_to_is_not_written(shards: Shards, stats: Callable[..., Result]) -> None:
    edit(shards, lambda split: split["statistics"].update(wet_share=0.9))
    (shards.folder / ".build").mkdir()
    code, _, err = stats()
    assert code == 2 and "is being added to" in err


def test_what_a_build_has_added_meanwhile_stays(
    shards: Shards, stats: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(shards, lambda split: split["statistics"].update(wet_share=0.9))

    def count_while_it_changes(*asked: Any) -> dict[str, CodeTally]:
        edit(shards, lambda split: split.update(last_time="2021-01-01T00:00:00Z"))
        return count_all(*asked)

    monkeypatch.setattr("data_prep.stats.count_all", count_while_it_changes)
    code, _, err = stats()
    assert code == 2 and "has changed since it was read, so that nothing is written; run the same again" in err
    assert open_shards(shards.folder).split("train").last_time == "2021-01-01T00:00:00Z"


def test_a_full_disk_leaves_the_index_as_it_was(
    shards: Shards, stats: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(shards, lambda split: split["statistics"].update(wet_share=0.9))
    before = hashes(shards.folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = stats()
    assert code == 3 and "cannot be written (No space left on device)" in err
    assert hashes(shards.folder) == before
