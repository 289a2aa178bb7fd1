"""The reader of MRMS, of which a forecast sees a part: the whole continent takes a minute. Workers import it."""

from __future__ import annotations

from data_prep.frames import RadarFrame
from data_prep.readers.file_reader import Entry
from data_prep.readers.files import RadarFile
from data_prep.readers.mrms import MrmsReader

PART = 1460, 3220, 580, 560  # first row and column, rows and columns


class PartOfMrms(MrmsReader):
    """A part of each frame."""

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        return super().frame(file, entry).crop(*PART)


READER = PartOfMrms()
