"""The files of an archive: found by glob, and opened whether plain, gzip, bzip2, inside a tar, or a file object.

Nothing is decompressed past `MOST_BYTES`, so that a bomb cannot fill the memory.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import os
import tarfile
import weakref
import zlib
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from data_prep.errors import RadarFileError, UserError, in_words

MOST_BYTES = 1 << 29  # of a file once decompressed; a national composite is some MB
MOST_PIXELS = 1 << 27  # of one frame; the largest known, MRMS, has 24.5 million
MOST_MEMBERS = 1 << 18  # of a tar; a year of frames every 5 minutes are 105,120
_LARGEST_HEADER, _LONGEST_NAME = 1 << 20, 255  # of a tar's member
_COMPRESSED = (".gz", ".bz2")
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2")
_CHUNK = 1 << 20
_PACKED = 1 << 16  # bytes of gzip at a time: they become 67 MB at most


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


def is_tar(path: Path) -> bool:
    """Whether a path is a tar by its name."""
    return path.name.lower().endswith(_TARS)


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
            return None if _compression(file.read(3)) else self._source

    @property
    def identity(self) -> Hashable:
        """Equal for the same unchanged file on a disk, by which readers know it again; a file object is equal to itself."""
        if not isinstance(self._source, Path):
            return weakref.ref(self)
        return (self._source, self._member, *_identity(self._source))

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
            packed = _compression(file.read(3))
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
        with open(self._source, "rb") as file, _decompressing(file) as plain:
            return plain.read(size)

    @cached_property
    def content(self) -> bytes:
        """All bytes, decompressed. Raises RadarFileError past `MOST_BYTES` or where they are damaged."""
        if isinstance(self._source, Path):
            return _content(self._source, self._member, *_identity(self._source))
        return _all(self._source, self.name)

    def check_pixels(self, rows: int, columns: int) -> tuple[int, int]:
        """The same numbers, where they can be a frame's. Raises RadarFileError, before anything is allocated for them."""
        if not (0 < rows <= MOST_PIXELS and 0 < columns <= MOST_PIXELS and rows * columns <= MOST_PIXELS):
            raise RadarFileError(self.name, f"declares {rows} x {columns} pixels, expected 1 to {MOST_PIXELS} in all")
        return rows, columns


