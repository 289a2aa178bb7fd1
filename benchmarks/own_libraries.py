"""Reading an archive's frames with its format's own library alone: what that library's user does for the physical field.

Each function yields a field (rows, columns) per frame, in the archive's unit and order of rows, one at a time. Nothing is
checked, placed on a map or made NaN beyond what the library does by itself.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import vil_of_code

Fields = Iterator[NDArray[Any]]


@dataclass(frozen=True)
class Library:
    """name: in the table. module: it is absent without that. read: the fields of some files."""

    name: str
    module: str
    read: Callable[[list[Path]], Fields]

    @property
    def installed(self) -> bool:
        """Whether it can be measured."""
        return find_spec(self.module) is not None


def sevir(paths: list[Path]) -> Fields:
    """h5py: VIL, by a table of the codes' values."""
    vil = vil_of_code(np.arange(256)).astype(np.float32)
    yield from (field for codes_HWT in sevir_events(paths) for field in np.moveaxis(vil[codes_HWT], -1, 0))


def sevir_codes(paths: list[Path]) -> Fields:
    """h5py: the codes as they are."""
    yield from (codes for codes_HWT in sevir_events(paths) for codes in np.moveaxis(codes_HWT, -1, 0))


def sevir_events(paths: list[Path]) -> Fields:
    """h5py: codes (rows, columns, frames) of each event."""
    import h5py

    for path in paths:
        with h5py.File(path) as file:
            for number in range(len(file["vil"])):
                yield file["vil"][number]


def knmi(paths: list[Path]) -> Fields:
    """h5py: hundredths of a millimetre in five minutes, as mm/h."""
    import h5py

    for path in paths:
        with h5py.File(path) as file:
            yield file["image1/image_data"][...] * np.float32(0.12)


def odim(paths: list[Path]) -> Fields:
    """h5py: by the gain and offset beside the picture."""
    import h5py

    for path in paths:
        with h5py.File(path) as file:
            what = file["dataset1/data1/what"].attrs
            yield file["dataset1/data1/data"][...].astype(np.float32) * np.float32(what["gain"]) + np.float32(
                what["offset"]
            )


def pgm(paths: list[Path]) -> Fields:
    """numpy: FMI's dBZ are half a code - 32."""
    for path in paths:
        with gzip.open(path) as file:
            content = file.read()
        header = re.match(rb"P5\s(?:#.*\n)*(\d+) (\d+)\s(\d+)\s", content)
        assert header
        columns, rows = int(header[1]), int(header[2])
        codes = np.frombuffer(content, np.uint8, rows * columns, header.end()).reshape(rows, columns)
        yield codes * np.float32(0.5) - np.float32(32)


def geotiff(paths: list[Path]) -> Fields:
    """rasterio: FMI's dBZ again."""
    import rasterio

    for path in paths:
        with rasterio.open(path) as file:
            yield file.read(1) * np.float32(0.5) - np.float32(32)


def grib(paths: list[Path]) -> Fields:
    """eccodes: mm/h as it gives them, float64."""
    import eccodes

    for path in paths:
        with open(path, "rb") as file:
            message = eccodes.codes_grib_new_from_file(file)
            shape = eccodes.codes_get(message, "Nj"), eccodes.codes_get(message, "Ni")
            yield eccodes.codes_get_values(message).reshape(shape)
            eccodes.codes_release(message)


def radolan(paths: list[Path]) -> Fields:
    """wradlib: millimetres in five minutes, as mm/h."""
    import wradlib

    for path in paths:
        field, _ = wradlib.io.read_radolan_composite(str(path))
        yield field * np.float32(12)


def radolan_by_numpy(paths: list[Path]) -> Fields:
    """numpy: the same in the fewest steps, hundredths of a millimetre in the lower 12 bits."""
    for path in paths:
        with gzip.open(path) as file:
            content = file.read()
        rows, columns = re.search(rb"GP *(\d+)x *(\d+)", content).groups()  # type: ignore[union-attr]
        codes = np.frombuffer(content, "<u2", offset=content.index(b"\x03") + 1).reshape(int(rows), int(columns))
        field = (codes & 0x0FFF) * np.float32(0.12)
        field[codes & 0x2000 != 0] = np.nan
        yield field


def meteonet(paths: list[Path]) -> Fields:
    """numpy: the whole array, hundredths of a millimetre in five minutes, as mm/h."""
    for path in paths:
        with np.load(path) as file:
            yield from (codes * np.float32(0.12) for codes in file["data"])


def netcdf(paths: list[Path]) -> Fields:
    """netCDF4: the sums as it unpacks them, float64 with a mask, as mm/h."""
    import netCDF4

    for path in paths:
        with netCDF4.Dataset(path) as file:
            rain = file["rainfall_amount"]
            yield from (rain[number] * 12 for number in range(len(rain)))
