"""The files of an archive: found by glob, and opened whether plain, gzip, bzip2, inside a tar, or a file object."""

from __future__ import annotations

import glob
import io
import os
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from fnmatch import fnmatch
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Generic, TypeVar

from data_prep.errors import RadarFileError, UserError
from data_prep.readers.tars import is_tar, tar_member
from data_prep.readers.unpacking import compression, decompressing, identity, unpacked

MOST_PIXELS = 1 << 27  # of one frame; the largest known, MRMS, has 24.5 million
_COMPRESSED = (".gz", ".bz2")

Opened = TypeVar("Opened")


def matches(source: str) -> list[Path]:
    """The path that `source` names, or, sorted, those it matches as a glob (** too). Raises UserError if none."""
    if os.path.exists(source):
        return [Path(source)]
    paths = [Path(name) for name in sorted(glob.glob(source, recursive=True))]
    if not paths:
        what = "matches no file" if glob.has_magic(source) else "does not exist"
        raise UserError(f"--source {source} {what}; give an existing folder, file or quoted glob")
    return paths


def plain_name(name: str) -> str:
    """A file's name without folders and without the ending of a compression."""
    name = PurePosixPath(name.replace(os.sep, "/")).name
    return next((name[: -len(end)] for end in _COMPRESSED if name.lower().endswith(end)), name)


def archive_files(sources: Iterable[str], patterns: Iterable[str], folder_marks: tuple[str, ...] = ()) -> list[Path]:
    """The files of `sources`, sorted: each file given, and those below folders whose plain name fits a pattern, or tars.

    patterns: of fnmatch, in lower case. folder_marks: names of files; a folder that holds one of them counts as one file,
    and no other does. Raises UserError where a source is missing or a folder holds no such file.
    """
    wanted, files = tuple(patterns), set[Path]()
    for path in (path for source in sources for path in matches(source)):
        if not path.is_dir() or _is_marked(path, folder_marks):
            files.add(path)
            continue
        inside = {
            file
            for file in _below(path, folder_marks)
            if _is_marked(file, folder_marks) or fits(file.name, wanted) or is_tar(file)
        }
        if not inside:
            raise UserError(f"--source {path} holds no file like {' or '.join(wanted)}; give the folder that does")
        files |= inside
    return sorted(files)


def _below(folder: Path, folder_marks: tuple[str, ...]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):  # links to folders are not followed: they may lead anywhere
        folders[:] = [name for name in folders if not name.startswith(".")]
        whole = {name for name in folders if _is_marked(Path(root, name), folder_marks)}
        folders[:] = [name for name in folders if name not in whole]
        yield from (Path(root, name) for name in [*whole, *names] if not name.startswith("."))


def _is_marked(path: Path, marks: tuple[str, ...]) -> bool:
    return any((path / mark).is_file() for mark in marks)


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a file's name, without compression, is like one of the patterns."""
    plain = plain_name(name).lower()
    return any(fnmatch(plain, pattern) for pattern in patterns)


class RadarFile:
    """A file to be read: of a path, of a tar's member, or a file object (which is read from where it stands).

    name: in messages. Gzip and bzip2 are undone wherever they are found, by their first bytes.
    """

    def __init__(self, source: Path | BinaryIO, member: str = "", name: str = "") -> None:
        self._source, self._member = source, member
        self._folder = source.parent if isinstance(source, Path) and not member else None
        own = str(source) if isinstance(source, Path) else str(getattr(source, "name", "file object"))
        self.name = name or (f"{own}/{member}" if member else own)

    @property
    def plain_name(self) -> str:
        """The name without folders and without the ending of a compression."""
        return plain_name(self.name)

    @cached_property
    def path(self) -> Path | None:
        """Where it lies on a disk as it is; None where it must be unpacked or is a file object: use `open` or `content`."""
        if not isinstance(self._source, Path) or self._member:
            return None
        check_ordinary(self._source)
        with open(self._source, "rb") as file:
            return None if compression(file.read(3)) else self._source

    @property
    def identity(self) -> Hashable:
        """Equal for the same unchanged file on a disk, by which readers know it again; a file object is equal to itself."""
        if not isinstance(self._source, Path):
            return weakref.ref(self)
        return (self._source, self._member, *identity(self._source))

    def beside(self, name: str) -> RadarFile | None:
        """The file of that name in the same folder, if there is one."""
        if self._folder is None or "/" in name or not (self._folder / name).is_file():
            return None
        return RadarFile(self._folder / name)

    @property
    def unpacked_size(self) -> int | None:
        """How many bytes there are once decompressed, where that is known without doing so.

        Of a gzip file it is what its last four bytes say: modulo 2**32, and of the last member where there are several.
        """
        if not isinstance(self._source, Path) or self._member:
            return len(self.content)
        with open(self._source, "rb") as file:
            packed = compression(file.read(3))
            size = file.seek(0, os.SEEK_END)
            if packed != "gzip" or size < 18:  # its header and trailer
                return None if packed else size
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little")

    def open(self) -> BinaryIO:
        """Its bytes as a file that can seek, decompressed. Raises RadarFileError past `MOST_BYTES` of those."""
        return open(self.path, "rb") if self.path else io.BytesIO(self.content)

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or all if it has fewer, decompressed."""
        if not isinstance(self._source, Path) or self._member:
            return self.content[:size]
        with open(self._source, "rb") as file, decompressing(file) as plain:
            return plain.read(size)

    @cached_property
    def content(self) -> bytes:
        """All bytes, decompressed. Raises RadarFileError past `MOST_BYTES` or where they are damaged."""
        if isinstance(self._source, Path):
            return _content(self._source, self._member, *identity(self._source))
        return unpacked(self._source, self.name)

    def check_pixels(self, rows: int, columns: int) -> tuple[int, int]:
        """The same numbers, where they can be a frame's. Raises RadarFileError, before anything is allocated for them."""
        if not (0 < rows <= MOST_PIXELS and 0 < columns <= MOST_PIXELS and rows * columns <= MOST_PIXELS):
            raise RadarFileError(self.name, f"declares {rows} x {columns} pixels, expected 1 to {MOST_PIXELS} in all")
        return rows, columns


def check_ordinary(path: Path) -> None:
    """Raises RadarFileError where a path is a pipe or a device: opening or reading it might never end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise RadarFileError(path, "is a pipe or a device, expected an ordinary file")


@lru_cache(maxsize=1)  # of a compressed file with many frames each is read for itself
def _content(path: Path, member: str, size: int, changed_ns: int) -> bytes:
    if member:
        return unpacked(io.BytesIO(tar_member(path, member)), f"{path}/{member}")
    with open(path, "rb") as file:
        return unpacked(file, str(path))


class LastOpened(Generic[Opened]):
    """What `make` gave last, of this process: consecutive frames mostly come from one file.

    close: is called with it before another is made in its place.
    """

    def __init__(self, make: Callable[..., Opened], close: Callable[[Opened], Any] = lambda _: None) -> None:
        self._make, self._close, self._last = make, close, dict[Hashable, Opened]()

    def of(self, key: Hashable, *given: Any) -> Opened:
        """`make(*given)`, made again where the key is another, such as that of a file that has changed."""
        if key not in self._last:
            self.forget()
            self._last[key] = self._make(*given)
        return self._last[key]

    def forget(self) -> None:
        """Closes what is open."""
        while self._last:
            self._close(self._last.popitem()[1])
