"""What a rank prints: rank 0 on the screen, the others into a file each, which is kept where the launch fails."""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from ds_nowcast.launch.environment import Launched


class RankLog:
    """Standard output and error of this process, libraries' included."""

    def __init__(self, me: Launched) -> None:
        """Rank 0's stay; others' go to a file, unless the launcher has already given each rank one."""
        self._rank, self._screen = me.rank, 2
        self._path: Path | None = None
        self._away = me.rank > 0 and (me.launcher == "srun" or _shares_screen())
        if self._away:
            self._screen = os.dup(2)
            handle, name = tempfile.mkstemp(prefix=f"nowcast-{self._name}-", suffix=".log")
            os.close(handle)
            self._lead_to(os.open(name, os.O_WRONLY | os.O_APPEND), Path(name))  # else it would write over the notes

    @property
    def _name(self) -> str:
        return f"rank{self._rank:05d}"

    @property
    def path(self) -> Path | None:
        """The file, if there is one."""
        return self._path

    def _lead_to(self, handle: int, path: Path) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(handle, stream)
        os.close(handle)
        self._path = path

    def move_to(self, folder: Path) -> None:
        """From now on the file is `folder/rank00001.log` and its like, with what there is so far."""
        with suppress(OSError):  # where that cannot be, it stays where it was
            folder.mkdir(parents=True, exist_ok=True)
            path, before = folder / f"{self._name}.log", self._path
            if not self._away:
                self._path = path
                return
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
            if before is not None:
                sys.stdout.flush()
                os.write(handle, before.read_bytes())
                before.unlink()
            self._lead_to(handle, path)

    def say(self, text: str) -> None:
        """A line on the screen's standard error, from any rank."""
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        with suppress(OSError):
            os.write(self._screen, f"{text}\n".encode(errors="replace"))

    def note(self, text: str) -> None:
        """Lines for the file alone."""
        if self._path is not None:
            with suppress(OSError), open(self._path, "a", encoding="utf-8") as file:
                file.write(f"{text}\n")

    def note_stacks(self) -> None:
        """Where every thread of this process stands."""
        if self._path is not None:
            with suppress(OSError), open(self._path, "a", encoding="utf-8") as file:
                faulthandler.dump_traceback(file, all_threads=True)

    def remove(self) -> None:
        """All went well: the file goes, and its folder with the last of them."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
                if self._path.parent.name == "logs":
                    self._path.parent.rmdir()


def _shares_screen() -> bool:
    """Whether our output is that of the process that started us, as by default under deepspeed and torchrun."""
    with suppress(OSError):
        return os.path.samestat(os.stat("/proc/self/fd/1"), os.stat(f"/proc/{os.getppid()}/fd/1"))
    return True
