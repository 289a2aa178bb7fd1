"""A folder of files, its twins elsewhere, and a server that fails on demand."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.data_prep.shards.sources.fault_server import FaultServer

TAR = "train/train-000000.tar"
FOLDER = {
    "index.json": b'{"what": "an index"}',
    TAR: random.Random(0).randbytes(300_000),
    "train/train-000000.idx": b"v1.2 1\n",
    "train/train-000001.tar": random.Random(1).randbytes(200_000),
}


def open_below(folder: Path) -> int:
    """Handles that this process holds of files of a folder, deleted ones too."""
    count = 0
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += os.readlink(handle).startswith(f"{folder}/")
    return count


@pytest.fixture(autouse=True)
def _this_machine_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Serves FOLDER below /shards."""
    server = FaultServer()
    server.files = {f"/shards/{name}": content for name, content in FOLDER.items()}
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """FOLDER on the disk."""
    for name, content in FOLDER.items():
        path = tmp_path / "shards" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "shards"
