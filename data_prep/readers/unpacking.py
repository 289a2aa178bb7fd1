"""Gzip and bzip2 undone, wherever they are found and whatever they are called, within bounds.

Nothing is decompressed past `MOST_BYTES`, so that a bomb cannot fill the memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from data_prep.errors import RadarFileError

MOST_BYTES = 1 << 29  # of a file once decompressed; a national composite is some MB
_CHUNK = 1 << 20
_AT_ONCE = 1 << 26  # bytes of a gzip file that may be held beside its contents
_MOST_GROWTH = 1032  # times, by deflate
_PACKED = 1 << 16  # bytes of gzip at a time: they become 67 MB at most


def compression(head: bytes) -> str:
    """ "gzip" or "bzip2", by a file's first three bytes; else empty."""
    return "gzip" if head[:2] == b"\x1f\x8b" else "bzip2" if head[:3] == b"BZh" else ""


def _begun(file: IO[bytes]) -> tuple[str, IO[bytes]]:
    """How it is compressed, and the file with all of its bytes still to be read."""
    head = file.read(3)
    if not file.seekable():
        return compression(head), io.BytesIO(head + file.read(MOST_BYTES))
    file.seek(-len(head), os.SEEK_CUR)
    return compression(head), file


@contextmanager
def decompressing(file: IO[bytes]) -> Iterator[IO[bytes] | gzip.GzipFile | bz2.BZ2File]:
    """The file, decompressed as it is read. Raises OSError, EOFError where it is damaged."""
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


def _gunzipped_at_once(file: IO[bytes]) -> bytes | None:
    """The contents of a gzip file that is one, whole, and says how long they are; None, and nothing read, of any other."""
    import cramjam  # several times as fast as zlib where a picture is mostly nothing

    start = file.tell()
    packed = file.read(_AT_ONCE + 1)
    size = int.from_bytes(packed[-4:], "little")
    if len(packed) <= _AT_ONCE and size <= min(MOST_BYTES, _MOST_GROWTH * len(packed)):
        plain = np.empty(size, np.uint8)  # more than it holds is refused
        with suppress(cramjam.DecompressionError):
            if cramjam.gzip.decompress_into(packed, plain.data) == size:
                return bytes(plain.data)
    file.seek(start)
    return None


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


def unpacked(file: BinaryIO, name: str) -> bytes:
    """All bytes, decompressed. Raises RadarFileError, with that name, past `MOST_BYTES` or where they are damaged."""
    try:
        packing, whole = _begun(file)
        if packing == "gzip":
            content = _gunzipped_at_once(whole)
            return _at_most(_gunzipped(whole), MOST_BYTES, name) if content is None else content
        with decompressing(whole) as plain:
            return _at_most(iter(partial(plain.read, _CHUNK), b""), MOST_BYTES, name)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RadarFileError(name, f"cannot be unpacked ({error})") from error


def identity(path: Path) -> tuple[int, int]:
    """Another where a file has changed."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
