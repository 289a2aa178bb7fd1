from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from data_prep.files import is_inside, sha256_of, write_atomically


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("fsync") or fsync(fd))  # type: ignore[func-returns-value]
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("replace") or replace(*names))  # type: ignore[func-returns-value]
    write_atomically(tmp_path / "f", b"x")
    assert calls == ["fsync", "replace"]


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(b"x" * 3_000_000).hexdigest()


@pytest.mark.parametrize("name", ["a", "a/b.tar", "a/./b", "..a/b", "vil/2018/x.h5"])
def test_a_plain_relative_name_is_inside(name: str) -> None:
    assert is_inside(name)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "a/../../b", "a\\..\\b", "C:/x", "http://x/y", "pipe:rm"])
def test_a_name_that_leads_elsewhere_is_not_inside(name: str) -> None:
    assert not is_inside(name)
