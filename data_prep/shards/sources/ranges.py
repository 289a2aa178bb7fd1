"""What sources that read by ranges share."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import Protocol

_PIECE = 8 << 20


class _Reads(Protocol):
    def read(self, name: str, offset: int, size: int) -> memoryview: ...


def sha256_by_ranges(source: _Reads, name: str, size: int) -> str:
    """Hex sha256 of a file: a broken connection costs a piece, not the file."""
    digest = hashlib.sha256()
    for offset in range(0, size, _PIECE):
        digest.update(source.read(name, offset, min(_PIECE, size - offset)))
    return digest.hexdigest()


def absent(place: str) -> FileNotFoundError:
    """The error of a file that is not there."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
