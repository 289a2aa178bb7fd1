"""Whether the launcher that started this process is still there: without it nobody would end us."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import PurePath

import psutil

_HOST_LAUNCHER = "deepspeed.launcher.launch"  # DeepSpeed's part on each host, our parent; ssh's shell says it too
_OF_HOST_LAUNCHER = "CROSS_SIZE"  # a variable that it sets, and other launchers do not


class Launcher:
    """The processes above this one whose end must be ours: each known by its parent, which changes when that ends."""

    def __init__(self) -> None:
        """Looks at them once; a process that cannot be looked at is not watched."""
        self._parent = os.getppid()
        self._links: list[tuple[psutil.Process, int]] = []
        self._lost = False  # whether it had gone before we looked
        with suppress(psutil.Error):
            self._watch(psutil.Process(self._parent))
            self._lost = _OF_HOST_LAUNCHER in os.environ and not any(
                _HOST_LAUNCHER in word for process in psutil.Process().parents() for word in process.cmdline()
            )

    def _watch(self, parent: psutil.Process) -> None:
        """DeepSpeed's launcher of this host, the shell it may run in, and pdsh where it runs on this host."""
        process: psutil.Process | None = parent
        while process is not None and _mentions(process, _HOST_LAUNCHER):
            self._links.append((process, process.ppid()))
            process = process.parent()
        world = [word for word in parent.cmdline() if word.startswith(("--world_info=", "--master_port="))]
        if self._links and world:
            for other in psutil.process_iter():
                with suppress(psutil.Error):
                    words = other.cmdline()
                    if words and PurePath(words[0]).name == "pdsh" and all(word in words for word in world):
                        self._links.append((other, other.ppid()))

    @property
    def gone(self) -> bool:
        """Whether one of them has ended since."""
        return (
            self._lost
            or os.getppid() != self._parent
            or any(_has_lost(process, parent) for process, parent in self._links)
        )


def _mentions(process: psutil.Process, text: str) -> bool:
    with suppress(psutil.Error):
        return any(text in word for word in process.cmdline())
    return False


def _has_lost(process: psutil.Process, parent: int) -> bool:
    """Whether a process has ended, or its parent has."""
    try:
        return bool(process.ppid() != parent)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
