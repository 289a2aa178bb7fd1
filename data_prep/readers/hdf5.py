"""The readers' door to h5py: files opened and read within bounds, each failure named with its file.

Only hard links are followed and only numbers and strings read; `hdf5_chunks` reads the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from data_prep.errors import RadarFileError, UserError, in_words, not_installed
from data_prep.readers.files import RadarFile

MOST_BYTES = 1 << 30  # of one read or one chunk; a national composite is some MB, a SEVIR event 7
MOST_VALUES = 1024  # of one attribute
MOST_LINKS = 4096  # in one group that is listed
_MOST_ATTRIBUTE = 1 << 20  # bytes
MOST_CHARACTERS = 4096  # of a text; what reads it may work in their square
# What h5py raises on damaged files, depending on the bytes damaged.
_FAILURES = (
    OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError, ArithmeticError, MemoryError,
    SystemError,
)  # fmt: skip


def require_h5py() -> Any:
    """The module h5py. Raises UserError naming the extra that brings it."""
    try:
        import h5py
    except ModuleNotFoundError as error:  # other kinds: it is there, but short of memory, say
        raise not_installed("this archive format", "h5py", "hdf5") from error
    return h5py


@contextmanager
def open_hdf5(source: Path | RadarFile, called: str = "HDF5") -> Iterator[Any]:
    """An open h5py.File; what h5py raises while it is open becomes RadarFileError, named after `source`.

    called: the format in messages, where it is one that is kept in HDF5.
    """
    h5py = require_h5py()
    radar_file = source if isinstance(source, RadarFile) else RadarFile(source)
    try:
        where = radar_file.path or radar_file.open()
        with h5py.File(where, "r", locking=False) as file:  # archives lie on network disks, where locks often fail
            yield file
    except RadarFileError as error:
        raise RadarFileError(radar_file.name, error.reason) from error  # of a file in memory h5py knows no name
    except UserError:
        raise
    except _FAILURES as error:
        raise RadarFileError(radar_file.name, f"cannot be read as {called} ({in_words(error)})") from error


def find(group: Any, name: str) -> Any | None:
    """The group or dataset `name` in a file or group, None where it is absent.

    Raises RadarFileError where a link leads elsewhere.
    """
    found = group
    for part in name.split("/"):
        if not hasattr(found, "keys") or not found.id.links.exists(part.encode()):
            return None
        # asked of the link itself: h5py's own `in` and [] would open the other file
        if found.id.links.get_info(part.encode()).type != require_h5py().h5l.TYPE_HARD:
            what = f"{_path(group, name)!r} is a link to another file or place, which is not followed"
            raise RadarFileError(group.file.filename, what)
        found = found[part]
    return found


def member(group: Any, name: str) -> Any:
    """As `find`. Raises RadarFileError also where it is absent."""
    found = find(group, name)
    if found is None:
        raise RadarFileError(group.file.filename, f"has no {_path(group, name)!r}, which this format keeps there")
    return found


def _path(group: Any, name: str) -> str:
    return f"{group.name}/{name}".lstrip("/")


def names(group: Any) -> list[str]:
    """What lies in a group. Raises RadarFileError where that is more than MOST_LINKS."""
    if len(group) > MOST_LINKS:
        raise RadarFileError(group.file.filename, f"{group.name} holds {len(group)} entries, at most {MOST_LINKS}")
    return list(group)


def check_dimension_lists(file: RadarFile) -> None:
    """Raises RadarFileError where a variable of a netCDF-4 file names more or fewer dimensions than it has.

    netCDF-C 4.9 takes DIMENSION_LIST to have as many entries as the variable has dimensions, and reads beyond them.
    """
    with open_hdf5(file, "netcdf") as opened:
        h5a = require_h5py().h5a
        for found in _datasets(opened):
            if not h5a.exists(found.id, b"DIMENSION_LIST"):
                continue
            named, dims = h5a.open(found.id, b"DIMENSION_LIST").shape, len(found.shape)
            if named != (dims,):
                what = f"{found.name.lstrip('/')!r} has {dims} dimensions and names {named} of them"
                raise RadarFileError(file.name, what)


def _datasets(file: Any) -> Iterator[Any]:
    """All datasets of a file, also those in groups. Raises RadarFileError where they and the groups are over MOST_LINKS."""
    groups, seen, h5o = [file], set[int](), require_h5py().h5o
    while groups:
        group = groups.pop()
        for name in names(group):
            if group.id.links.get_info(name.encode()).type == require_h5py().h5l.TYPE_SOFT:
                continue  # what it stands for is met where it lies
            found = member(group, name)
            address = h5o.get_info(found.id).addr
            if address in seen:  # a link may lead back to a group above
                continue
            seen.add(address)
            if len(seen) > MOST_LINKS:
                raise RadarFileError(file.filename, f"holds more than {MOST_LINKS} groups and datasets")
            if hasattr(found, "keys"):
                groups.append(found)
            elif hasattr(found, "chunks"):
                yield found


def dataset(file: Any, name: str, shape: tuple[int | None, ...], dtype: DTypeLike | None) -> Any:
    """The dataset `name`, nothing of it read yet, after what it declares was found as expected and within bounds.

    shape: None for a length that may be any and is read one by one. dtype: np.number for integers and floats of any
    size, None for text of any length. Raises RadarFileError, so that a forged shape cannot make a read allocate.
    """
    found = member(file, name)
    path = file.filename
    if not hasattr(found, "chunks"):
        raise RadarFileError(path, f"{name!r} is not a dataset")
    if found.is_virtual or found.external:  # first: a virtual dataset's shape may depend on other files
        raise RadarFileError(path, f"{name!r} keeps its values in other files, which are not followed")
    fits = len(found.shape) == len(shape) and all(want in (None, n) for want, n in zip(shape, found.shape, strict=True))
    if not fits:
        expected = tuple("any" if want is None else want for want in shape)
        raise RadarFileError(path, f"{name!r} has shape {found.shape}, expected ({', '.join(map(str, expected))})")
    if not _is_text(found.dtype) if dtype is None else not _is_number(found.dtype, dtype):
        label = "text" if dtype is None else getattr(dtype, "__name__", dtype)
        raise RadarFileError(path, f"{name!r} has type {found.dtype}, expected {label}")
    one_read = math.prod(n for n in shape if n is not None) * found.dtype.itemsize
    if max(one_read, math.prod(found.chunks or ()) * found.dtype.itemsize) > MOST_BYTES:
        raise RadarFileError(path, f"{name!r} declares more than {MOST_BYTES} bytes for one read or chunk")
    return found


def _is_text(dtype: np.dtype[Any]) -> bool:
    return require_h5py().check_string_dtype(dtype) is not None


def _is_number(dtype: np.dtype[Any], wanted: DTypeLike) -> bool:
    return dtype.kind in "iuf" and bool(np.issubdtype(dtype, wanted))


def _values(node: Any, name: str) -> list[Any]:
    h5py, key = require_h5py(), name.encode()  # h5py's own `attrs` asks for each thing twice: files have dozens
    if not h5py.h5a.exists(node.id, key):
        raise RadarFileError(node.file.filename, f"has no attribute {name!r} of {node.name}")
    attribute = h5py.h5a.open(node.id, key)
    kind, count = attribute.get_type(), attribute.get_space().get_simple_extent_npoints()
    if count > MOST_VALUES or count * kind.get_size() > _MOST_ATTRIBUTE:
        raise _unfit(node, name, f"holds more than {MOST_VALUES} values or {_MOST_ATTRIBUTE} bytes")
    if isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID):
        values: NDArray[Any] = np.empty(count, np.float64)
    elif not isinstance(kind, h5py.h5t.TypeStringID):  # compounds, references, lists of any length
        raise _unfit(node, name, "is neither numbers nor text")
    elif kind.is_variable_str():
        # libhdf5 believes what a damaged file says of texts of any length: gigabytes, or a walk without end; no bound can
        # be set from here, so that is for the limits of the process (`data_prep.workers`)
        return list(np.ravel(node.attrs[name]).tolist())
    else:
        values = np.empty(count, f"S{kind.get_size()}")
    attribute.read(values)
    return list(values.tolist())


def _unfit(node: Any, name: str, what: str) -> RadarFileError:
    return RadarFileError(node.file.filename, f"attribute {name!r} of {node.name} {what}")


def text(node: Any, name: str) -> str:
    """A group's or dataset's attribute as text, however HDF5 stores it. Raises RadarFileError where it is no text."""
    values = _values(node, name)
    if len(values) != 1 or not isinstance(values[0], str | bytes):
        raise _unfit(node, name, "is not one text")
    if len(values[0]) > MOST_CHARACTERS:
        raise _unfit(node, name, f"is longer than {MOST_CHARACTERS} characters")
    return as_text(values[0])


def as_text(value: str | bytes) -> str:
    """A string as h5py returns it, bytes or str, without padding."""
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value).strip("\0 ")


def numbers(node: Any, name: str, count: int, finite: bool = True) -> list[float]:
    """A group's or dataset's attribute of `count` numbers, by default finite. Raises RadarFileError where it is not."""
    values = [value for value in _values(node, name) if isinstance(value, int | float)]
    if len(values) != count or (finite and not all(math.isfinite(value) for value in values)):
        raise _unfit(node, name, f"is not {count} {'finite ' if finite else ''}numbers")
    return [float(value) for value in values]
