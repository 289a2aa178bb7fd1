from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.__main__ import COMMANDS
from data_prep.console import main
from data_prep.inspect import code_bar
from data_prep.shards.index import Shards
from tests.data_prep.fake_builds import build_shards, hashes
from tests.data_prep.fake_reader import FakeArchive


@pytest.fixture
def shards(archive: FakeArchive, tmp_path: Path) -> Shards:
    archive.add_events(5)
    return build_shards(archive, tmp_path / "out", split_dates="2020-01-03,2020-01-04")


def inspect(shards: Shards, *options: str) -> int:
    return main("data_prep", "", COMMANDS, ["inspect", str(shards.folder), *options])


def test_the_table_says_what_the_index_says(shards: Shards, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashes(shards.folder)
    assert inspect(shards) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["archive", "fake,", "mm/h,", "every", "300", "s"] in rows
    assert "6 frames of 12 x 12 pixels of 1000 x 1000 m" in " ".join(rows[1])
    by_split = [row for row in rows if row[0] in shards.index.splits]
    assert [row[:3] for row in by_split[:3]] == [["train", "2", "1"], ["val", "1", "1"], ["test", "2", "1"]]
    assert by_split[4][:3] == ["val", "2020-01-03T00:00", "2020-01-03T00:25"]
    assert hashes(shards.folder) == before


def test_a_picture_is_written_only_where_it_is_asked_for(shards: Shards, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert inspect(shards, "--picture", str(tmp_path / "p.png"), "--quiet") == 0
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_picture_in_no_folder_or_of_no_split_is_refused(
    shards: Shards, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(shards, "--picture", str(tmp_path / "none/p.png")) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert inspect(shards, "--picture", str(tmp_path / "p.png"), "--split", "holdout") == 2
    assert "it has train, val, test" in capsys.readouterr().err


def test_the_bar_grows_with_each_factor_of_ten_and_shows_the_rarest_code(shards: Shards) -> None:
    counts = np.zeros(256, int)
    counts[[0, 100, 254]] = 10**6, 10**3, 1
    counts[255] = 10**9  # no data is not shown
    split = shards.index.splits["train"].model_copy(update={"code_counts": counts.tolist()})
    bar = code_bar(shards, split)
    assert len(bar) == 32 and bar[0] == "█" and bar[12] == "▅" and bar[31] == "▂" and bar.count(" ") == 29
