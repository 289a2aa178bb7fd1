from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep import readers
from data_prep.__main__ import COMMANDS
from data_prep.console import main
from data_prep.encoding import ENCODINGS
from data_prep.inspection.show import code_bar
from data_prep.shards.index import Shards, open_shards
from data_prep.workers import InProcess, WorkerDiedError
from tests.data_prep import fake_files
from tests.data_prep.fake_builds import build_shards, hashes
from tests.data_prep.fake_files import add_file
from tests.data_prep.fake_reader import MODULE, FakeArchive

pytestmark = pytest.mark.slow

Inspect = Callable[..., tuple[int, str, str]]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    archive = FakeArchive(folder / "archive")
    archive.add_events(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(readers.READERS, "fake", MODULE)
        return build_shards(archive, folder / "out", split_dates="2020-01-03,2020-01-04", importance=1.9).folder


@pytest.fixture
def shards(built: Path, tmp_path: Path) -> Shards:
    return open_shards(shutil.copytree(built, tmp_path / "out"))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight frames of the format "fakefiles", with a gap."""
    monkeypatch.setitem(readers.READERS, "fakefiles", fake_files.MODULE)
    for step in (0, 1, 2, 3, 8, 9, 10, 11):
        add_file(tmp_path / "files", step, value=float(step))
    return tmp_path / "files"


@pytest.fixture
def inspect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inspect:
    """Runs the command in this process: exit code, stdout, stderr."""
    monkeypatch.setattr("data_prep.inspect.Workers", lambda count: InProcess())

    def run(*words: object) -> tuple[int, str, str]:
        code = main("data_prep", "", COMMANDS, ["inspect", *map(str, words)])
        return code, *capsys.readouterr()

    return run


def test_of_shards_the_tables_say_what_the_index_and_the_samples_say(shards: Shards, inspect: Inspect) -> None:
    before = hashes(shards.folder)
    code, out, _ = inspect(shards.folder)
    rows = [line.split() for line in out.splitlines()]
    assert code == 0 and ["archive", "fake,", "mm/h,", "every", "300", "s"] in rows
    assert "6 frames of 12 x 12 pixels of 1000 x 1000 m" in " ".join(rows[1])
    counts = {name: str(split.samples) for name, split in shards.index.splits.items()}
    by_split = [row for row in rows if row and row[0] in counts]
    assert [row[:3] for row in by_split[: len(counts)]] == [[name, count, "1"] for name, count in counts.items()]
    train = shards.split("train")
    assert ["train", train.first_time[:16], train.last_time[:16]] in rows
    assert any(row[:2] == ["train", f"{train.statistics.values['mm/h'].mean:.4g}"] for row in rows)
    assert "train: kept with a probability of 0." in out and "guard" in out
    assert hashes(shards.folder) == before


def test_of_an_archive_the_table_says_what_when_where_and_what_is_missing(files: Path, inspect: Inspect) -> None:
    pytest.importorskip("pyproj")
    code, out, _ = inspect(files)
    rows = [line.split() for line in out.splitlines()]
    assert code == 0 and rows[0][:3] == ["archive", "fakefiles", "(found"]
    assert ["product", "rain,", "mm/h,", "every", "300", "s"] in rows
    assert ["runs", "2", "without", "a", "gap,", "the", "longest", "of", "4", "frames"] in rows
    assert "700 x 8 pixels of 1000 x 1000 m" in out and "north-west 10.000 50.000" in out
    assert "10.00% without data" in out and "1 gap in time, 4 frames missing" in out


def test_with_json_both_print_one_object(shards: Shards, files: Path, inspect: Inspect) -> None:
    for path, kind in ((shards.folder, "shards"), (files, "archive")):
        code, out, err = inspect(path, "--json")
        assert (code, err) == (0, "") and json.loads(out)["kind"] == kind


def test_pictures_and_maps_are_written_only_where_they_are_asked_for(
    shards: Shards, files: Path, inspect: Inspect, tmp_path: Path
) -> None:
    for library in ("matplotlib", "pyproj"):
        pytest.importorskip(library)
    for name, path in (("s", shards.folder), ("a", files)):
        picture, where = tmp_path / f"{name}.png", tmp_path / f"{name}.map.png"
        assert inspect(path, "--quiet", "--picture", picture, "--map", where) == (0, "", "")
        assert picture.read_bytes()[:8] == where.read_bytes()[:8] == PNG


def test_without_pyproj_all_is_said_and_drawn_but_the_place(
    files: Path, shards: Shards, inspect: Inspect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    from data_prep import projection
    from data_prep.pictures import maps

    for cached in (projection._crs, projection._from_lonlat, maps.map_lines):
        cached.cache_clear()
    monkeypatch.setitem(sys.modules, "pyproj", None)
    for name, path in (("a", files), ("s", shards.folder)):
        code, out, _ = inspect(path, "--picture", tmp_path / f"{name}.png")
        assert code == 0 and "where" in out and "[geo]" in out and (tmp_path / f"{name}.png").is_file()
    code, out, err = inspect(files, "--map", tmp_path / "map.png")
    assert code == 2 and "product" in out and "ds-nowcast[geo]" in err
    maps.map_lines.cache_clear()


def test_without_matplotlib_all_is_said_before_the_extra_is_named(
    files: Path, inspect: Inspect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out, err = inspect(files, "--picture", tmp_path / "p.png")
    assert code == 2 and "8 frames in 8 files" in out and "ds-nowcast[pictures]" in err


def test_what_cannot_be_done_is_refused(shards: Shards, files: Path, inspect: Inspect, tmp_path: Path) -> None:
    for words, message in (
        ((shards.folder, "--picture", tmp_path / "none/p.png"), "is not a folder"),
        ((shards.folder, "--picture", tmp_path), "is a folder; give the name of the file"),
        ((files, "--map", tmp_path / "none/p.png"), "is not a folder"),
        ((shards.folder, "--picture", tmp_path / "p.jpg"), "give a name that ends in .png"),
        ((shards.folder, "--format", "knmi"), "is a shards folder; leave --format knmi out"),
        ((shards.folder, shards.folder), "is a shards folder; inspect it alone"),
        ((files, shards.folder), "is a shards folder; inspect it alone"),
        ((shards.folder, "--split", "holdout"), "it has train, "),
        ((shards.folder, "--product", "rain"), "leave --product out"),
        ((files, "--split", "train"), "--split is of shards"),
        ((files, "--product", "snow"), "hold no product 'snow'"),
        ((tmp_path / "nowhere",), "does not exist"),
        ((tmp_path / "*.none",), "does not exist"),
        (("nowhere://bucket/a.zarr",), "is not a place that shards can be read from"),
        (("nowhere://bucket/a.zarr", "--format", "fakefiles"), "nowhere://bucket/a.zarr"),
        ((files, "--format", "knmi"), "holds no file like"),
    ):
        code, _, err = inspect(*words)
        assert code == 2 and message in err and "Traceback" not in err


def test_a_full_disk_ends_with_3(
    shards: Shards, inspect: Inspect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("data_prep.pictures.pictures.write_atomically", full)
    monkeypatch.setattr("data_prep.pictures.where.write_atomically", full)
    for option in ("--picture", "--map"):
        code, _, err = inspect(shards.folder, option, tmp_path / "p.png")
        assert code == 3 and err.startswith(f"error: {tmp_path / 'p.png'} cannot be written: No space left on device")


def test_a_worker_that_is_killed_ends_with_3(files: Path, inspect: Inspect, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise WorkerDiedError(0, "signal 9, Killed")

    monkeypatch.setattr("data_prep.inspect.look_at_archive", killed)
    code, _, err = inspect(files)
    assert code == 3 and "a worker died while" in err and "signal 9, Killed" in err


def test_a_build_that_is_not_finished_is_called_so(tmp_path: Path, inspect: Inspect) -> None:
    (tmp_path / "half/.build").mkdir(parents=True)
    code, _, err = inspect(tmp_path / "half")
    assert code == 2 and "is not finished; run its build again" in err


def test_the_bar_grows_with_each_factor_of_ten_and_shows_the_rarest_code() -> None:
    counts = np.zeros(256, int)
    counts[[0, 100, 254]] = 10**6, 10**3, 1
    counts[255] = 10**9  # no data is not shown
    bar = code_bar(counts.tolist(), ENCODINGS["dbz8"])
    assert len(bar) == 32 and bar[0] == "█" and bar[12] == "▅" and bar[31] == "▂" and bar.count(" ") == 29
