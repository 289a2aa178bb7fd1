"""Whether hosts share a disk: what one of them leaves there, others look for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_SEEN_WITHIN_S = 10.0  # network disks show a new file to other hosts with some delay


def nearest_folder(path: Path) -> Path:
    """The folder, or the nearest above it that is there. path: absolute."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def unseen(paths: Sequence[Path]) -> list[Path]:
    """Those that do not appear."""
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while (missing := [path for path in paths if not _is_seen(path)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return missing


def _is_seen(path: Path) -> bool:
    with suppress(OSError):
        return path.exists()
    return False
