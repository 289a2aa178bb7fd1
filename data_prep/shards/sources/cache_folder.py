"""A bounded folder of whole files that all processes of a host fill and read together.

    ROOT/.lock                     held while files are counted, deleted and room is reserved
    ROOT/<place>/<name>            a whole file; its time of modification is that of its last use
    ROOT/<place>/<name>.partial    one that is being written, locked by its writer: unlocked, its writer was killed

A partial file is grown to its reserved size before it is written, so the sizes of all files are what the folder holds.
"""

from __future__ import annotations

import fcntl
import os
import random
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from data_prep.errors import SourceError, UserError

_PARTIAL = ".partial"
_STEP = 4 << 20  # reserved at a time for a file whose size is not known
_POLL_S = 0.02

Pause = Callable[[float], None]


class _File(NamedTuple):
    used: float
    size: int
    path: Path


class _StepBackError(Exception):
    """No room while a fuller partial file waits for some: give back what is reserved, begin again."""


def default_root() -> Path:
    """A folder of the user's own, in $XDG_CACHE_HOME or else among the temporary files."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return home / "ds-nowcast" if home.is_absolute() else Path(tempfile.gettempdir(), f"ds-nowcast-{os.getuid()}")


class CacheFolder:
    """Files of at most `size_mb` MiB in all; the least recently used are deleted. Made on first use."""

    def __init__(self, root: Path | None, size_mb: int) -> None:
        self.root, self.size_mb = root or default_root(), size_mb
        self._private = root is None
        self._limit = size_mb * 2**20

    def prepare(self) -> None:
        """Makes the folder. Raises UserError where it cannot be made, or somebody else could have laid files there."""
        with _unusable(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.root.lstat()
        owned = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
        if self._private and not owned:
            raise UserError(f"{self.root} is not this user's own folder; give another as nowcast.data.cache_dir")

    def used(self, path: Path) -> None:
        """Notes that the file is in use: those not used for longest are deleted first."""
        with suppress(FileNotFoundError):  # deleted meanwhile; who has it open reads on
            os.utime(path)

    def fill(self, path: Path, write: Callable[[Partial], None], pause: Pause) -> None:
        """Has `write` make the file unless it is there. One process does, the others wait for it.

        Raises what `write` does, UserError for a file larger than the cache, SourceError for a full disk; then
        nothing is left of it.
        """
        self.prepare()
        with _unusable(self.root):
            path.parent.mkdir(mode=0o700, exist_ok=True)
        with self._locked_partial(path, pause) as handle:
            if handle is None:
                return
            partial = Partial(self, path, handle, pause)
            while not partial.whole:
                try:
                    write(partial)
                    partial.finish()
                except _StepBackError:
                    partial.empty()
                    pause(random.uniform(_POLL_S, 10 * _POLL_S))

    def reserved(self, handle: int, aside: Path, size: int) -> bool:
        """Grows a partial file to `size`, deleting files for it; False where what others write is in the way."""
        if size > self._limit:
            raise UserError(
                f"{unquote(aside.stem)} has {size / 2**20:.1f} MB or more, the cache {self.root} holds "
                f"nowcast.data.cache_mb={self.size_mb} in all; give more, or build with fewer --samples-per-shard"
            )
        with self.locked():
            found = [file for file in self._files() if file.path != aside]
            whole = sorted(file for file in found if file.path.suffix != _PARTIAL)
            others = [file for file in found if file.path.suffix == _PARTIAL and not _swept(file.path)]
            room = self._limit - size - sum(file.size for file in (*whole, *others))
            while room < 0 and whole:
                room += whole[0].size
                whole.pop(0).path.unlink(missing_ok=True)
            if room >= 0:
                os.truncate(handle, size)
                return True
        own = os.fstat(handle).st_size
        if own and any((file.size, file.path) > (own, aside) for file in others):
            raise _StepBackError
        return False

    @contextmanager
    def _locked_partial(self, path: Path, pause: Pause) -> Iterator[int | None]:
        """A handle of the partial file that this thread alone writes; None once the file is there."""
        aside = path.with_name(path.name + _PARTIAL)
        while not path.exists():
            with _opened(aside) as handle:
                if not _locked(handle):
                    pause(_POLL_S)
                elif _is_at(handle, aside):  # else its writer has renamed it, or it was swept
                    try:
                        yield None if path.exists() else handle
                    finally:
                        if _is_at(handle, aside):
                            os.unlink(aside)
                    return
        yield None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else counts, deletes, reserves or renames."""
        with _opened(self.root / ".lock") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _files(self) -> Iterator[_File]:
        for place in os.scandir(self.root):
            if place.is_dir(follow_symlinks=False):
                for entry in os.scandir(place.path):
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        yield _File(status.st_mtime, status.st_size, Path(entry.path))


class Partial:
    """A file of the cache while it is written."""

    def __init__(self, folder: CacheFolder, path: Path, handle: int, pause: Pause) -> None:
        self._folder, self._path, self._handle, self._pause = folder, path, handle, pause
        self._aside = path.with_name(path.name + _PARTIAL)
        self._step = min(_STEP, folder.size_mb * 2**20 // 8)
        self._written = self._reserved = 0
        self.whole = False

    def reserve(self, size: int) -> None:
        """Makes room for a file of `size` bytes, where that is known before."""
        with self._disk_errors():
            while not self._folder.reserved(self._handle, self._aside, size):
                self._pause(_POLL_S)
        self._reserved = size

    def write(self, piece: bytes) -> None:
        """Appends. Raises SourceError where the disk is full."""
        end = self._written + len(piece)
        if end > self._reserved:
            self.reserve(max(self._reserved + self._step, end))
        with self._disk_errors():
            while self._written < end:
                self._written += os.pwrite(self._handle, piece[self._written - end :], self._written)

    def empty(self) -> None:
        """Forgets what was written, and gives back the room."""
        with self._disk_errors():
            os.truncate(self._handle, 0)
        self._written = self._reserved = 0

    def finish(self) -> None:
        """Gives the file its name."""
        with self._disk_errors():
            os.truncate(self._handle, self._written)
            os.fsync(self._handle)  # after a power failure, too, a name must mean a whole file
            with self._folder.locked():  # else who counts meanwhile could see neither name
                os.replace(self._aside, self._path)
        self.whole = True

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SourceError(
                f"the cache {self._folder.root} cannot be written ({error.strerror}); free some space there, "
                "or give another nowcast.data.cache_dir or a smaller nowcast.data.cache_mb"
            ) from None


@contextmanager
def _unusable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the cache {root} cannot be used ({error.strerror}); give a writable nowcast.data.cache_dir"
        ) from None


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _swept(partial: Path) -> bool:
    """Whether the file's writer was gone and it is deleted now."""
    try:
        handle = os.open(partial, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        if not _locked(handle):
            return False
        if _is_at(handle, partial):
            os.unlink(partial)
        return True
    finally:
        os.close(handle)
