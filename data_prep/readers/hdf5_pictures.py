"""Pictures in HDF5 as integer codes wherever that loses nothing: the archive's own, or hundredths of its floats."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import NO_ECHO, Unit, plausible
from data_prep.frames import Lookup
from data_prep.readers.coding import Coding, lookup_of
from data_prep.readers.hdf5_chunks import blocks, read

# floats whose values all are whole hundredths become uint16 codes: hundredths above -100, then no echo, then no data
_LOWEST, _DRY_CODE, _MISSING_CODE = -10_000, 65_534, 65_535


@np.errstate(over="ignore", invalid="ignore")
def pixels(data: Any, coding: Coding) -> tuple[NDArray[Any], Lookup | None]:
    """(rows, columns) codes and their meaning, or float32 in the coding's unit. data: a dataset."""
    if data.dtype.kind in "iu" and data.dtype.itemsize <= 2:
        return read(data).view(f"u{data.dtype.itemsize}"), lookup_of(coding, data.dtype.newbyteorder("=").str)
    codes = _in_hundredths(data, coding)
    if codes is not None:
        return codes, _hundredths(coding.unit, coding.factor)
    values = np.empty(data.shape, np.float32)
    for place, block in blocks(data):
        values[place] = coding.values(block)
    return values, None


def _in_hundredths(data: Any, coding: Coding) -> NDArray[np.uint16] | None:
    """(rows, columns) codes of `_hundredths`, None where a value is not exactly, in float32, one of its.

    OPERA's floats hold multiples of 0.5 dBZ and of 0.01 mm/h; as codes they are encoded by a table, as integers are.
    """
    codes = np.empty(data.shape, np.uint16)
    for place, block in blocks(data):
        values = block.astype(np.float32)
        missing, dry = coding.special(values)
        missing |= np.isnan(values)
        if (coding.gain, coding.offset) != (1.0, 0.0):
            values = (block.astype(np.float64) * coding.gain + coding.offset).astype(np.float32)
        np.copyto(values, 0.0, where=missing | dry)
        hundredths = np.rint(values * np.float32(100.0))
        if not np.array_equal(hundredths / np.float32(100.0), values):
            return None
        if hundredths.min() < _LOWEST or hundredths.max() >= _LOWEST + _DRY_CODE:
            return None
        part = (hundredths - np.float32(_LOWEST)).astype(np.uint16)
        np.copyto(part, _DRY_CODE, where=dry)
        np.copyto(part, _MISSING_CODE, where=missing)
        codes[place] = part
    return codes


@lru_cache(maxsize=16)
def _hundredths(unit: Unit, factor: float) -> Lookup:
    values = plausible((np.arange(1 << 16) + _LOWEST) / 100.0 * factor, unit)
    values[_DRY_CODE], values[_MISSING_CODE] = NO_ECHO[unit], np.nan
    return Lookup(values)
