"""Arrays of one's own: `.npy`, or `.npz` with one array or several, with a JSON side-car that tells all the rest.

The side-car of `radar.npy` is `radar.json` beside it, or `npy.json` for all files of a folder; its keys are the fields of
`side_cars.ArraySideCar`. An array without one is refused: nothing about it is guessed. Object arrays, which are pickles, are
refused too. Of a `.npy` only the frame that is asked for is read; an `.npz` that is deflated is read forwards
(`numpy_files`), and whole, up to 512 MiB, where its frames do not lie one after the other (axes HWT, Fortran's order).

An open file has no side-car beside it: `NpyReader(side_car).frames(file)`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.frames import Grid, RadarFrame
from data_prep.readers import Product, Reader
from data_prep.readers.coding import Coding, coded_frame
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import LastOpened, RadarFile
from data_prep.readers.numpy_files import StoredArray, npy_array, npz_arrays, npz_names
from data_prep.readers.side_cars import ArraySideCar, beside, parse, text_of

FOLDER_SIDE_CAR = "npy.json"
MOST_FRAMES = 1 << 20


@dataclass
class _File:
    """whole: the array, once it had to be read or mapped as one."""

    side_car: ArraySideCar
    array: StoredArray
    times: list[datetime]
    grid: Grid
    whole: NDArray[Any] | None = None


class NpyReader(FileReader):
    """Frames of NumPy's own files, in the unit that their side-car gives.

    side_car: what it says, or the file with it, for all files that this reader reads; None: that beside each file.
    """

    name = "npy"
    patterns = ("*.npy", "*.npz")

    def __init__(self, side_car: Mapping[str, Any] | Path | None = None) -> None:
        self._side_car = side_car

    def contents(self, file: RadarFile) -> Iterator[Entry]:
        """One entry for each of the array's times."""
        opened = self._opened(file)
        product = Product(opened.side_car.product, opened.side_car.unit)
        for item, time in enumerate(opened.times):
            yield Entry(time, product, item, opened.side_car.whole_interval_s)

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """One frame: as stored with a Lookup where it is of 8 or 16 bit integers, else float32."""
        opened = self._opened(file)
        if entry.item >= len(opened.times):
            raise RadarFileError(file.name, f"now has {len(opened.times)} frames, not as it was listed")
        stored, side_car = _stored(file, opened, entry.item), opened.side_car
        if side_car.rows == "south_first":
            stored = stored[::-1]
        missing, undetect = frozenset(side_car.missing), frozenset(side_car.undetect)
        coding = Coding(side_car.unit, side_car.gain, side_car.offset, missing, undetect)
        return coded_frame(stored, coding, opened.times[entry.item], opened.grid)

    def _opened(self, file: RadarFile) -> _File:
        side_car = self._side_car_of(file)
        return _OPENED.of((file.identity, side_car), file, *side_car)

    def _side_car_of(self, file: RadarFile) -> tuple[str, str]:
        """(its JSON, its name)."""
        given = self._side_car
        if isinstance(given, Mapping):
            return json.dumps(given), "the side-car given"
        found = RadarFile(given) if given else beside(file, FOLDER_SIDE_CAR)
        if found is None:
            own = f"{PurePosixPath(file.plain_name).stem}.json"
            what = f"has no side-car: write {own} or {FOLDER_SIDE_CAR} beside it, with the keys"
            raise RadarFileError(file.name, f"{what} {', '.join(ArraySideCar.model_fields)}")
        return text_of(found), found.name


def _open(file: RadarFile, text: str, where: str) -> _File:
    side_car = parse(ArraySideCar, text, where)
    array = _array(file, side_car.variable)
    if len(array.shape) != len(side_car.axes) or array.dtype.kind not in "iuf":
        what = f"is {array.shape} {array.dtype}, but its side-car's axes are {side_car.axes}"
        raise RadarFileError(file.name, f"{what}, of integers or floating-point numbers")
    sizes = dict(zip(side_car.axes, array.shape, strict=True))
    rows, columns, frames = *file.check_pixels(sizes["H"], sizes["W"]), sizes.get("T", 1)
    if not 0 < frames <= MOST_FRAMES:
        raise RadarFileError(file.name, f"declares {frames} frames, expected 1 to {MOST_FRAMES}")
    try:
        times = side_car.frame_times(frames, file.plain_name)
    except (ValueError, OverflowError) as error:
        raise RadarFileError(file.name, f"its times are not known: {error}") from error
    return _File(side_car, array, times, side_car.grid(rows, columns))


_OPENED = LastOpened(_open)


def _array(file: RadarFile, variable: str | None) -> StoredArray:
    if file.head(2) != b"PK":
        return npy_array(file)
    names = [variable] if variable else npz_names(file)
    if len(names) != 1:
        raise RadarFileError(file.name, f"holds {', '.join(names) or 'no array'}: name one by the side-car's variable")
    return npz_arrays(file, *names)[0]


def _stored(file: RadarFile, opened: _File, item: int) -> NDArray[Any]:
    """The frame's stored values (H, W), in the machine's own byte order."""
    axes, array = opened.side_car.axes, opened.array
    if axes == "THW" and not array.axes_reversed:
        stored = array.part(file, item)
    else:
        if opened.whole is None:
            opened.whole = array.mapped(file)
        index: Any = {"HW": ..., "THW": item, "HWT": (..., item)}[axes]
        stored = opened.whole[index]
    return np.ascontiguousarray(stored, stored.dtype.newbyteorder("="))


READER: Reader = NpyReader()
