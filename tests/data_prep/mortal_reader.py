"""KNMI's format, but for files whose names say what they do to who reads them: crash, hang or fill-up, in list or read.

What a library does over a damaged file differs by its version; this does it always.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import PurePath

from data_prep.frames import RadarFrame
from data_prep.readers import LeftOut, Reader
from data_prep.readers.file_reader import Entry
from data_prep.readers.files import RadarFile
from data_prep.readers.knmi import KnmiReader

MODULE = "tests.data_prep.mortal_reader"


class MortalReader(KnmiReader):
    name = "mortal"

    def contents(self, file: RadarFile) -> list[Entry | LeftOut]:
        _suffer(file, "list")
        return super().contents(file)

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        _suffer(file, "read")
        return super().frame(file, entry)


def _suffer(file: RadarFile, when: str) -> None:
    name = PurePath(file.name).name
    if name.startswith(f"{when}-crash"):
        ctypes.string_at(0)
    if name.startswith(f"{when}-hang"):
        time.sleep(100)
    if name.startswith(f"{when}-fill"):
        kept = []
        while True:
            kept.append(bytearray(1 << 26))


READER: Reader = MortalReader()
