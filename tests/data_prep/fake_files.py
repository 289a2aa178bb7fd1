"""A format of single files for tests: JSON that says which formats may read it, its products, and what is to happen.

`fakefiles` and `otherfiles` (fake_files_too.py) are called alike, so that only reading tells them apart.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.frames import Grid, RadarFrame
from data_prep.readers import LeftOut, Product, Reader
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import RadarFile
from tests.data_prep.fake_reader import at

MODULE = "tests.data_prep.fake_files"
GRID = Grid((700, 8), "+proj=laea +lat_0=50 +lon_0=10 +units=m", (1000.0, 1000.0), 0.0, 0.0)


class FakeFiles(FileReader):
    name = "fakefiles"
    patterns = ("*.fake",)

    def contents(self, file: RadarFile) -> Iterator[Entry | LeftOut]:
        says = json.loads(file.content)
        if says.get("kills") == self.name:
            os._exit(9)
        if self.name not in says["formats"]:
            raise ValueError("is of another format")
        if says.get("useless"):
            yield LeftOut(file.name, "useless")
        for item, (name, unit) in enumerate(says["products"]):
            yield Entry(datetime.fromisoformat(says["time"]), Product(name, unit), item)

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        says = json.loads(file.content)
        field = np.full(GRID.shape, says["value"], np.float32)
        field[:70] = np.nan
        grid = Grid(GRID.shape, GRID.proj, GRID.pixel, says.get("west", 0.0), 0.0)
        return RadarFrame(field, entry.product.unit, entry.time, grid)


def add_file(folder: Path, step: int, value: float = 1.0, **says: Any) -> Path:
    """A file of one time, by default with one product for `fakefiles`."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{step:03d}.fake"
    usual = {"formats": ["fakefiles"], "products": [["rain", "mm/h"]], "time": at(step).isoformat(), "value": value}
    path.write_text(json.dumps(usual | says))
    return path


READER: Reader = FakeFiles()