def check_ordinary(path: Path) -> None:
    """Raises RadarFileError where a path is a pipe or a device: opening or reading it might never end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise RadarFileError(path, "is a pipe or a device, expected an ordinary file")


def _compression(head: bytes) -> str:
    return "gzip" if head[:2] == b"\x1f\x8b" else "bzip2" if head[:3] == b"BZh" else ""


def _begun(file: IO[bytes]) -> tuple[str, IO[bytes]]:
    """How it is compressed, and the file with all of its bytes still to be read."""
    head = file.read(3)
    if not file.seekable():
        return _compression(head), io.BytesIO(head + file.read(MOST_BYTES))
    file.seek(-len(head), os.SEEK_CUR)
    return _compression(head), file


@contextmanager
def _decompressing(file: IO[bytes]) -> Iterator[IO[bytes] | gzip.GzipFile | bz2.BZ2File]:
    packing, whole = _begun(file)
    try:
        match packing:
            case "gzip":
                yield gzip.GzipFile(fileobj=whole)
            case "bzip2":
                yield bz2.BZ2File(whole)
            case _:
                yield whole
    except zlib.error as error:
        raise OSError(str(error)) from error


def _gunzipped(file: IO[bytes]) -> Iterator[bytes]:
    """The contents of a gzip file, piece by piece: GzipFile takes steps of 8 KB. Raises zlib.error, EOFError."""
    inflater = None
    while packed := file.read(_PACKED):
        while packed := packed if inflater else packed.lstrip(b"\0"):  # zeros may follow the end
            inflater = inflater or zlib.decompressobj(zlib.MAX_WBITS | 16)
            yield inflater.decompress(packed)
            packed = inflater.unused_data
            if inflater.eof:  # there may be another: together they are one file
                inflater = None
    if inflater:
        raise EOFError("it ends before its end; it is cut off")


def _at_most(pieces: Iterable[bytes], most: int, name: str) -> bytes:
    whole = io.BytesIO()  # its value is no copy
    for piece in pieces:
        if whole.tell() + len(piece) > most:
            raise RadarFileError(name, f"holds more than {most} bytes once it is unpacked; unpack it, or it is damaged")
        whole.write(piece)
    return whole.getvalue()


def _all(file: BinaryIO, name: str) -> bytes:
    try:
        packing, whole = _begun(file)
        if packing == "gzip":
            return _at_most(_gunzipped(whole), MOST_BYTES, name)
        with _decompressing(whole) as plain:
            return _at_most(iter(partial(plain.read, _CHUNK), b""), MOST_BYTES, name)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RadarFileError(name, f"cannot be unpacked ({error})") from error


@lru_cache(maxsize=1)  # of a compressed file with many frames each is read for itself
def _content(path: Path, member: str, size: int, changed_ns: int) -> bytes:
    if member:
        return _all(io.BytesIO(tar_member(path, member)), f"{path}/{member}")
    with open(path, "rb") as file:
        return _all(file, str(path))


def tar_members(path: Path) -> list[str]:
    """The names of the files in a tar. Raises RadarFileError."""
    return list(_members(path, *_identity(path)))


def tar_member(path: Path, name: str) -> bytes:
    """The bytes of a file in a tar, as they lie there. Raises RadarFileError.

    A compressed tar is unpacked in memory whole, and kept until another one is asked for.
    """
    place = _members(path, *_identity(path)).get(name)
    if place is None:
        raise RadarFileError(path, f"holds no file {name!r}")
    offset, size = place
    if not _plain_tar(path):
        return _unpacked(path, *_identity(path))[offset : offset + size]
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _plain_tar(path: Path) -> bool:
    with open(path, "rb") as file:
        return not _compression(file.read(3))


@lru_cache(maxsize=2)
def _members(path: Path, size: int, changed_ns: int) -> dict[str, tuple[int, int]]:
    """Offset and size of each file in a tar, in its bytes once they are decompressed."""
    plain = _plain_tar(path)
    try:
        with open(path, "rb") if plain else io.BytesIO(_unpacked(path, size, changed_ns)) as file:
            return _places(file)
    except RadarFileError:
        raise
    except Exception as error:  # tarfile raises what it meets, of any type
        raise RadarFileError(path, f"cannot be read as a tar ({in_words(error)})") from error


@lru_cache(maxsize=1)
def _unpacked(path: Path, size: int, changed_ns: int) -> bytes:
    with open(path, "rb") as file:
        return _all(file, str(path))


def _places(file: BinaryIO) -> dict[str, tuple[int, int]]:
    end, places = file.seek(0, os.SEEK_END), dict[str, tuple[int, int]]()
    file.seek(0)
    headers: Any = _Headers(file)
    with tarfile.open(fileobj=headers, mode="r:") as archive:
        for number, item in enumerate(iter(archive.next, None)):
            archive.members = []  # type: ignore[attr-defined]  # where it keeps all that it meets
            if number >= MOST_MEMBERS:
                raise ValueError(f"it holds more than {MOST_MEMBERS} files; split it")
            if not item.isfile():
                continue
            if item.offset_data + item.size > end or item.size > MOST_BYTES or item.issparse():
                raise ValueError("a file in it is larger than it is")
            if max(map(len, item.name.split("/"))) > _LONGEST_NAME:
                raise ValueError(f"a name in it has more than {_LONGEST_NAME} characters")
            places[item.name] = (item.offset_data, item.size)
    return places


class _Headers:
    """A tar of which nothing but headers is read: one that says to be large is not believed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > _LARGEST_HEADER:
            raise ValueError(f"a header in it has {size} bytes")
        return self._file.read(size)
