from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.cpp_extension import get_default_build_root

from ds_nowcast.engine import build_locks
from ds_nowcast.engine.build_locks import clear_dead_locks, extensions_folder


def lock_of(operator: Path, age_s: float = 1000.0) -> Path:
    """A lock beside a half-compiled operator, in which nothing has changed for some time."""
    operator.mkdir(parents=True)
    for name in ("lock", "shm.o"):
        (operator / name).touch()
    for path in (operator / "lock", operator / "shm.o", operator):
        os.utime(path, (time.time() - age_s,) * 2)
    return operator / "lock"


def test_a_lock_that_nobody_holds_goes_wherever_torch_puts_it(tmp_path: Path) -> None:
    plain, default = lock_of(tmp_path / "fused_adam"), lock_of(tmp_path / "py311_cpu/deepspeed_shm_comm")
    assert clear_dead_locks(tmp_path) == [plain, default]
    assert not plain.exists() and not default.exists()
    assert [path.name for path in (tmp_path / "fused_adam").iterdir()] == ["shm.o"]


def test_a_lock_that_a_process_holds_stays(tmp_path: Path) -> None:
    lock = lock_of(tmp_path / "fused_adam")
    with lock.open():
        assert clear_dead_locks(tmp_path) == []
    assert clear_dead_locks(tmp_path) == [lock]


def test_a_lock_in_whose_folder_a_process_works_stays(tmp_path: Path) -> None:
    lock = lock_of(tmp_path / "fused_adam")
    waiting = subprocess.Popen([sys.executable, "-c", "input()"], cwd=lock.parent, stdin=subprocess.PIPE)
    try:
        assert clear_dead_locks(tmp_path) == []
    finally:
        waiting.communicate()
    assert lock.exists()


def test_a_lock_beside_which_something_was_written_lately_stays(tmp_path: Path) -> None:
    lock = lock_of(tmp_path / "fused_adam")
    (tmp_path / "fused_adam/new.o").touch()
    assert clear_dead_locks(tmp_path) == []
    assert lock.exists()


def test_on_a_disk_of_other_hosts_it_stays_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_locks, "_is_of_other_hosts_too", lambda path: True)
    lock = lock_of(tmp_path / "fused_adam")
    assert clear_dead_locks(tmp_path) == []
    old = lock_of(tmp_path / "cpu_adam", age_s=4000.0)
    assert clear_dead_locks(tmp_path) == [old]
    assert lock.exists()


def test_what_cannot_be_looked_at_stays_and_nothing_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_of(tmp_path / "fused_adam")

    def refuse(path: Path) -> float:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(build_locks, "_silent_for", refuse)
    assert clear_dead_locks(tmp_path) == []
    assert lock.exists()


def test_no_folder_is_no_lock(tmp_path: Path) -> None:
    assert clear_dead_locks(tmp_path / "none") == []


def test_this_machines_own_disk_is_known_as_such(tmp_path: Path) -> None:
    assert not build_locks._is_of_other_hosts_too(tmp_path / "lock")


def test_the_folder_is_torchs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert extensions_folder() == tmp_path
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    assert extensions_folder() == Path(get_default_build_root())
