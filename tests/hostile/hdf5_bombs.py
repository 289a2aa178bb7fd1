"""HDF5 files that declare, unpack to, or work on far more than they hold."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np

from tests.hostile.specimens import Specimen

_ZEROS = bytes(1 << 24)
_PROJECTIONS = (
    "+proj=pipeline +step +proj=utm +zone=33",
    "+proj=stere +lat_0=90 +nadgrids=x" + "9" * 50_000,
    "+proj=" + "x" * 60_000,
)


def of_knmi(knmi: Specimen) -> Iterator[Specimen]:
    """In KNMI's form."""
    formula, image = "GEO=" + "1" * 60_000 + "x", "image1/image_data"

    def sized(file: Any, side: int) -> None:
        for name in ("rows", "columns"):
            file["geographic"].attrs[f"geo_number_{name}"] = np.array([side], np.int32)

    def huge(file: Any) -> None:
        sized(file, 30_000)
        _one_chunk(file, image, (30_000, 30_000), np.uint8, 1 << 30)

    def chunks(file: Any) -> None:
        sized(file, 8_000)
        del file[image]
        file.create_dataset(image, (8_000, 8_000), np.uint16, chunks=(1, 1))

    yield _changed(knmi, "slow-formula.h5", _attribute("image1/calibration", "calibration_formulas", formula))
    yield _changed(knmi, "900-megapixels.h5", huge)
    yield _changed(knmi, "64-million-chunks.h5", chunks)
    yield _changed(knmi, "chunk-of-a-gigabyte.h5", lambda file: _one_chunk(file, image, (20, 30), np.uint16, 1 << 30))
    for word in _PROJECTIONS:
        change = _attribute("geographic/map_projection", "projection_proj4_params", word)
        yield _changed(knmi, "odd-projection.h5", change)


def of_others(odim: Specimen, sevir: Specimen) -> Iterator[Specimen]:
    """In ODIM's and SEVIR's."""

    def attributes(file: Any) -> None:
        for number in range(20_000):
            file["what"].attrs[f"a{number}"] = number

    def pictures(file: Any) -> None:
        for number in range(2, 1500):
            file[f"dataset1/data{number}"] = file["dataset1/data1"]
            file[f"dataset{number}"] = file["dataset1"]

    def chunk(file: Any) -> None:
        _one_chunk(file, "dataset1/data1/data", (20, 30), np.uint8, 1 << 30)

    yield _changed(odim, "chunk-of-a-gigabyte.hdf", chunk)
    yield _changed(odim, "many-attributes.hdf", attributes)
    yield _changed(odim, "two-million-pictures.hdf", pictures)
    for word in _PROJECTIONS:
        yield _changed(odim, "odd-projection.hdf", _attribute("where", "projdef", word))
    yield _changed(sevir, sevir.name, lambda file: _one_chunk(file, "vil", (2, 6, 8, 3), np.uint8, 1 << 32))


def _changed(specimen: Specimen, name: str, change: Callable[[Any], None]) -> Specimen:
    memory = io.BytesIO(specimen.content)
    with h5py.File(memory, "r+") as file:
        change(file)
    return Specimen(specimen.format, name, memory.getvalue(), specimen.beside)


def _attribute(node: str, name: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        file[node].attrs[name] = value

    return change


def _one_chunk(file: Any, name: str, shape: tuple[int, ...], dtype: Any, inflated: int) -> None:
    """A dataset whose one chunk inflates to so many bytes."""
    del file[name]
    data = file.create_dataset(name, shape, dtype, chunks=shape, compression="gzip")
    data.id.write_direct_chunk((0,) * len(shape), deflated_zeros(inflated))


def deflated_zeros(size: int) -> bytes:
    """A zlib stream (RFC 1950); of a flushed part that is repeated, for a gigabyte takes seconds to deflate."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    part = packer.compress(_ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    whole, rest = divmod(size, len(_ZEROS))
    last = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    checksum = size % 65521 << 16 | 1  # Adler-32 of zeros
    return b"\x78\x01" + part * whole + last.compress(bytes(rest)) + last.flush() + struct.pack(">I", checksum)
