"""Plans and builds of a fake archive with everything but the options in question left at its default."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_prep.build import build
from data_prep.building.plan import Options, Plan, make_plan
from data_prep.shards.index import Shards, open_shards
from tests.data_prep.fake_reader import FakeArchive

Command = Callable[..., tuple[int, str]]
DEFAULTS: dict[str, Any] = dict.fromkeys(("product", "split_dates", "split", "frames", "stride", "crop", "encoding")) | {
    "format": "fake", "min_wet": 0.0, "max_missing": None, "samples_per_shard": 32, "seed": 0,
}  # fmt: skip


def archive_plan(archive: FakeArchive, out: Path, strict: bool = False, **options: Any) -> Plan:
    """The plan for the whole archive."""
    return make_plan(Options(**{**DEFAULTS, "sources": (str(archive.folder),), **options}), out, strict)


def build_shards(archive: FakeArchive, out: Path, workers: int = 1, **options: Any) -> Shards:
    """The archive's shards, built and opened."""
    build(archive_plan(archive, out, **options), out, workers)
    return open_shards(out)


def hashes(folder: Path) -> dict[str, str]:
    """The hash of every file in a folder, hidden ones included."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def in_a_fork(work: Callable[[], object]) -> int:
    """The wait status of a child process that does `work`."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]
