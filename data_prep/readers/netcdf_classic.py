"""netCDF's classic format (CDF-1, -2 and -5), read without a library: a header, then each variable's values, big-endian.

The header lists dimensions, attributes and variables, each variable with its type and the place of its values. Variables
along the record dimension are interleaved: a record holds one step of each (NetCDF Classic Format Specification, Unidata).
The library for it trusts the header's numbers, and a damaged one made it crash about once in a thousand times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.readers.cf.dataset import Dataset, Variable
from data_prep.readers.files import RadarFile

MAGIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
DEFAULT_FILLS: dict[str, float] = {  # of a type where a variable names no _FillValue; bytes have none
    "i2": -32767, "u2": 65535, "i4": -2147483647, "u4": 4294967295, "i8": -9223372036854775806,
    "u8": 18446744073709551614, "f4": 9.969209968386869e36, "f8": 9.969209968386869e36,
}  # fmt: skip
_TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: "u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"}
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12
_MOST_RANGE = 1 << 28  # bytes read at once; beyond, row by row


@dataclass(frozen=True)
class _Place:
    """Where a variable's values lie. step: bytes from one record to the next; None where it has no record dimension."""

    begin: int
    dtype: np.dtype[Any]
    step: int | None


class ClassicDataset(Dataset):
    """An open file of the classic format."""

    def __init__(self, file: RadarFile) -> None:
        self.name = file.name
        self._file = file.open()
        try:
            header = _Header(self._file, file.name)
        except BaseException:
            self._file.close()
            raise
        self.attributes, self._places = header.attributes, header.places
        self.variables = header.variables

    def stored(self, variable: Variable, index: tuple[slice, ...]) -> NDArray[Any]:
        """As `Dataset.stored`."""
        place = self._places[variable.name]
        if not index:
            values = self._range(place, place.begin, 1).reshape(())
        else:
            first = range(variable.shape[0])[index[0]]
            row = math.prod(variable.shape[1:])
            together = 1 if place.step is not None else max(_MOST_RANGE // max(row * place.dtype.itemsize, 1), 1)
            step = place.step if place.step is not None else row * place.dtype.itemsize
            parts = []
            for start in range(first.start, first.stop, together):
                rows = min(together, first.stop - start)
                part = self._range(place, place.begin + start * step, rows * row)
                parts.append(part.reshape(rows, *variable.shape[1:])[(slice(None), *index[1:])])
            values = np.concatenate(parts) if parts else np.zeros((0, *variable.shape[1:]), place.dtype)
        return values.astype(variable.dtype, copy=False)

    def _range(self, place: _Place, begin: int, count: int) -> NDArray[Any]:
        self._file.seek(begin)
        blob = self._file.read(count * place.dtype.itemsize)
        if len(blob) < count * place.dtype.itemsize:
            raise self.error("is cut off: it ends before its values do")
        return np.frombuffer(blob, place.dtype)

    def close(self) -> None:
        """Frees the file."""
        self._file.close()


class _Header:
    """The header, read from the file's start; every number in it is held against the file's size before it is used."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._size = file.seek(0, 2)
        file.seek(0)
        version = self._bytes(4)[3]
        self._wide = 8 if version == 5 else 4  # bytes of a count
        self._offset = 4 if version == 1 else 8
        self._records = self._number(self._wide)
        self._dims = self._list(_DIMENSIONS, lambda: (self._text(), self._number(self._wide)))
        self.attributes: dict[str, Any] = dict(self._list(_ATTRIBUTES, self._attribute))
        found = self._list(_VARIABLES, self._variable)
        self.variables: dict[str, Variable] = {}
        self.places: dict[str, _Place] = {}
        self._lay_out(found)

    def _error(self, reason: str) -> RadarFileError:
        return RadarFileError(self._name, f"is a damaged netCDF file: its header {reason}")

    def _bytes(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise self._error("does not fit into the file")
        return self._file.read(count)

    def _number(self, width: int) -> int:
        return int.from_bytes(self._bytes(width), "big")

    def _list(self, tag: int, one: Any) -> list[Any]:
        found, count = self._number(4), self._number(self._wide)
        if found not in (tag, 0) or (found == 0 and count):
            raise self._error(f"has a list with the tag {found}, expected {tag}")
        if count * 8 > self._size:  # no element is smaller
            raise self._error(f"declares a list of {count}")
        return [one() for _ in range(count)]

    def _padded(self, count: int) -> bytes:
        return self._bytes(-(-count // 4) * 4)[:count]

    def _text(self) -> str:
        return self._padded(self._number(self._wide)).decode("utf-8", "replace")

    def _dtype(self) -> np.dtype[Any]:
        code = self._number(4)
        if code not in _TYPES:
            raise self._error(f"has the type {code}")
        return np.dtype(_TYPES[code])

    def _attribute(self) -> tuple[str, Any]:
        name, dtype, count = self._text(), self._dtype(), self._number(self._wide)
        blob = self._padded(count * dtype.itemsize)
        if dtype.kind == "S":
            return name, blob.decode("utf-8", "replace")
        values = np.frombuffer(blob, dtype).astype(dtype.newbyteorder("="))
        return name, values[0] if count == 1 else values

    def _variable(self) -> tuple[str, list[int], dict[str, Any], np.dtype[Any], int]:
        name, count = self._text(), self._number(self._wide)
        if count > len(self._dims):
            raise self._error(f"gives {name!r} {count} dimensions")
        dims = [self._number(self._wide) for _ in range(count)]
        if any(dim >= len(self._dims) for dim in dims):
            raise self._error(f"gives {name!r} a dimension that is not there")
        attributes, dtype = dict(self._list(_ATTRIBUTES, self._attribute)), self._dtype()
        self._number(self._wide)  # the size, which follows from the shape; of a large variable it is not right
        return name, dims, attributes, dtype, self._number(self._offset)

    def _lay_out(self, found: list[tuple[str, list[int], dict[str, Any], np.dtype[Any], int]]) -> None:
        lengths = [length for _, length in self._dims]
        in_records = [bool(dims) and lengths[dims[0]] == 0 for _, dims, *_ in found]
        sizes = [
            math.prod(lengths[dim] for dim in dims[one:]) * dtype.itemsize
            for (_, dims, _, dtype, _), one in zip(found, in_records, strict=True)
        ]
        steps = [size for size, one in zip(sizes, in_records, strict=True) if one]
        step = steps[0] if len(steps) == 1 else sum(-(-size // 4) * 4 for size in steps)  # one alone is not padded
        records = self._records_there(found, in_records, sizes, step)
        for (name, dims, attributes, dtype, begin), one, size in zip(found, in_records, sizes, strict=True):
            shape = tuple(records if one and not place else lengths[dim] for place, dim in enumerate(dims))
            end = begin + (size if not one else (records - 1) * step + size if records else 0)
            if end > self._size or begin < 4:
                raise self._error(
                    f"puts {name!r} at bytes {begin} to {end}, the file has {self._size}; it may be cut off"
                )
            if dtype.str[1:] in DEFAULT_FILLS:
                attributes.setdefault("_FillValue", DEFAULT_FILLS[dtype.str[1:]])
            known = dtype if dtype.kind in "iuf" else np.dtype(object)
            names = tuple(self._dims[dim][0] for dim in dims)
            self.variables[name] = Variable(name, names, shape, known.newbyteorder("="), attributes)
            self.places[name] = _Place(begin, dtype, step if one else None)

    def _records_there(self, found: list[Any], in_records: list[bool], sizes: list[int], step: int) -> int:
        """How many records there are; where the header leaves it open, as many as the file has room for."""
        if self._records != (1 << 8 * self._wide) - 1:
            return self._records
        last = [begin + size for (*_, begin), size, one in zip(found, sizes, in_records, strict=True) if one]
        return max((self._size - max(last)) // step + 1, 0) if last and step else 0
