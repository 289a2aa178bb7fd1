"""Arrays in `.npy` files and `.npz` archives, read a part at a time and within bounds; nothing in them is executed.

A `.npy` is a magic number, a version, a header (a Python literal with type, order of axes and shape), then the values
(NumPy Enhancement Proposal 1). An `.npz` is a zip of those, stored or deflated. A deflated array is never unpacked
whole for one frame of it: its frames are read in order of time in one pass (`stretches`).
"""

from __future__ import annotations

import ast
import math
import struct
import zipfile
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.readers.files import RadarFile
from data_prep.readers.stretches import Deflated, Plain, Stretch

MOST_BYTES = 1 << 29  # of one read
MOST_MEMBERS = 1000
_MOST_HEADER = 10_000  # as numpy's own limit
_MAGIC = b"\x93NUMPY"
_ZIP_END, _ZIP_LOCAL = b"PK\x05\x06", b"PK\x03\x04"


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

    def mapped(self, file: RadarFile) -> NDArray[Any]:
        """The whole array, of which only what is looked at is read where it lies on a disk as it is; else as `all`."""
        if file.path is None or not isinstance(self.stretch, Plain) or self.dtype.hasobject:
            return self.all(file)
        order: Any = "F" if self.axes_reversed else "C"
        return np.memmap(file.path, self.dtype, "r", self.stretch.place + self.start, self.shape, order)

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
        return _array(file, Plain(0, stream.seek(0, 2)), "the file")


def npz_arrays(file: RadarFile, *names: str) -> list[StoredArray]:
    """The arrays of those names in an .npz; all, in its order, where none is given. Raises RadarFileError."""
    found = _members(file)
    absent = [name for name in names if name not in found]
    if absent:
        raise RadarFileError(file.name, f"holds no array {absent[0]!r}; it holds {', '.join(found) or 'none'}")
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
        return Deflated(place, info.compress_size, info.file_size, info.CRC)
    return Plain(place, info.file_size)


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
