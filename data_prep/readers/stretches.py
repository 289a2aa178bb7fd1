"""Bytes inside a file, such as a zip's member, read from any place on: as they lie there, or deflated (RFC 1951).

What is deflated can be read forwards only. Its decoder is kept between reads with a few of its earlier states, so that
reading in order costs one pass and reading out of order a small share of one.
"""

from __future__ import annotations

import threading
import zlib
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Protocol

from data_prep.errors import RadarFileError
from data_prep.readers.files import RadarFile

_PIECE = 1 << 16
_STATES = 128  # that a decoder keeps, 50 to 80 kB each


class Stretch(Protocol):
    """Some bytes of a file; size: how many."""

    size: int

    def read(self, file: RadarFile, start: int, size: int) -> bytes:
        """`size` bytes from `start` on. Raises RadarFileError where they are not there."""
        ...


class Plain:
    """Bytes that lie in the file as they are."""

    def __init__(self, place: int, size: int) -> None:
        self.place, self.size = place, size

    def read(self, file: RadarFile, start: int, size: int) -> bytes:
        """As `Stretch.read`."""
        with file.open() as stream:
            stream.seek(self.place + start)
            content = stream.read(size)
        if len(content) < size:
            raise RadarFileError(file.name, "ends too early")
        return content


@dataclass
class _State:
    """Of a decoder: given, taken: bytes it put out and took in. checksum: CRC-32 of what it gave."""

    given: int
    taken: int
    checksum: int
    decoder: Any

    def copy(self) -> _State:
        return replace(self, decoder=self.decoder.copy())


class Deflated:
    """Bytes that are deflated in a zip. checksum: their CRC-32, checked when the last of them is read."""

    def __init__(self, place: int, packed: int, size: int, checksum: int) -> None:
        self._place, self._packed, self.size, self._checksum = place, packed, size, checksum
        self._step = max(size // _STATES, 1 << 20)
        self._now = _State(0, 0, 0, zlib.decompressobj(-zlib.MAX_WBITS))
        self._states = [self._now.copy()]
        self._lock = threading.Lock()

    def read(self, file: RadarFile, start: int, size: int) -> bytes:
        """As `Stretch.read`. Raises RadarFileError also where the bytes are damaged, as far as deflate can tell."""
        with self._lock, file.open() as stream:
            self._go_back_or_ahead(start)
            try:
                while self._now.given < start:
                    self._inflate(stream, min(start - self._now.given, _PIECE))
                parts, wanted = [], size
                while wanted:
                    parts.append(self._inflate(stream, wanted))
                    wanted -= len(parts[-1])
                if self._now.given == self.size and self._now.checksum != self._checksum:
                    raise ValueError("they do not fit their checksum")
            except (ValueError, zlib.error) as error:
                self._now = self._states[0].copy()
                raise RadarFileError(file.name, f"its compressed data are damaged ({error})") from error
        return b"".join(parts)

    def _go_back_or_ahead(self, start: int) -> None:
        """To the latest kept state before `start`, unless the present one is nearer."""
        best = self._states[bisect_right(self._states, start, key=lambda state: state.given) - 1]
        if self._now.given > start or self._now.given < best.given:
            self._now = best.copy()

    def _inflate(self, stream: BinaryIO, most: int) -> bytes:
        """The next bytes, 1 to `most`. Raises ValueError or zlib.error where there are none."""
        now, part = self._now, b""
        while not part:
            packed = now.decoder.unconsumed_tail
            if not packed:
                stream.seek(self._place + now.taken)
                packed = stream.read(min(_PIECE, self._packed - now.taken))
                now.taken += len(packed)
            part = now.decoder.decompress(packed, most)
            if not part and (not packed or now.decoder.eof):
                raise ValueError("they end too early")
        now.given += len(part)
        now.checksum = zlib.crc32(part, now.checksum)
        if now.given >= self._states[-1].given + self._step:
            self._states.append(now.copy())
        return part
