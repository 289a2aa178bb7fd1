"""The values of an HDF5 dataset, whole or part by part, inflated within bounds.

Chunks are inflated here, faster than by libhdf5, which would let a chunk of a few bytes grow to gigabytes. The filters
deflate (gzip) and shuffle are known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.readers.hdf5 import MOST_BYTES, as_text

MOST_CHUNKS = 1 << 16  # of one dataset; OPERA's NIMBUS has 512
_MOST_GROWTH = 1 << 12  # bytes by which a filter may enlarge a chunk that it cannot compress, beside a 64th
_BAND = 1 << 22  # bytes read at once where there are no chunks
_SMALL = 1 << 16  # values of a chunk: for fewer each step costs more to call than to do
_DEFLATE, _SHUFFLE = 1, 2  # HDF5's numbers of the filters


def read(data: Any) -> NDArray[Any]:
    """All values of what `hdf5.dataset` gave for numbers, in this machine's byte order. Raises RadarFileError."""
    _check_size(data)
    native = data.dtype.newbyteorder("=")
    if data.chunks == data.shape:
        [(_, values)] = blocks(data)
        return values.astype(native, copy=False)
    values = np.empty(data.shape, native)
    for place, block in blocks(data):
        values[place] = block
    return values


def blocks(data: Any) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
    """The same part by part: where it lies, and its values as stored. Raises RadarFileError.

    A part is a chunk, a row of chunks where they are small, or a band of rows where there are none.
    """
    _check_size(data)
    if data.chunks is None:
        rows = max(_BAND // (math.prod(data.shape[1:]) * data.dtype.itemsize or 1), 1)
        for row in range(0, data.shape[0], rows):
            yield (slice(row, row + rows),), data[row : row + rows]
    elif math.prod(data.chunks) >= _SMALL:
        yield from _chunks(data)
    else:
        for rows, chunks in itertools.groupby(_chunks(data), key=lambda chunk: chunk[0][0]):
            band = np.empty((min(rows.stop, data.shape[0]) - rows.start, *data.shape[1:]), data.dtype)
            for (_, *columns), block in chunks:
                band[(slice(None), *columns)] = block
            yield (rows,), band


def _chunks(data: Any) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
    shape, steps, dtype = data.shape, data.chunks, data.dtype  # h5py asks the library each time
    filters, stored = _filters(data), _stored_chunks(data)
    for offset in itertools.product(*(range(0, n, step) for n, step in zip(shape, steps, strict=True))):
        place = tuple(slice(at, at + step) for at, step in zip(offset, steps, strict=True))
        inside = tuple(slice(0, n - at) for at, n in zip(offset, shape, strict=True))
        if offset in stored:
            content = _chunk(data, offset, filters, math.prod(steps) * dtype.itemsize, dtype.itemsize)
            yield place, content.view(dtype).reshape(steps)[inside]
        else:  # never written: all of it has the fill value
            yield place, np.full(steps, data.fillvalue, dtype)[inside]


def _check_size(data: Any) -> None:
    if math.prod(data.shape) * data.dtype.itemsize > MOST_BYTES:
        raise RadarFileError(data.file.filename, f"{data.name!r} declares more than {MOST_BYTES} bytes")


def _filters(data: Any) -> list[int]:
    plist = data.id.get_create_plist()
    found = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    for number, _, _, label in found:
        if number not in (_DEFLATE, _SHUFFLE):
            what = f"{data.name!r} is packed by the HDF5 filter {as_text(label) or number}, which is not read"
            raise RadarFileError(data.file.filename, f"{what}; repack it with: h5repack -f GZIP=4 IN OUT")
    return [number for number, *_ in found]


def _stored_chunks(data: Any) -> set[tuple[int, ...]]:
    """Offsets of the chunks that were written. Raises RadarFileError where one is larger than it can be, or too many."""
    path, full = data.file.filename, math.prod(data.chunks) * data.dtype.itemsize
    most = full + full // 64 + _MOST_GROWTH
    number = math.prod(-(-n // step) for n, step in zip(data.shape, data.chunks, strict=True))
    if number > MOST_CHUNKS:
        raise RadarFileError(path, f"{data.name!r} declares {number} chunks, at most {MOST_CHUNKS}")
    found: dict[tuple[int, ...], int] = {}

    def note(chunk: Any) -> bool | None:
        found[tuple(chunk.chunk_offset)] = chunk.size
        return True if len(found) > number or chunk.size > most else None

    if data.id.chunk_iter(note):
        raise RadarFileError(path, f"{data.name!r} stores more or larger chunks than it declares")
    return set(found)


def _chunk(data: Any, offset: tuple[int, ...], filters: list[int], size: int, item_bytes: int) -> NDArray[np.uint8]:
    skipped, stored = data.id.read_direct_chunk(offset)
    content: NDArray[np.uint8] = np.frombuffer(stored, np.uint8)
    try:
        for place, number in reversed(list(enumerate(filters))):
            if skipped >> place & 1:
                continue
            content = _inflated(content, size) if number == _DEFLATE else _unshuffled(content, item_bytes)
        if len(content) != size:
            raise ValueError(f"{len(content)} bytes, expected {size}")
    except ValueError as error:
        raise RadarFileError(data.file.filename, f"{data.name!r} has a damaged chunk ({error})") from error
    return content


def _inflated(content: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    import cramjam  # several times as fast as zlib where a picture is mostly nothing

    plain = np.empty(size, np.uint8)  # more than it holds is refused
    try:
        written = cramjam.zlib.decompress_into(content.data, plain.data)
    except cramjam.DecompressionError as error:
        raise ValueError(f"inflates to other than the {size} bytes declared: {error}") from error
    return plain[:written]


def _unshuffled(content: NDArray[np.uint8], item_bytes: int) -> NDArray[np.uint8]:
    """HDF5's shuffle puts the first bytes of all values first, then all second ones."""
    return content.reshape(item_bytes, -1).T.reshape(-1)
