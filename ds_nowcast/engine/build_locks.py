"""Locks of operators that were being compiled when their compiler was killed: torch waits for them for ever.

DeepSpeed compiles operators for CPUs at their first use, in a folder of torch's (`torch.utils.cpp_extension`), beside a file
`lock` that whoever compiles holds open, works beside, and removes at the end. One that was killed leaves it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

QUIET_S = 120  # from a killed compiler's last word on, as its own compiler may live on
QUIET_ELSEWHERE_S = 3600  # on a disk of other hosts, whose processes cannot be seen here


def clear_dead_locks(root: Path | None = None) -> list[Path]:
    """Removes the locks of this user that nobody holds any more; returns them.

    root: torch's folder of compiled operators. What cannot be looked at or removed stays.
    """
    dead = []
    for lock in _locks(root or extensions_folder()):
        with suppress(OSError):
            if lock.stat().st_uid == os.getuid() and _is_dead(lock):
                lock.unlink()
                dead.append(lock)
    return dead


def extensions_folder() -> Path:
    """Where torch compiles operators."""
    from torch.utils.cpp_extension import get_default_build_root  # only where something may be compiled

    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root()).absolute()


def _locks(root: Path) -> list[Path]:
    return [*root.glob("*/lock"), *root.glob("*/*/lock")]


def _is_dead(lock: Path) -> bool:
    quiet_s = QUIET_ELSEWHERE_S if _is_of_other_hosts_too(lock) else QUIET_S
    return _silent_for(lock.parent) > quiet_s and not {lock.resolve(), lock.parent.resolve()} & set(_in_use())


def _silent_for(folder: Path) -> float:
    """Seconds since anything in a folder changed, by the clock of its disk."""
    changed = [path.stat().st_mtime for path in folder.iterdir()]
    with tempfile.TemporaryFile(dir=folder) as now:
        return os.fstat(now.fileno()).st_mtime - max(changed)


def _is_of_other_hosts_too(path: Path) -> bool:
    """Whether its disk is another host's, as far as the kernel tells."""
    path, found = path.resolve(), (Path("/"), "")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split(" ")
        place = Path(mount.encode().decode("unicode_escape"))
        if path.is_relative_to(place) and len(place.parts) >= len(found[0].parts):
            found = place, kind
    return found[1].startswith(
        ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "fuse", "9p", "afs", "glusterfs")
    )


def _in_use() -> Iterator[Path]:
    """The files that are open in this user's processes on this host, and the folders these work in."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield Path(os.readlink(process / "cwd"))
            for link in (process / "fd").iterdir():
                with suppress(OSError):
                    yield Path(os.readlink(link))
