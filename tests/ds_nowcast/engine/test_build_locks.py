from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

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
    assert (tmp_path / "fused_adam/shm.o").exists()


def test_a_lock_that_a_process_holds_stays(tmp_path: Path) -> None:
    lock = lock_of(tmp_path / "fused_adam")
    with lock.open():
        assert clear_dead_locks(tmp_path) == []
    assert clear_dead_locks(tmp_path) == [lock]


def test_a_lock_beside_which_something_was_written_lately_stays(tmp_path: Path) -> None:
    lock = lock_of(tmp_path / "fused_adam")
    (tmp_path / "fused_adam/new.o").touch()
    assert clear_dead_locks(tmp_path) == []
    assert lock.exists()


def test_no_folder_is_no_lock(tmp_path: Path) -> None:
    assert clear_dead_locks(tmp_path / "none") == []


def test_the_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert extensions_folder() == tmp_path
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    assert extensions_folder() == Path.home() / ".cache/torch_extensions"
