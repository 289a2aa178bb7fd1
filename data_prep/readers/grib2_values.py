"""The values of a GRIB 2 field as they are stored: integer codes, unpacked and put into rows from north to south."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.readers.grib2 import Field, Packing
from data_prep.readers.png import PngError, samples


def codes_of(field: Field, packing: Packing, data: bytes, shape: tuple[int, int], scan: int) -> NDArray[Any]:
    """(rows, columns) unsigned integers, row 0 in the north, column 0 in the west.

    data: the file's bytes. shape: that `check_pixels` took. scan: flag table 3.4. Pixels that a bitmap leaves out have the
    code 2**bits, one more than a code can be. Raises RadarFileError.
    """
    points = math.prod(shape)
    present = None if field.bitmap is None else _bits(data[slice(*field.bitmap)], points, field)
    count = points if present is None else int(np.count_nonzero(present))
    if packing.count != count:
        raise RadarFileError(field.file.name, f"holds {packing.count} values for {count} points of its grid")
    codes = _unpacked(field, packing, data, count)
    if present is not None:
        all_codes = np.full(points, 1 << packing.bits, np.min_scalar_type(1 << packing.bits))
        all_codes[present] = codes
        codes = all_codes
    return _arranged(codes, shape, scan)


def _unpacked(field: Field, packing: Packing, data: bytes, count: int) -> NDArray[Any]:
    start, stop = field.values
    if packing.bits == 0 or count == 0:  # all values are the reference
        return np.zeros(count, np.uint8)
    if packing.template == 0:
        if (stop - start) * 8 < count * packing.bits:
            raise RadarFileError(field.file.name, f"has {stop - start} bytes for {count} values of {packing.bits} bits")
        return integers(data[start:stop], count, packing.bits)
    try:
        return samples(data[start:stop], count, packing.bits)
    except PngError as error:
        raise RadarFileError(field.file.name, str(error)) from error


def integers(packed: bytes, count: int, bits: int) -> NDArray[Any]:
    """(count,) unsigned integers of 1 to 32 bits each, the highest bit first, that stand one after the other in `packed`."""
    if bits in (8, 16, 32):
        return np.frombuffer(packed, f">u{bits // 8}", count).astype(f"=u{bits // 8}", copy=False)
    groups = -(-count // 8)  # eight integers take `bits` whole bytes
    octets = np.zeros((groups, bits), np.uint8)
    size = min(len(packed), octets.size)
    octets.reshape(-1)[:size] = np.frombuffer(packed, np.uint8, size)
    out = np.empty((groups, 8), np.min_scalar_type((1 << bits) - 1))
    wide: Any = np.uint32 if bits <= 25 else np.uint64  # an integer and up to seven bits before it
    for place in range(8):
        first, before = divmod(place * bits, 8)
        size = -(-(before + bits) // 8)
        word: NDArray[Any] = np.zeros(groups, wide)
        for octet in range(first, first + size):
            word <<= wide(8)
            word |= octets[:, octet]
        word >>= wide(8 * size - before - bits)
        out[:, place] = word & wide((1 << bits) - 1)
    return out.reshape(-1)[:count]


def _bits(packed: bytes, count: int, field: Field) -> NDArray[np.bool_]:
    if len(packed) * 8 < count:
        raise RadarFileError(
            field.file.name, f"its bitmap has {len(packed)} bytes for {count} points, or the file ends"
        )
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=count).view(np.bool_)


def _arranged(codes: NDArray[Any], shape: tuple[int, int], scan: int) -> NDArray[Any]:
    by_columns = bool(scan & 0x20)
    picture = codes.reshape(shape[::-1] if by_columns else shape)
    if scan & 0x10:  # every other line goes the other way
        picture = picture.copy()
        picture[1::2] = picture[1::2, ::-1]
    picture = picture.T if by_columns else picture
    return picture[:: -1 if scan & 0x40 else 1, :: -1 if scan & 0x80 else 1]
