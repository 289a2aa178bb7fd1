"""The readers' door to h5py: files opened and read within bounds, each failure named with its file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from data_prep.errors import RadarFileError, UserError
from data_prep.readers.files import RadarFile

MOST_BYTES = 1 << 30  # of one read or one chunk; a national composite is some MB, a SEVIR event 7
MOST_VALUES = 1024  # of one attribute
# What h5py raises on damaged files, depending on the bytes damaged.
_FAILURES = (
    OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError, ArithmeticError, MemoryError,
    SystemError,
)  # fmt: skip


def require_h5py() -> Any:
    """The module h5py. Raises UserError naming the extra that brings it."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            "this archive format needs h5py, which is not installed; install DS-Nowcast with its extra [hdf5]"
        ) from error
    return h5py


@contextmanager
def open_hdf5(source: Path | RadarFile) -> Iterator[Any]:
    """An open h5py.File; what h5py raises while it is open becomes RadarFileError, named after `source`."""
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
        reason = str(error.args[0] if error.args else error).splitlines() or [""]
        raise RadarFileError(
            radar_file.name, f"cannot be read as HDF5 ({type(error).__name__}: {reason[0]})"
        ) from error


def member(file: Any, name: str) -> Any:
    """The group or dataset `name`. Raises RadarFileError where it is absent or lies in another file."""
    if name not in file:
        raise RadarFileError(file.filename, f"has no {name!r}, which this format keeps there")
    found = file[name]
    if found.file.filename != file.filename:
        raise RadarFileError(file.filename, f"{name!r} is a link to another file, which is not followed")
    return found


def dataset(file: Any, name: str, shape: tuple[int | None, ...], dtype: DTypeLike | None) -> Any:
    """The dataset `name`, nothing of it read yet, after what it declares was found as expected and within bounds.

    shape: None for a length that may be any and is read one by one. dtype: None for text of any length.
    Raises RadarFileError, so that a forged shape cannot make a read allocate.
    """
    found = member(file, name)
    path = file.filename
    if not hasattr(found, "chunks"):
        raise RadarFileError(path, f"{name!r} is not a dataset")
    fits = len(found.shape) == len(shape) and all(want in (None, n) for want, n in zip(shape, found.shape, strict=True))
    if not fits:
        expected = tuple("any" if want is None else want for want in shape)
        raise RadarFileError(path, f"{name!r} has shape {found.shape}, expected ({', '.join(map(str, expected))})")
    if found.dtype.kind not in "SO" if dtype is None else found.dtype.newbyteorder("=") != np.dtype(dtype):
        raise RadarFileError(path, f"{name!r} has type {found.dtype}, expected {dtype or 'text'}")
    if found.is_virtual or found.external:
        raise RadarFileError(path, f"{name!r} keeps its values in other files, which are not followed")
    one_read = math.prod(n for n in shape if n is not None) * found.dtype.itemsize
    if max(one_read, math.prod(found.chunks or ()) * found.dtype.itemsize) > MOST_BYTES:
        raise RadarFileError(path, f"{name!r} declares more than {MOST_BYTES} bytes for one read or chunk")
    return found


def _values(node: Any, name: str) -> list[Any]:
    path, where = node.file.filename, f"attribute {name!r} of {node.name}"
    if name not in node.attrs:
        raise RadarFileError(path, f"has no {where}")
    if math.prod(node.attrs.get_id(name).shape or ()) > MOST_VALUES:  # None where it is empty
        raise RadarFileError(path, f"{where} holds more than {MOST_VALUES} values")
    return list(np.ravel(node.attrs[name]).tolist())


def text(node: Any, name: str) -> str:
    """A group's or dataset's attribute as text, however HDF5 stores it. Raises RadarFileError where it is no text."""
    values = _values(node, name)
    if len(values) != 1 or not isinstance(values[0], str | bytes):
        raise RadarFileError(node.file.filename, f"attribute {name!r} of {node.name} is not one text")
    return as_text(values[0])


def as_text(value: str | bytes) -> str:
    """A string as h5py returns it, bytes or str, without padding."""
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value).strip("\0 ")


def numbers(node: Any, name: str, count: int) -> list[float]:
    """A group's or dataset's attribute of `count` finite numbers. Raises RadarFileError where it is not."""
    values = _values(node, name)
    if len(values) != count or not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        raise RadarFileError(node.file.filename, f"attribute {name!r} of {node.name} is not {count} finite numbers")
    return [float(value) for value in values]
