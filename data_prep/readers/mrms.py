"""NOAA's Multi-Radar Multi-Sensor mosaics (MRMS): rain rate, reflectivity, VIL or hourly rain on a 0.01 degree grid.

A GRIB 2 file, gzipped or not, usually holds one product at one time: 3500 x 7000 pixels from north to south, packed as PNG.
What it is say its numbers in discipline 209 (see `mrms_products`), never its name. Negative flags, by product, stand for
no coverage and for no echo.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import NO_ECHO, Unit
from data_prep.errors import RadarFileError
from data_prep.frames import Lookup, RadarFrame
from data_prep.readers import LeftOut, Product, Reader
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import RadarFile
from data_prep.readers.grib2 import Field, Packing, fields, interval, packing
from data_prep.readers.grib2_grid import grid_of
from data_prep.readers.grib2_values import codes_of
from data_prep.readers.mrms_products import DISCIPLINE, FLAGS, LONGEST_SUM_S, MANY_LEVELS, name_of, product_of, sum_s

_HEAD = 4096  # all sections of a usual file but the last
_ROWS = 64  # worked on at a time where codes need more than 16 bits


class MrmsReader(FileReader):
    """MRMS's precipitation rates and sums of up to an hour (mm/h), reflectivities (dBZ) and VIL (kg/m2)."""

    name = "mrms"
    patterns = ("*.grib2", "*.grb2", "*.grib", "*.grb")
    cadence_s = 120
    modules = (("PIL", "mrms"),)

    def contents(self, file: RadarFile) -> Iterator[Entry | LeftOut]:
        """The fields, in their order; left out are products that are neither rain, reflectivity nor VIL."""
        for item, field in enumerate(_fields(file)):
            discipline, category, number = field.parameter
            product = _product(field)
            if product is None:
                yield LeftOut(file.name, _useless(discipline, category, number))
                continue
            grid_of(field), packing(field)  # what `frame` cannot read is said here
            time, covered_s = _interval(field, product)
            yield Entry(time, product, item, covered_s)

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """The field of that number."""
        content = file.content
        found = list(fields(content, file, len(content)))
        if entry.item >= len(found) or _product(found[entry.item]) != entry.product:
            raise RadarFileError(file.name, f"no longer holds {entry.product.name} as its field {entry.item}")
        field = found[entry.item]
        time, covered_s = _interval(field, entry.product)
        hours = covered_s / 3600.0 if covered_s and sum_s(entry.product.name) else 1.0
        grid, scan = grid_of(field)
        packed = packing(field)
        stored = codes_of(field, packed, content, grid.shape, scan)
        unit = entry.product.unit
        if stored.itemsize > 2:
            return RadarFrame(_values(stored, packed, unit, hours), unit, time, grid)
        return RadarFrame(stored, unit, time, grid, _lookup(packed, stored.itemsize, unit, hours))


def _fields(file: RadarFile) -> list[Field]:
    """From the file's first bytes where these tell all: it is one message of one field."""
    size = file.unpacked_size
    if size is not None:
        try:
            first = next(fields(file.head(_HEAD), file, size))
            if first.only_until == size:
                return [first]
        except (RadarFileError, OSError, EOFError):
            pass  # all of its bytes may help, or tell better what is wrong
    return list(fields(file.content, file, len(file.content)))


def _useless(discipline: int, category: int, number: int) -> str:
    if discipline != DISCIPLINE:
        return f"is of GRIB discipline {discipline}, MRMS has {DISCIPLINE}"
    return f"product {name_of(category, number)} is no rate or hourly sum of rain, reflectivity or VIL"


def _product(field: Field) -> Product | None:
    discipline, category, number = field.parameter
    if discipline != DISCIPLINE:
        return None
    return product_of(category, number, field.height_km if category == MANY_LEVELS else 0.0)


def _interval(field: Field, product: Product) -> tuple[datetime, int | None]:
    """MRMS gives its sums template 4.0, as of a moment: their name tells how long they are."""
    time, covered_s = interval(field)
    if covered_s is None:
        return time, sum_s(product.name)
    if not 0 < covered_s <= LONGEST_SUM_S:
        raise RadarFileError(field.file.name, f"covers {covered_s} s, this reader takes up to {LONGEST_SUM_S}")
    return time, covered_s


def _physical(codes: NDArray[Any], packed: Packing, unit: Unit, hours: float) -> NDArray[np.float32]:
    """Values in `unit`, same shape, NaN for no coverage and for what a bitmap leaves out. hours: of a sum, else 1."""
    flags, values = FLAGS[unit], packed.values(codes)
    flagged = values < flags.least
    physical = np.where(flagged | (codes >= 1 << packed.bits), np.nan, values / hours)
    if flags.no_echo is not None:
        physical[flagged & (np.abs(values - flags.no_echo) < 1e-3)] = NO_ECHO[unit]
    return physical.astype(np.float32)


@lru_cache(maxsize=8)
def _lookup(packed: Packing, code_bytes: int, unit: Unit, hours: float) -> Lookup:
    return Lookup(_physical(np.arange(1 << 8 * code_bytes), packed, unit, hours))


def _values(stored: NDArray[Any], packed: Packing, unit: Unit, hours: float) -> NDArray[np.float32]:
    """(rows, columns) float32 of codes that are too many for a table."""
    out = np.empty(stored.shape, np.float32)
    for row in range(0, len(stored), _ROWS):
        out[row : row + _ROWS] = _physical(stored[row : row + _ROWS], packed, unit, hours)
    return out


READER: Reader = MrmsReader()
