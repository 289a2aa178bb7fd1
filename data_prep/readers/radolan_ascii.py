"""DWD's rain sums as text (.asc): six lines of a name and a number each, then the rows from north to south.

Product and time (UTC, the sum's end) are in the file's name only. RADOLAN's numbers are tenths of mm, -1 is no data;
RADKLIM's are mm, -9999 is no data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.frames import Grid
from data_prep.readers.files import RadarFile
from data_prep.readers.radolan_grid import SHAPES, grid_of

PATTERNS = ("[ry]w_*.asc",)
_INTERVALS_S = {"RW": 3600, "YW": 300}
_NAME = re.compile(r"(RW|YW)_(?:\d{4}\.\d{3}_)?(\d{4})(\d\d)(\d\d)[-_](\d\d)(\d\d)\.ASC")
_NUMBER = rb"(-?\d{1,8})(?:\.0*)?\s+"
_HEADER = re.compile(
    rb"ncols\s+%(n)snrows\s+%(n)sxllcorner\s+%(n)syllcorner\s+%(n)scellsize\s+%(n)snodata_value\s+%(n)s"
    % {b"n": _NUMBER},
    re.IGNORECASE,
)
_STEP_MM = {-1: 0.1, -9999: 1.0}  # by the number for no data
_MOST_CHARACTERS = 16  # of a number and the space behind it


@dataclass(frozen=True)
class TextHeader:
    """What a file and its name say. size: bytes before the first row. step_mm: of the numbers. missing: that of no data."""

    product: str
    time: datetime
    interval_s: int
    grid: Grid
    step_mm: float
    missing: int
    size: int


def begins(head: bytes) -> bool:
    """Whether a file's first bytes are those of such a text."""
    return head[:5].lower() == b"ncols"


def header(file: RadarFile, head: bytes) -> TextHeader:
    """What the first lines and the file's name say. Raises RadarFileError."""
    match, name = _HEADER.match(head), _NAME.fullmatch(file.plain_name.upper())
    if not match:
        raise RadarFileError(file.name, f"begins with {bytes(head[:40])!r}, expected ncols, nrows, xllcorner and so on")
    if not name:
        raise RadarFileError(file.name, "has not its time in its name, expected one like RW_20221018-0050.asc")
    try:
        year, month, day, hour, minute = (int(part) for part in name.groups()[1:])
        time = datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError as error:
        raise RadarFileError(file.name, f"has no time in its name ({error})") from None
    columns, rows, x, y, pixel, missing = (int(number) for number in match.groups())
    if missing not in _STEP_MM:
        raise RadarFileError(file.name, f"its number for no data is {missing}, expected -1 or -9999")
    grids = [grid for version in (3, 5) if (grid := grid_of((rows, columns), version)) and _lies_at(grid, x, y, pixel)]
    if not grids:
        raise RadarFileError(file.name, f"has {rows} x {columns} pixels at {x}, {y}, expected {SHAPES} at DWD's corner")
    interval_s, step_mm = _INTERVALS_S[name[1]], _STEP_MM[missing]
    return TextHeader(name[1], time, interval_s, grids[0], step_mm, missing, match.end())


def _lies_at(grid: Grid, x: int, y: int, pixel: int) -> bool:
    return pixel == grid.pixel[0] and abs(grid.west - x) < 2.0 and abs(grid.south - y) < 2.0


def rain(file: RadarFile, content: bytes, text: TextHeader) -> NDArray[np.float32]:
    """Rain rate (mm/h), float32 (rows, columns), row 0 in the north, NaN for no data. Raises RadarFileError."""
    rows, columns = text.grid.shape
    if len(content) - text.size > rows * columns * _MOST_CHARACTERS:
        raise RadarFileError(file.name, f"has {len(content)} bytes, which is too many for {rows} x {columns} numbers")
    words = content[text.size :].split()
    if len(words) != rows * columns:
        raise RadarFileError(file.name, f"holds {len(words)} numbers, expected {rows * columns}; fetch it again")
    numbers = np.array(words, dtype=np.float64).reshape(rows, columns)
    good = (numbers >= 0.0) & (numbers < 1e6)
    if not (good | (numbers == text.missing)).all():
        raise RadarFileError(file.name, "holds numbers that are neither rain nor no data")
    return np.where(good, numbers * (text.step_mm * 3600.0 / text.interval_s), np.nan).astype(np.float32)
