"""The files in a tar, compressed or not: where they lie, from headers that are not believed."""

from __future__ import annotations

import io
import os
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from data_prep.errors import RadarFileError, in_words
from data_prep.readers.unpacking import MOST_BYTES, compression, identity, unpacked

MOST_MEMBERS = 1 << 18  # a year of frames every 5 minutes are 105,120
_LARGEST_HEADER, _LONGEST_NAME = 1 << 20, 255  # of a member
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2")


def is_tar(path: Path) -> bool:
    """Whether a path is a tar by its name."""
    return path.name.lower().endswith(_ENDINGS)


def tar_members(path: Path) -> list[str]:
    """The names of the files in a tar. Raises RadarFileError."""
    return list(_members(path, *identity(path)))


def tar_member(path: Path, name: str) -> bytes:
    """The bytes of a file in a tar, as they lie there. Raises RadarFileError.

    A compressed tar is unpacked in memory whole, and kept until another one is asked for.
    """
    place = _members(path, *identity(path)).get(name)
    if place is None:
        raise RadarFileError(path, f"holds no file {name!r}")
    offset, size = place
    if not _plain_tar(path):
        return _unpacked(path, *identity(path))[offset : offset + size]
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def _plain_tar(path: Path) -> bool:
    with open(path, "rb") as file:
        return not compression(file.read(3))


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
        return unpacked(file, str(path))


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
