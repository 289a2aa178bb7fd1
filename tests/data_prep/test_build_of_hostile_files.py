"""Builds of an archive in which files are damaged, made to do harm, or kill who reads them: named, left out, the rest is built."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import tarfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from data_prep import readers
from data_prep.__main__ import COMMANDS
from data_prep.console import main
from data_prep.shards.index import open_shards
from data_prep.verify import faults
from data_prep.workers import Limits, Workers
from tests.data_prep.fake_builds import hashes
from tests.data_prep.mortal_reader import MODULE
from tests.hostile.bombs import knmi_bombs
from tests.hostile.specimens import knmi

NOON = datetime(2010, 8, 26, 12)
LIMITS = Limits(memory_bytes=700 << 20, read_s=3.0)
# by frame: what is wrong with its file; in runs of 4 frames each spoils one
KILLERS = {5: "list-crash", 9: "list-hang", 13: "list-fill", 17: "read-crash", 21: "read-hang", 25: "read-fill"}


@pytest.fixture(autouse=True)
def _the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(readers.READERS, "mortal", MODULE)
    monkeypatch.setattr("data_prep.build.Workers", lambda count: Workers(count, LIMITS))


def sound(number: int) -> bytes:
    return knmi(NOON + timedelta(minutes=5 * number))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 frames of which the killers are some."""
    (tmp_path / "archive").mkdir()
    for number in range(40):
        name = f"{KILLERS.get(number, 'frame')}-{number:02d}.h5"
        (tmp_path / "archive" / name).write_bytes(sound(number))
    return tmp_path / "archive"


def build(folder: Path, out: Path, *more: str) -> int:
    words = ["build", "--format", "mortal", "--source", str(folder), "--out", str(out), "--split", "train"]
    return main("data_prep", "", COMMANDS, [*words, "--frames", "4", "--samples-per-shard", "2", *more])


def add_damaged(folder: Path) -> list[str]:
    """Files of every kind that is no sound one; gives their names as messages have them."""
    content = sound(100)
    files = {
        "cut-off.h5": content[:1000],
        "cut-off.h5.gz": gzip.compress(content)[:-100],
        "zeros.h5": content[:512] + bytes(len(content) - 512),
        "empty.h5": b"",
        "text.h5": b"no radar data\n" * 100,
        "bad.tar": b"\0" * 300,
        "odd\n\x1b[31mname.h5": b"x",
        "not-utf8-\udcff.h5": b"x",
    }
    small = ("gigabyte.h5.gz", "pax-of-a-gigabyte.tar", "chunk-of-a-gigabyte.h5", "links.tar", "slow-formula.h5")
    files |= {one.name: one.content for one in knmi_bombs() if one.name in small}
    for name, some in files.items():
        (folder / name).write_bytes(some)
    os.mkfifo(folder / "pipe.h5")
    (folder / "nowhere.h5").symlink_to("/nowhere")
    (folder / "endless.h5").symlink_to("/dev/zero")
    names = [*files, "pipe.h5", "nowhere.h5", "endless.h5"]
    names.remove("chunk-of-a-gigabyte.h5")  # its header is sound, its frame is in no sequence: nobody reads it
    return [name.encode("unicode_escape", "surrogatepass").decode() for name in names]


@pytest.mark.hosts
def test_each_bad_file_is_named_and_all_else_is_built_with_any_number_of_workers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = add_damaged(folder)
    with tarfile.open(folder / "day.tar", "w") as day:  # of its files too each stands for itself
        for number in (40, 41, 42, 43):
            item = tarfile.TarInfo(f"{'list-crash' if number == 42 else 'frame'}-{number}.h5")
            item.size = len(sound(number))
            day.addfile(item, io.BytesIO(sound(number)))
    for workers in ("1", "2"):
        assert build(folder, tmp_path / workers, "--workers", workers) == 0
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        lines = [line for line in said.out.splitlines() if "archive/" in line]
        missing = [
            name
            for name in [*damaged, *(f"{what}-{at:02d}.h5" for at, what in KILLERS.items()), "day.tar/list-crash-42.h5"]
            if not any(name in line for line in lines)
        ]
        assert missing == []
        assert said.out.count("its reader died (signal 11, Segmentation fault)") == 3
        assert said.out.count("its reader died (it took more than 3 s)") == 2
        assert said.out.count("it takes more memory than there is") == 2
    shards = open_shards(tmp_path / "1")
    # three of the ten runs of 4 fall to the listing, three of those of the rest to the reading
    assert shards.index.splits["train"].samples >= 4 and list(faults(shards)) == []
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")
    assert not multiprocessing.active_children()


@pytest.mark.hosts
@pytest.mark.parametrize("killer", ["list-crash", "read-crash"])
def test_a_strict_build_stops_at_a_file_that_kills_its_reader(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], killer: str
) -> None:
    for path in folder.iterdir():
        if not path.name.startswith(("frame", killer)):
            path.rename(path.with_name(f"frame-{path.name[-5:]}"))
    assert build(folder, tmp_path / "out", "--strict", "--workers", "2") == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1 and f"{killer}-" in said and "its reader died (signal 11" in said
    assert "Traceback" not in said and not (tmp_path / "out/index.json").exists()
    assert not multiprocessing.active_children()
    assert build(folder, tmp_path / "out", "--workers", "2") == 0
