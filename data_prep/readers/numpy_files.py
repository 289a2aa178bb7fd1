"""Arrays in `.npy` files and `.npz` archives, read a part at a time and within bounds; nothing in them is executed.

A `.npy` is a magic number, a version, a header (a Python literal with type, order of axes and shape), then the values
(NumPy Enhancement Proposal 1). An `.npz` is a zip of those, stored or deflated. A deflated array can be read forwards
only: its decoder is kept between reads with a few of its earlier states, so that frames read in order of time cost one
pass, a frame read out of order a small share of one, and no more than that frame is in memory.
"""

from __future__ import annotations

import ast
import math
import struct
import threading
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.readers.files import RadarFile

MOST_BYTES = 1 << 29  # of one read
MOST_MEMBERS = 1000
_MOST_HEADER = 10_000  # as numpy's own limit
_PIECE = 1 << 16
_STATES = 128  # that a decoder keeps, 50 to 80 kB each
_MAGIC = b"\x93NUMPY"
_ZIP_END, _ZIP_LOCAL = b"PK\x05\x06", b"PK\x03\x04"

Opened = TypeVar("Opened")


class Stretch(Protocol):
    """The bytes of one .npy, wherever they lie."""

    size: int

    def read(self, file: RadarFile, start: int, size: int) -> bytes:
        """`size` bytes from `start` on. Raises RadarFileError where they are not there."""
        ...


class _Plain:
    """Bytes that lie in the file as they are."""

    def __init__(self, place: int, size: int) -> None:
        self._place, self.size = place, size

    def read(self, file: RadarFile, start: int, size: int) -> bytes:
        with file.open() as stream:
            stream.seek(self._place + start)
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


