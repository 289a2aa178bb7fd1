"""CF fields in netCDF files: netCDF-4 through netCDF4, whose door this is for readers, the classic format on its own.

Numbers are read as they are stored; what they mean the CF logic says (`cf/`). Where a variable names no fill value it is
its type's default one, which stands where nothing was written.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.readers import Reader
from data_prep.readers.cf.dataset import Dataset, Variable
from data_prep.readers.cf.reader import CfReader
from data_prep.readers.files import RadarFile
from data_prep.readers.hdf5 import check_dimension_lists
from data_prep.readers.netcdf_classic import DEFAULT_FILLS, MAGIC, ClassicDataset

_HDF5 = b"\x89HDF\r\n\x1a\n"


class Netcdf4Dataset(Dataset):
    """An open netCDF-4 file, from its path, else from its bytes."""

    def __init__(self, file: RadarFile) -> None:
        import netCDF4

        self.name = file.name
        check_dimension_lists(file)
        if file.path:  # absolute: the library takes some relative names for URLs
            self._file = netCDF4.Dataset(os.path.abspath(file.path), "r")
        else:
            self._file = netCDF4.Dataset("in memory", "r", memory=file.content)
        try:
            self._file.set_auto_maskandscale(False)
            self._file.set_auto_chartostring(False)
            self.attributes = _attributes(self._file)
            self.variables = {name: _declared(name, one) for name, one in self._file.variables.items()}
        except BaseException:
            self._file.close()
            raise

    def stored(self, variable: Variable, index: tuple[slice, ...]) -> NDArray[Any]:
        """As `Dataset.stored`."""
        return np.asarray(self._file.variables[variable.name][index if index else ...])

    def close(self) -> None:
        """Frees the file."""
        if self._file.isopen():
            self._file.close()


def _declared(name: str, variable: Any) -> Variable:
    dtype = variable.datatype  # another type of its own where values are text, compound or of any length
    plain = isinstance(dtype, np.dtype) and dtype.kind in "iuf"
    attributes = _attributes(variable)
    if plain and dtype.str[1:] in DEFAULT_FILLS:
        attributes.setdefault("_FillValue", DEFAULT_FILLS[dtype.str[1:]])
    chunks = variable.chunking() if plain else None
    return Variable(
        name,
        tuple(variable.dimensions),
        tuple(int(length) for length in variable.shape),
        dtype.newbyteorder("=") if plain else np.dtype(object),
        attributes,
        tuple(chunks) if isinstance(chunks, list) else None,
    )


def _attributes(node: Any) -> dict[str, Any]:
    return {name: node.getncattr(name) for name in node.ncattrs()}


class NetcdfReader(CfReader):
    """CF fields of netCDF files."""

    name = "netcdf"
    patterns = ("*.nc", "*.nc4", "*.cdf", "*.netcdf")
    modules = (("netCDF4", "netcdf"), ("h5py", "netcdf"), ("pyproj", "netcdf"))

    def open(self, file: RadarFile) -> Dataset:
        """Opens the file where it lies, or unpacked in memory."""
        head = file.head(len(_HDF5))
        if head == _HDF5:
            return Netcdf4Dataset(file)
        if head.startswith(MAGIC):
            return ClassicDataset(file)
        raise RadarFileError(file.name, "is not a netCDF file: it begins with none of its signatures")


READER: Reader = NetcdfReader()
