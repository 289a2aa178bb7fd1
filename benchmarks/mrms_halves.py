"""MRMS's composite in two parts that share no pixel: training sees the west, scores the east."""

from __future__ import annotations

from data_prep.frames import RadarFrame
from data_prep.readers.file_reader import Entry
from data_prep.readers.files import RadarFile
from data_prep.readers.mrms import MrmsReader

PARTS = {"west": (0, 0, 3456, 4096), "east": (0, 4224, 3456, 2688)}  # first row and column, rows and columns


class Part(MrmsReader):
    """A part of each frame, of at least 128 pixels' distance from the other."""

    def __init__(self, part: str) -> None:
        self._part = PARTS[part]

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        return super().frame(file, entry).crop(*self._part)
