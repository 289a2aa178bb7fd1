"""KNMI's rain composites: 5-minute sums on a 1 km polar stereographic grid, one HDF5 file each.

`image1/image_data` (rows, columns) uint16, row 0 in the north; mm over the interval by the formula in
`image1/calibration`; its own codes for missing and for out of the radars' range, both no data here. The interval
is in `overview`, the grid in `geographic`, both in kilometres (KNMI HDF5 Data Format Specification 3.5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import Unit
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Grid, RadarFrame, metric_proj
from data_prep.readers import LeftOut, Reader, Recording, Scan
from data_prep.readers.hdf5 import dataset, matches, member, numbers, open_hdf5, require_h5py, text

RAIN_SUM = "ACCUMULATED_PRECIPITATION_[MM]"
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FORMULA = re.compile(rf"GEO\s*=\s*({_NUMBER})\s*\*\s*PV\s*(?:\+?\s*({_NUMBER}))?")
_TIME = re.compile(r"(\d{1,2})-([A-Z]{3})-(\d{4});(\d{2}):(\d{2}):(\d{2})(?:\.\d+)?")


@dataclass(frozen=True)
class Header:
    """What a file says about its picture: interval (UTC), grid, mm over the interval = gain * code + offset_mm."""

    start: datetime
    end: datetime
    grid: Grid
    gain: float
    offset_mm: float
    missing: frozenset[int]  # codes


class KnmiReader:
    """KNMI's accumulated precipitation in its HDF5 layout; mm over the interval become mm/h."""

    name = "knmi"
    unit: Unit = "mm/h"
    encoding = "dbz8"
    cadence_s = 300
    split_dates: tuple[str, str] | None = None

    def scan(self, sources: Sequence[str]) -> Scan:
        """Lists one recording per file by the end of its interval, from headers only.

        Left out are unreadable files and, of files with the same time, all but the first by name. Raises UserError
        where a source is missing or no file can be read.
        """
        require_h5py()
        scan, seen = Scan([]), set[datetime]()
        paths = sorted({path for source in sources for path in _files(source)})
        for path in paths:
            try:
                end = read_header(path).end
            except RadarFileError as error:
                scan.left_out.append(LeftOut(str(path), "unreadable", error.reason))
                continue
            if end in seen:
                scan.left_out.append(LeftOut(str(path), "time occurs more than once", end.isoformat()))
            else:
                seen.add(end)
                scan.recordings.append(Recording(path, 0, (end,)))
        if not scan.recordings:
            why = f", the first because: {scan.left_out[0].detail}" if scan.left_out else ""
            raise UserError(f"none of {len(paths)} files is a readable KNMI rain composite{why}; give KNMI .h5 files")
        return scan

    def read(self, recording: Recording) -> list[RadarFrame]:
        """The file's one frame. Raises RadarFileError, also where the file's time is no longer the one listed."""
        with open_hdf5(recording.path) as file:
            header = _header(file)
            if (header.end,) != recording.times:
                raise RadarFileError(recording.path, f"is now of {header.end:%Y-%m-%d %H:%M} UTC, not as it was listed")
            codes = dataset(file, "image1/image_data", header.grid.shape, np.uint16)[()]
        hours = (header.end - header.start).total_seconds() / 3600.0
        table = _rain_table(header.gain / hours, header.offset_mm / hours, header.missing)
        return [RadarFrame(table[codes], self.unit, header.end, header.grid)]


def _files(source: str) -> list[Path]:
    files: list[Path] = []
    for path in matches(source):
        inside = list(path.glob("*.h5")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"--source {path} holds no .h5 file; give the folder that holds KNMI's .h5 files")
        files += inside
    return files


def read_header(path: Path) -> Header:
    """What the file says about its picture, which is not read. Raises RadarFileError."""
    with open_hdf5(path) as file:
        return _header(file)


def _header(file: Any) -> Header:
    image, overview = member(file, "image1"), member(file, "overview")
    product = text(image, "image_geo_parameter")
    if product != RAIN_SUM:
        raise RadarFileError(file.filename, f"holds {product}, this reader takes {RAIN_SUM}")
    start, end = (_time(overview, f"product_datetime_{which}") for which in ("start", "end"))
    if not start < end:
        raise RadarFileError(file.filename, f"its interval ends ({end}) before it begins ({start})")
    gain, offset_mm = _calibration(file)
    calibration = member(file, "image1/calibration")
    names = ("calibration_missing_data", "calibration_out_of_image")
    missing = frozenset(int(numbers(calibration, name, 1)[0]) for name in names)
    return Header(start, end, _grid(file), gain, offset_mm, missing)


def _time(overview: Any, name: str) -> datetime:
    stamp = text(overview, name)
    match = _TIME.fullmatch(stamp.upper())  # by hand: strptime's %b follows the user's language
    try:
        if not match:
            raise ValueError
        day, month, *rest = match.groups()
        year, hour, minute, second = (int(part) for part in rest)
        return datetime(year, _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC)
    except ValueError:
        path = overview.file.filename
        raise RadarFileError(path, f"{name} is {stamp!r}, expected the form 26-AUG-2010;07:30:00.000") from None


def _calibration(file: Any) -> tuple[float, float]:
    formula = text(member(file, "image1/calibration"), "calibration_formulas")
    match = _FORMULA.fullmatch(formula)
    gain, offset_mm = (float(match[1]), float(match[2] or 0.0)) if match else (0.0, 0.0)
    if not (0.0 < gain < 1e6 and abs(offset_mm) < 1e6):
        raise RadarFileError(file.filename, f"its calibration is {formula!r}, expected the form GEO=0.01*PV+0.0")
    return gain, offset_mm


def _grid(file: Any) -> Grid:
    """KNMI counts rows from the pole: north = row offset * (negative) pixel height; offsets are of the outer corner."""
    place = member(file, "geographic")
    rows, columns, height_km, width_km, row_offset, column_offset = (
        numbers(place, f"geo_{name}", 1)[0]
        for name in ("number_rows", "number_columns", "pixel_size_y", "pixel_size_x", "row_offset", "column_offset")
    )
    if rows < 1 or columns < 1 or height_km >= 0 or width_km <= 0:
        what = f"{rows:g} x {columns:g} pixels of {height_km:g} x {width_km:g} km, expected rows from north to south"
        raise RadarFileError(file.filename, f"its grid has {what}")
    if text(place, "geo_dim_pixel") != "KM,KM":
        raise RadarFileError(file.filename, f"its pixel size is in {text(place, 'geo_dim_pixel')}, expected KM,KM")
    return Grid(
        shape=(int(rows), int(columns)),
        proj=metric_proj(text(member(file, "geographic/map_projection"), "projection_proj4_params")),
        pixel_m=(-height_km * 1000.0, width_km * 1000.0),
        west_m=column_offset * width_km * 1000.0,
        north_m=row_offset * height_km * 1000.0,
    )


@lru_cache(maxsize=4)
def _rain_table(gain_mm_h: float, offset_mm_h: float, missing: frozenset[int]) -> NDArray[np.float32]:
    """mm/h of every uint16 code, float32 (65536,), NaN for `missing`."""
    codes = np.arange(1 << 16)
    rain_mm_h = np.where(np.isin(codes, list(missing)), np.nan, gain_mm_h * codes + offset_mm_h)
    return rain_mm_h.astype(np.float32)


READER: Reader = KnmiReader()
