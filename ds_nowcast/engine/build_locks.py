"""Locks of operators that were being compiled when their compiler was killed: torch waits for them for ever.

DeepSpeed compiles operators for CPUs at their first use, in a folder of torch's (`torch.utils.cpp_extension`), beside a file
`lock` that whoever compiles holds open and removes at the end. One that was killed leaves it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

QUIET_S = 120  # a compiler on another host, whose open files cannot be seen here, writes something within this time


def clear_dead_locks(root: Path | None = None, quiet_s: float = QUIET_S) -> list[Path]:
    """Removes the locks that nobody holds any more; returns them. root: torch's folder of compiled operators."""
    locks = [lock for lock in _locks(root or extensions_folder()) if _silent_for(lock.parent) > quiet_s]
    held = _open_files() if locks else set()
    dead = [lock for lock in locks if str(lock) not in held]
    for lock in dead:
        lock.unlink(missing_ok=True)
    return dead


def extensions_folder() -> Path:
    """Where torch compiles operators."""
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache/torch_extensions").resolve()


def _locks(root: Path) -> list[Path]:
    return [*root.glob("*/lock"), *root.glob("*/*/lock")]


def _silent_for(folder: Path) -> float:
    """Seconds since anything in a folder changed."""
    changed = [0.0]
    for path in [folder, *folder.iterdir()]:
        with suppress(OSError):  # a compiler's temporary file
            changed.append(path.stat().st_mtime)
    return time.time() - max(changed)


def _open_files() -> set[str]:
    """Paths of all files open in this host's processes, as far as this user may see."""
    return set(_links())


def _links() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for link in (process / "fd").iterdir():
                with suppress(OSError):
                    yield os.readlink(link)
