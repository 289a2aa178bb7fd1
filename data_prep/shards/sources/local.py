"""A folder on a disk, read where it lies."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from data_prep.errors import SourceError, UserError
from data_prep.files import is_inside, sha256_of
from data_prep.shards.sources.memory import ThreadMemory, too_short

_OPEN_FILES = 64
_PASSING = {
    errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT,
}  # fmt: skip


def folder_of(url: str) -> Path:
    """The folder of a file:// URL. Raises UserError for another host's."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UserError(f"{url} is not a URL ({error}); give file:///folder") from None
    if parts.netloc not in ("", "localhost"):
        raise UserError(f"{url} names a file of the host {parts.netloc!r}; give file:///folder with three slashes")
    return Path(unquote(parts.path))


def inside(name: str, location: str) -> str:
    """`name`, if it stays inside the folder. Raises UserError."""
    if not is_inside(name):
        raise UserError(f"{location}: {name!r} leads out of the folder; build the folder anew")
    return name


class _OpenFile:
    """A file handle that is closed when nobody holds it any more: neither the table of open files nor a reader."""

    __slots__ = ("handle",)

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __del__(self) -> None:
        os.close(self.handle)


@contextmanager
def _told_from_damage(location: str) -> Iterator[None]:
    """Trouble of this host or its network disk that may pass is no damage of the data. Raises SourceError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _PASSING:
            raise
        raise SourceError(
            f"{location} cannot be read now ({error.strerror}); run the same command again when it can"
        ) from error


class LocalSource:
    """Open files, the least recently used forgotten beyond a number."""

    local = True
    cache_mb = None

    def __init__(self, folder: Path, capacity: int = _OPEN_FILES) -> None:
        self.location, self._folder, self._capacity = str(folder), folder, capacity
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self._memory = ThreadMemory()

    def size(self, name: str) -> int:
        """Bytes of a file. Raises FileNotFoundError, SourceError."""
        path = self._path(name)
        with _told_from_damage(self.location):
            status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "Not a file", str(path))
        return status.st_size

    def read_all(self, name: str) -> bytes:
        """A small file, whole. Raises FileNotFoundError, SourceError."""
        with _told_from_damage(self.location):
            return self._path(name).read_bytes()

    def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
        """Exactly `size` bytes, in `into` or valid until this thread reads again. Raises OSError, ValueError, SourceError."""
        blob, got = self._memory(size) if into is None else into, 0
        with _told_from_damage(self.location):
            file = self._open(name)
            while got < size and (more := os.preadv(file.handle, [blob[got:]], offset + got)):
                got += more  # network disks may give less than asked for
        if got != size:
            raise too_short(name, size - got)
        return blob

    def sha256(self, name: str) -> str:
        """Hex sha256 of a file, read in pieces. Raises FileNotFoundError."""
        with _told_from_damage(self.location):
            return sha256_of(self._path(name))

    def forget(self, name: str) -> None:
        """Has the next read open the file anew."""
        with self._lock:
            self._files.pop(name, None)

    def forget_deleted(self) -> None:
        """Lets go of files that were deleted: their bytes fill the disk as long as they are open."""
        with self._lock:
            for name in [name for name, file in self._files.items() if os.fstat(file.handle).st_nlink == 0]:
                del self._files[name]

    def close(self) -> None:
        """Closes the files, one that is being read as soon as it was."""
        with self._lock:
            self._files.clear()

    def _open(self, name: str) -> _OpenFile:
        with self._lock:
            file = self._files.get(name)
            if file is not None:
                self._files.move_to_end(name)
                return file
        file = _OpenFile(os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC))  # unlocked: a network disk is slow
        with self._lock:
            file = self._files.setdefault(name, file)  # another thread may have been faster
            if len(self._files) > self._capacity:
                self._files.popitem(last=False)
            return file

    def _path(self, name: str) -> Path:
        return self._folder / inside(name, self.location)
