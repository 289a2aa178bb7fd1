"""A run folder in the hands of one launch: nobody else gets in, and how it failed stays until the next."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from data_prep.errors import UserError
from ds_nowcast.launch.beats import Failure
from ds_nowcast.training.run_folder import LOCK, RunFolder

HOLDS = (  # another launch: only a process of its own shows that its death frees the folder
    "import fcntl, os, sys\n"
    "fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)\n"
    "print('held', flush=True); sys.stdin.read()\n"
)
DIVERGED, LOST = Failure(1, "n1", "the loss is not finite", 4), Failure(0, "n0", "no sign of life", 5)


def described(path: Path) -> Path:
    """A run folder as it is once a launch has begun to train in it."""
    path.mkdir(exist_ok=True)
    (path / "run.json").write_text("{}")
    return path


def begun(path: Path, *, holds: bool = False) -> RunFolder:
    """As a rank has it; rank 0's is locked."""
    folder = RunFolder(path)
    if holds:
        folder.lock()
    folder.begin()
    return folder


def recorded(path: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((path / "failure.json").read_text())
    assert time.time() - float(str(content.pop("time"))) < 60
    return content


# The lock


def test_a_second_launch_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "a/run"), RunFolder(tmp_path / "a/run")
    first.lock()
    first.lock()  # it has it
    for lock in (second.lock, second.lock_if_there):
        with pytest.raises(
            UserError, match=r"another launch is training in .*; wait for its end, or give another --run"
        ):
            lock()


def test_the_end_of_a_process_frees_its_folder_however_it_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", HOLDS, str(tmp_path / LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another launch is training in"):
            RunFolder(tmp_path).lock()
        other.kill()
        other.wait()
        RunFolder(tmp_path).lock()


def test_a_folder_that_is_not_there_is_made_only_where_it_is_needed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "new")
    folder.lock_if_there()
    assert not folder.path.exists()
    folder.lock()
    assert [path.name for path in folder.path.iterdir()] == [LOCK]


def test_a_folder_that_cannot_be_locked_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"run folder .*file/run cannot be used \(Not a directory\); give a folder"):
        RunFolder(tmp_path / "file/run").lock()


def test_what_a_launch_left_of_its_failure_goes_with_the_next_one(tmp_path: Path) -> None:
    described(tmp_path)
    (tmp_path / "failure.json").write_text("{}")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/rank00001.log").touch()
    (tmp_path / "metrics.jsonl").touch()
    RunFolder(tmp_path).lock()
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "metrics.jsonl", "run.json"]


def test_a_launch_that_is_refused_leaves_what_is_there(tmp_path: Path) -> None:
    RunFolder(tmp_path).lock()
    (tmp_path / "failure.json").touch()
    (tmp_path / "logs").mkdir()
    with pytest.raises(UserError, match="another launch"):
        RunFolder(tmp_path).lock()
    assert (tmp_path / "failure.json").exists() and (tmp_path / "logs").is_dir()


# The failure


def test_the_word_of_rank_0_counts(tmp_path: Path) -> None:
    first = begun(described(tmp_path), holds=True)
    assert first.fail(DIVERGED, True) is True
    assert recorded(tmp_path) == asdict(DIVERGED)
    assert first.fail(LOST, True) is True
    assert recorded(tmp_path) == asdict(LOST)


def test_where_rank_0_is_gone_one_of_the_others_records_it_and_knows_so(tmp_path: Path) -> None:
    described(tmp_path)
    others = [begun(tmp_path) for _ in range(8)]
    told = [Failure(0, "n0", f"no sign of life, says {rank}", 5) for rank in range(8)]
    with ThreadPoolExecutor(8) as ranks:
        alone = list(ranks.map(lambda folder, failure: folder.fail(failure, False), others, told))
    assert sorted(map(bool, alone)) == [False] * 7 + [True]
    assert recorded(tmp_path) == asdict(told[alone.index(True)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failure.json", "run.json"], "nothing half-written"


def test_nobody_overrules_rank_0(tmp_path: Path) -> None:
    first, other = begun(described(tmp_path), holds=True), begun(tmp_path)
    first.fail(DIVERGED, True)
    assert other.fail(LOST, False) is False
    assert recorded(tmp_path) == asdict(DIVERGED)


@pytest.mark.parametrize("first", [True, False])
def test_nothing_is_recorded_before_a_launch_has_begun_in_a_run_folder(first: bool, tmp_path: Path) -> None:
    missing = begun(tmp_path / "new")
    thesis = begun(tmp_path)
    another_launchs = RunFolder(described(tmp_path / "run"))  # it was refused before it began
    for folder in (missing, thesis, another_launchs):
        assert folder.fail(DIVERGED, first) is None
        assert not (folder.path / "failure.json").exists()


def test_a_failure_that_cannot_be_recorded_is_no_second_failure(tmp_path: Path) -> None:
    folder = begun(described(tmp_path))
    (tmp_path / "failure.json").mkdir()
    assert folder.fail(DIVERGED, True) is None


@pytest.mark.parametrize("first", [True, False])
def test_a_folder_that_has_gone_meanwhile_is_no_second_failure(
    first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(described(tmp_path / "run"))
    monkeypatch.setattr(Path, "is_file", lambda path: True)  # seen a moment ago
    (tmp_path / "run/run.json").unlink()
    (tmp_path / "run").rmdir()
    assert folder.fail(DIVERGED, first) is None
