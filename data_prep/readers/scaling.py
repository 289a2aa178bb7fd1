"""Pictures in HDF5 whose raw numbers mean gain * raw + offset: as the archive's own codes wherever that loses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import NO_ECHO, Unit, plausible
from data_prep.frames import Lookup
from data_prep.readers.hdf5_chunks import blocks, read

# floats whose values all are whole hundredths become uint16 codes: hundredths above -100, then no echo, then no data
_LOWEST, _DRY_CODE, _MISSING_CODE = -10_000, 65_534, 65_535


@dataclass(frozen=True)
class Scaling:
    """What a raw value means: gain * raw + offset, times `per_hour` (1, or 1 / hours of a sum), in `unit`.

    nodata, undetect: the raw values of no data and of no echo, None where there is none.
    """

    unit: Unit
    gain: float
    offset: float
    nodata: float | None
    undetect: float | None
    per_hour: float

    def special(self, raw: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where raw values (any shape) stand for no data and for no echo.

        Compared in float32: a file may keep the values in float32 and `nodata` in float64, or the other way round.
        """
        with np.errstate(over="ignore"):
            nodata, undetect = (np.float32(np.nan if one is None else one) for one in (self.nodata, self.undetect))
        return (raw == nodata) | np.isnan(raw), raw == undetect

    def values(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Values in `unit`, float32, same shape, NaN for no data."""
        missing, dry = self.special(raw.astype(np.float32))
        values = plausible((raw.astype(np.float64) * self.gain + self.offset) * self.per_hour, self.unit)
        values[dry] = NO_ECHO[self.unit]
        values[missing] = np.nan
        return values.astype(np.float32)


@np.errstate(over="ignore", invalid="ignore")
def pixels(data: Any, scaling: Scaling) -> tuple[NDArray[Any], Lookup | None]:
    """(rows, columns) codes and their meaning, or float32 in the scaling's unit."""
    if data.dtype.kind in "iu" and data.dtype.itemsize <= 2:
        return read(data).view(f"u{data.dtype.itemsize}"), _lookup(scaling, data.dtype.newbyteorder("="))
    codes = _in_hundredths(data, scaling)
    if codes is not None:
        return codes, _hundredths(scaling.unit, scaling.per_hour)
    values = np.empty(data.shape, np.float32)
    for place, block in blocks(data):
        values[place] = scaling.values(block)
    return values, None


@lru_cache(maxsize=16)
def _lookup(scaling: Scaling, dtype: np.dtype[Any]) -> Lookup:
    return Lookup(scaling.values(np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)))


def _in_hundredths(data: Any, scaling: Scaling) -> NDArray[np.uint16] | None:
    """(rows, columns) codes of `_hundredths`, None where a value is not exactly, in float32, one of its.

    OPERA's floats hold multiples of 0.5 dBZ and of 0.01 mm/h; as codes they are encoded by a table, as integers are.
    """
    codes = np.empty(data.shape, np.uint16)
    for place, block in blocks(data):
        values = block.astype(np.float32)
        missing, dry = scaling.special(values)
        if (scaling.gain, scaling.offset) != (1.0, 0.0):
            values = (block.astype(np.float64) * scaling.gain + scaling.offset).astype(np.float32)
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
def _hundredths(unit: Unit, per_hour: float) -> Lookup:
    values = plausible((np.arange(1 << 16) + _LOWEST) / 100.0 * per_hour, unit)
    values[_DRY_CODE], values[_MISSING_CODE] = NO_ECHO[unit], np.nan
    return Lookup(values)
