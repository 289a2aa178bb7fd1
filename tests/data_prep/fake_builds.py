"""Plans and builds of a fake archive with everything but the options in question left at its default."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_prep.build import build
from data_prep.building.layout import Cutting
from data_prep.building.options import Options
from data_prep.building.plan import Plan, make_plan
from data_prep.shards.index import Shards, ShardsIndex, open_shards
from data_prep.workers import InProcess, Workers
from tests.data_prep.fake_reader import FakeArchive

Command = Callable[..., tuple[int, str]]


def archive_plan(
    archive: FakeArchive, out: Path, strict: bool = False, earlier: ShardsIndex | None = None, **options: Any
) -> Plan:
    """The plan for the whole archive. options: of Options, and those of Cutting."""
    cutting = Cutting(
        **{name: options.pop(name) for name in ("crop", "tile", "overlap", "to_pixel") if name in options}
    )
    given = {"format": "fake", "sources": (str(archive.folder),), "cutting": cutting, **options}
    return make_plan(Options(**given), out, strict, earlier=earlier)


def build_shards(archive: FakeArchive, out: Path, workers: int = 0, **options: Any) -> Shards:
    """The archive's shards, built and opened. workers: 0 for none, all in this process."""
    plan = archive_plan(archive, out, **options)
    with Workers(workers) if workers else InProcess() as pool:
        build(plan, out, pool)
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


def killed_at_rename(number: int, work: Callable[[], object], *, before: bool = False) -> bool:
    """Whether `work`, in a child process, came to its rename of that number (from 1), right after or before which it is killed."""
    replace, count = os.replace, 0

    def replace_or_die(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == number and before:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def work_until() -> None:
        os.replace = replace_or_die  # type: ignore[assignment]
        work()

    return in_a_fork(work_until) == signal.SIGKILL
