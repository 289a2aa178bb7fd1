"""A CF file that exists in memory only, and a reader of it: the CF logic is tested without any library of files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.frames import RadarFrame
from data_prep.readers import LeftOut
from data_prep.readers.cf.dataset import Dataset, Variable
from data_prep.readers.cf.reader import CfReader
from data_prep.readers.file_reader import Entry
from data_prep.readers.files import RadarFile

STEREO = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 10.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "earth_radius": 6370040.0,
}
X = {"standard_name": "projection_x_coordinate", "units": "m"}
Y = {"standard_name": "projection_y_coordinate", "units": "m"}
TIME = {"standard_name": "time", "units": "minutes since 2020-06-01 12:00:00"}
RATE = {"standard_name": "rainfall_rate", "units": "mm h-1", "grid_mapping": "crs"}


class MemoryDataset(Dataset):
    """`reads` lists what was read: (variable, numbers of steps, rows, ...)."""

    def __init__(self, **attributes: Any) -> None:
        self.name, self.attributes = "memory.nc", attributes
        self.variables: dict[str, Variable] = {}
        self.arrays: dict[str, NDArray[Any]] = {}
        self.reads: list[tuple[str, tuple[int, ...]]] = []
        self.closed = 0

    def add(self, name: str, dims: str, values: ArrayLike, chunks: tuple[int, ...] | None = None, **attrs: Any) -> None:
        """dims: names, separated by blanks."""
        array = np.asarray(values)
        self.arrays[name] = array
        self.variables[name] = Variable(name, tuple(dims.split()), array.shape, array.dtype, attrs, chunks)

    def stored(self, variable: Variable, index: tuple[slice, ...]) -> NDArray[Any]:
        values = self.arrays[variable.name][index]
        self.reads.append((variable.name, values.shape))
        return values

    def close(self) -> None:
        self.closed += 1


class MemoryReader(CfReader):
    """Reads one MemoryDataset."""

    name, patterns = "memory", ("*",)

    def __init__(self, dataset: MemoryDataset) -> None:
        self.dataset = dataset

    def open(self, file: RadarFile) -> Dataset:
        return self.dataset

    def identity(self, file: RadarFile) -> int:
        return id(self.dataset)


def on_a_grid(**attributes: Any) -> MemoryDataset:
    """A file with the coordinates y (3, from the south), x (4), time (2, 5 minutes apart) and a grid mapping."""
    dataset = MemoryDataset(**attributes)
    dataset.add("y", "y", [-4_002_000.0, -4_001_000.0, -4_000_000.0], **Y)
    dataset.add("x", "x", [1000.0, 2000.0, 3000.0, 4000.0], **X)
    dataset.add("time", "time", [0, 5], **TIME)
    dataset.add("crs", "", 0, **STEREO)
    return dataset


def listed(dataset: MemoryDataset) -> list[Entry | LeftOut]:
    """What the file holds. Raises RadarFileError."""
    return list(MemoryReader(dataset).contents(a_file(dataset)))


def frames(dataset: MemoryDataset) -> list[RadarFrame]:
    """All frames of the file. Raises RadarFileError."""
    reader, file = MemoryReader(dataset), a_file(dataset)
    return [reader.frame(file, entry) for entry in reader.contents(file) if isinstance(entry, Entry)]


def a_file(dataset: MemoryDataset) -> RadarFile:
    """Something to open it by."""
    return RadarFile(io.BytesIO(), name=dataset.name)
