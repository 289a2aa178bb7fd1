"""A reader of CF files: the last file stays open, and pictures that are compressed together are unpacked once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.frames import RadarFrame
from data_prep.readers import LeftOut
from data_prep.readers.cf.dataset import Dataset
from data_prep.readers.cf.fields import Field, fields
from data_prep.readers.cf.values import codes_of
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import LastOpened, RadarFile

MOST_BLOCK_BYTES = 1 << 28  # of the pictures kept because they lie in the same chunks


class _Opened:
    """An open file with its fields, and the stored pictures that were unpacked last."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.fields: dict[str, Field] = {}
        self.unusable: list[RadarFileError] = []
        for found in fields(dataset):
            if isinstance(found, RadarFileError):
                self.unusable.append(found)
            else:
                self.fields[found.product.name] = found
        self._block_of: tuple[str, range] = "", range(0)
        self._block: NDArray[Any] = np.zeros(0)

    def picture(self, field: Field, step: int) -> NDArray[Any]:
        """A step's stored numbers, (rows, columns) in the file's order."""
        name, steps = self._block_of
        if name != field.product.name or step not in steps:
            self._block = np.zeros(0)  # before the next is read: two would be twice the memory
            steps = _steps_together(field, step)
            self._block = self._read(field, steps)
            self._block_of = field.product.name, steps
        return np.asarray(self._block[step - steps.start])

    def _read(self, field: Field, steps: range) -> NDArray[Any]:
        """(steps, rows, columns)."""
        dims = field.variable.dims
        index = [slice(0, 1)] * len(dims)
        index[field.y] = index[field.x] = slice(None)
        order = [place for place in range(len(dims)) if place not in (field.y, field.x)]
        if field.time is not None:
            index[field.time] = slice(steps.start, steps.stop)
        values = self.dataset.values(field.variable, tuple(index)).transpose([*order, field.y, field.x])
        return values.reshape(len(steps), *values.shape[-2:])


def _steps_together(field: Field, step: int) -> range:
    """The steps to read with this one, so that a pass in the order of time unpacks each chunk once, in bounded memory."""
    variable = field.variable
    if field.time is None:
        return range(1)
    picture_bytes = variable.shape[field.y] * variable.shape[field.x] * variable.dtype.itemsize
    most = max(MOST_BLOCK_BYTES // picture_bytes, 1)
    scattered = field.time > min(field.y, field.x)  # not chunked, and a picture's values do not lie together
    together = variable.chunks[field.time] if variable.chunks else most if scattered else 1
    first = step - step % max(together, 1)
    start = step - (step - first) % most
    return range(start, min(start + most, first + together, field.steps))


class CfReader(FileReader):
    """Every variable that is a radar field by the CF conventions is a product of its name."""

    @abstractmethod
    def open(self, file: RadarFile) -> Dataset:
        """Opens a file. Raises RadarFileError, or whatever a library raises on what it cannot open."""

    def identity(self, file: RadarFile) -> Hashable:
        """By which an open file is known again."""
        return file.identity

    def contents(self, file: RadarFile) -> Iterator[Entry | LeftOut]:
        """An entry for each step of each field."""
        opened = self._opened(file)
        if not opened.fields:
            raise next(iter(opened.unusable), None) or opened.dataset.error(_NO_FIELD)
        yield from (LeftOut(error.path, "unusable variable", error.reason) for error in opened.unusable)
        for field in opened.fields.values():
            for step in range(field.steps):
                yield _entry(opened.dataset, field, step)

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """The picture of a step. Raises RadarFileError also where the file no longer holds it."""
        opened = self._opened(file)
        field = opened.fields.get(entry.product.name)
        found = _entry(opened.dataset, field, entry.item) if field and 0 <= entry.item < field.steps else None
        meaning = field.meaning_at(entry.item) if field and isinstance(found, Entry) else None
        if field is None or found is None or isinstance(found, LeftOut) or meaning is None:
            raise opened.dataset.error(f"no longer holds step {entry.item} of {entry.product.name!r} as it was listed")
        try:
            picture = field.placed.north_up(opened.picture(field, entry.item))
        except BaseException:
            _OPENED.forget()
            raise
        stored, codes = codes_of(meaning, np.array(picture, order="C"))  # a copy: a view would keep the whole block
        return RadarFrame(stored, meaning.unit, found.time, field.placed.grid, codes)

    def _opened(self, file: RadarFile) -> _Opened:
        return _OPENED.of((type(self), self.identity(file)), self, file)


def _open(reader: CfReader, file: RadarFile) -> _Opened:
    dataset = reader.open(file)
    try:
        return _Opened(dataset)
    except BaseException:
        dataset.close()
        raise


_OPENED = LastOpened(_open, close=lambda opened: opened.dataset.close())
_NO_FIELD = (
    "holds no radar field in its root group: no variable of rows and columns with a standard_name such as rainfall_rate, "
    "precipitation_amount or equivalent_reflectivity_factor, or with units and a long_name of rain or reflectivity"
)


def _entry(dataset: Dataset, field: Field, step: int) -> Entry | LeftOut:
    what = f"{dataset.name}: {field.product.name}, step {step}"
    end, interval_s = field.times.end(step), field.interval(step)
    if end is None:
        return LeftOut(what, "has no time that can be read")
    if field.sum_mm and interval_s is None:
        return LeftOut(what, "is a sum over no stated interval")
    return Entry(end, field.product, step, round(interval_s) if interval_s else None)