class _Deflated:
    """Bytes that are deflated in a zip. checksum: their CRC-32, checked when the last of them is read."""

    def __init__(self, place: int, packed: int, size: int, checksum: int) -> None:
        self._place, self._packed, self.size, self._checksum = place, packed, size, checksum
        self._step = max(size // _STATES, 1 << 20)
        self._now = _State(0, 0, 0, zlib.decompressobj(-zlib.MAX_WBITS))
        self._states = [self._now.copy()]
        self._lock = threading.Lock()

    def read(self, file: RadarFile, start: int, size: int) -> bytes:
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


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, of which nothing was read but its header.

    dtype: of numbers, or object (a pickle: see `pickle`). axes_reversed: whether the first axis is the one that changes
    fastest in the file (Fortran's order). start: where the values begin in `stretch`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes_reversed: bool
    start: int
    stretch: Stretch

    def part(self, file: RadarFile, index: int) -> NDArray[Any]:
        """`array[index]` of an array that is not `axes_reversed`, read alone."""
        assert not self.axes_reversed and 0 <= index < self.shape[0]
        size = self._bytes(file, self.shape[1:])
        content = self.stretch.read(file, self.start + index * size, size)
        return np.frombuffer(content, self.dtype).reshape(self.shape[1:])

    def all(self, file: RadarFile) -> NDArray[Any]:
        """The whole array. Raises RadarFileError past `MOST_BYTES`."""
        content = self.stretch.read(file, self.start, self._bytes(file, self.shape))
        return np.frombuffer(content, self.dtype).reshape(self.shape, order="F" if self.axes_reversed else "C")

    def pickle(self, file: RadarFile, most: int) -> bytes:
        """The bytes of an object array's pickle. Raises RadarFileError past `most` of them."""
        size = self.stretch.size - self.start
        if not self.dtype.hasobject or size > most:
            raise RadarFileError(file.name, f"expected an array of objects of at most {most} bytes, found {self.dtype}")
        return self.stretch.read(file, self.start, size)

    def _bytes(self, file: RadarFile, shape: tuple[int, ...]) -> int:
        size = math.prod(shape) * self.dtype.itemsize
        if self.dtype.hasobject or size > MOST_BYTES:
            what = "objects (a pickle)" if self.dtype.hasobject else f"{size} bytes to be read at once"
            raise RadarFileError(file.name, f"holds {what}, expected numbers of at most {MOST_BYTES} bytes")
        return size


def npy_array(file: RadarFile) -> StoredArray:
    """The array of a .npy file. Raises RadarFileError."""
    with file.open() as stream:
        return _array(file, _Plain(0, stream.seek(0, 2)), "the file")


def npz_arrays(file: RadarFile, *names: str) -> list[StoredArray]:
    """The arrays of those names in an .npz; all, in its order, where none is given. Raises RadarFileError."""
    found = _members(file)
    absent = [name for name in names if name not in found]
    if absent:
        raise RadarFileError(file.name, f"holds no array {absent[0]!r}, only {', '.join(found) or 'none'}")
    return [_array(file, found[name], name) for name in names or found]


def npz_names(file: RadarFile) -> list[str]:
    """The names of the arrays in an .npz. Raises RadarFileError."""
    return list(_members(file))


def _members(file: RadarFile) -> dict[str, Stretch]:
    with file.open() as stream:
        end = stream.seek(0, 2)
        stream.seek(max(end - 22, 0))
        record = stream.read(22)
        if len(record) < 22 or record[:4] != _ZIP_END:
            raise RadarFileError(file.name, "is no .npz, or it is cut off: it does not end as a zip does")
        if struct.unpack_from("<H", record, 10)[0] > MOST_MEMBERS:
            raise RadarFileError(file.name, f"holds more than {MOST_MEMBERS} arrays")
        try:
            with zipfile.ZipFile(stream) as archive:
                infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
            raise RadarFileError(file.name, f"cannot be read as .npz ({error})") from error
        return {info.filename[:-4]: _stretch(file, stream, info) for info in infos}


def _stretch(file: RadarFile, stream: BinaryIO, info: zipfile.ZipInfo) -> Stretch:
    stream.seek(info.header_offset)
    local = stream.read(30)
    if len(local) < 30 or local[:4] != _ZIP_LOCAL:
        raise RadarFileError(file.name, f"cannot be read as .npz ({info.filename!r} does not lie where it should)")
    place = info.header_offset + 30 + sum(struct.unpack_from("<HH", local, 26))
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RadarFileError(file.name, f"{info.filename!r} is encrypted or packed otherwise than numpy does")
    if info.compress_type == zipfile.ZIP_DEFLATED:
        return _Deflated(place, info.compress_size, info.file_size, info.CRC)
    return _Plain(place, info.file_size)


def _array(file: RadarFile, stretch: Stretch, what: str) -> StoredArray:
    """The header of a .npy. what: in messages."""
    head = stretch.read(file, 0, min(12, stretch.size))
    if len(head) < 12 or head[:6] != _MAGIC or head[6] not in (1, 2, 3):
        raise RadarFileError(file.name, f"{what} is no .npy: it begins with {head[:8]!r}")
    before, form = (10, "<H") if head[6] == 1 else (12, "<I")
    length = struct.unpack_from(form, head, 8)[0]
    if length > min(_MOST_HEADER, stretch.size - before):
        raise RadarFileError(file.name, f"{what} has a header of {length} bytes, expected at most {_MOST_HEADER}")
    header = stretch.read(file, before, length).decode("latin1")
    try:
        fields = ast.literal_eval(header.strip())  # a literal: names and calls are refused by it
        shape, reversed_ = tuple(int(n) for n in fields["shape"]), bool(fields["fortran_order"])
        dtype = np.dtype(fields["descr"])
    except Exception as error:  # it names several types of errors for what is no literal
        raise RadarFileError(file.name, f"{what} has a header that cannot be read: {header[:80].strip()!r}") from error
    start, size = before + length, math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and (dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.shape):
        raise RadarFileError(file.name, f"{what} holds values of type {dtype}, expected numbers")
    if min(shape, default=1) < 0 or (not dtype.hasobject and start + size != stretch.size):
        raise RadarFileError(
            file.name, f"{what} declares shape {shape} of {dtype}, but has {stretch.size - start} bytes"
        )
    return StoredArray(shape, dtype, reversed_, start, stretch)


class LastOpened(Generic[Opened]):
    """What `make` gave for the file that was last asked for, so that its frames need not open it one by one."""

    def __init__(self, make: Callable[..., Opened]) -> None:
        self._make, self._last = make, dict[Hashable, Opened]()

    def of(self, file: RadarFile, *more: Hashable) -> Opened:
        """`make(file, *more)`, made again where the file is another one or has changed."""
        key = (file.identity, *more)
        opened = self._last.get(key)
        if opened is None:
            opened = self._make(file, *more)
            self._last = {key: opened}
        return opened
