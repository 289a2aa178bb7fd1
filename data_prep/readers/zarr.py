"""CF fields in Zarr stores, formats 2 and 3, as xarray writes them: an array's dimensions are named in its metadata.

Format 2 keeps the names in the attribute `_ARRAY_DIMENSIONS`, and its fill_value is what CF calls _FillValue; format 3
has dimension_names, and `_FillValue` is an attribute, of floating-point numbers in base 64 (as xarray has both).
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.readers import Reader
from data_prep.readers.cf.dataset import Dataset, Variable
from data_prep.readers.cf.reader import CfReader
from data_prep.readers.files import RadarFile, archive_files
from data_prep.readers.zarr_stores import MARKS, check_codecs, open_group, url_of

_NUMBERS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}  # as JSON has them in Zarr's metadata


class ZarrDataset(Dataset):
    """An open store."""

    def __init__(self, file: RadarFile) -> None:
        self.name = url_of(file.name) or file.name
        self._resources = ExitStack()
        try:
            group = open_group(file, self._resources)
            self.attributes = dict(group.attrs)
            if group.metadata.consolidated_metadata is None and not group.store.supports_listing:
                raise RadarFileError(self.name, _NOT_CONSOLIDATED)
            self._arrays = dict(group.arrays())
            self.variables = {name: _declared(name, array) for name, array in self._arrays.items()}
        except BaseException:
            self.close()
            raise

    def stored(self, variable: Variable, index: tuple[slice, ...]) -> NDArray[Any]:
        """As `Dataset.stored`. Raises RadarFileError where an array is stored with a codec that is not read here."""
        array = self._arrays[variable.name]
        check_codecs(array, self.name)
        return np.asarray(array[index if index else ...]).astype(variable.dtype, copy=False)

    def close(self) -> None:
        """Frees files and connections."""
        self._resources.close()


_NOT_CONSOLIDATED = (
    "has no consolidated metadata, and on a web server or in an object store its arrays are not looked for one by one; "
    "run zarr.consolidate_metadata on it where it lies"
)


def _declared(name: str, array: Any) -> Variable:
    attributes, in_v2 = dict(array.attrs), array.metadata.zarr_format == 2
    dims = attributes.get("_ARRAY_DIMENSIONS") if in_v2 else array.metadata.dimension_names
    known = isinstance(dims, list | tuple) and all(isinstance(dim, str) for dim in dims)
    dtype = np.dtype(array.dtype) if getattr(array.dtype, "kind", "O") in "iuf" else np.dtype(object)
    if in_v2 and array.fill_value is not None:
        attributes.setdefault("_FillValue", array.fill_value)
    for key in ("_FillValue", "missing_value", "valid_min", "valid_max", "scale_factor", "add_offset"):
        if key in attributes:
            attributes[key] = _number(attributes[key])
    return Variable(
        name,
        tuple(dims) if known and dims else (),
        tuple(int(length) for length in array.shape),
        dtype.newbyteorder("="),
        attributes,
        tuple(int(length) for length in array.chunks),
    )


def _number(value: Any) -> Any:
    """A number that JSON holds as a text; other values as they are."""
    if not isinstance(value, str):
        return value
    if value in _NUMBERS:
        return _NUMBERS[value]
    try:
        return struct.unpack("<d", base64.b64decode(value, validate=True))[0]
    except (binascii.Error, struct.error):
        return value


class ZarrReader(CfReader):
    """CF fields of Zarr stores: folders, zips, and URLs of a web server or an object store."""

    name = "zarr"
    patterns = ("*.zarr.zip", "*.zip")
    modules = (("zarr", "zarr"), ("pyproj", "zarr"))

    def files(self, sources: Sequence[str]) -> list[Path]:
        """The stores that `sources` stand for: a URL is one; a folder is one, or is looked through for them."""
        local = [source for source in sources if not url_of(source)]
        urls = [Path(source) for source in sources if url_of(source)]
        return [*urls, *(archive_files(local, self.patterns, folder_marks=MARKS) if local else ())]

    def identity(self, file: RadarFile) -> Hashable:
        """As of other files; of a folder by its metadata, whose change is the store's."""
        url, folder = url_of(file.name), Path(file.name)
        if url or not folder.is_dir():
            return url or super().identity(file)
        marks = [mark.stat() for mark in (folder / name for name in (*MARKS, ".zmetadata")) if mark.is_file()]
        return file.name, *((mark.st_size, mark.st_mtime_ns) for mark in marks)

    def open(self, file: RadarFile) -> Dataset:
        """Opens the store; of its arrays nothing is read yet."""
        return ZarrDataset(file)


READER: Reader = ZarrReader()
