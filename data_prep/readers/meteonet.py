"""Météo-France's MeteoNet: rain and reflectivity over a quarter of France, 0.01 degrees, 5 minutes, ten days a file.

An .npz holds `data` (times, rows, columns) int16, row 0 in the north, and `dates`, a pickle of naive date-times (UTC).
Products by the file's name: rainfall in 0.01 mm over the 5 minutes that end at the date, -1 for no data; reflectivity_old
in dBZ, the lower bounds of its levels, 0 below 8 dBZ, 255 for no data; reflectivity_new in 0.1 dBZ, -100 for no echo,
-200 for no data. Dates that an archive lacks are simply absent: gaps (MeteoNet documentation, "Rain radar").
The documentation does not say that dates are UTC, nor whether a sum ends or begins at its date. UTC is assumed; that it
ends there was seen in the data: a sum resembles the reflectivity 5 minutes before its date more than that 5 minutes after.
`radar_coords_<zone>.npz` gives the centres of the pixels; without it the zones of MeteoNet's toolbox hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data_prep.encoding import NO_ECHO, Unit
from data_prep.errors import RadarFileError
from data_prep.frames import Grid, Lookup, RadarFrame
from data_prep.readers import LeftOut, Product, Reader
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import LastOpened, RadarFile
from data_prep.readers.numpy_files import StoredArray, npz_arrays
from data_prep.readers.pickled_times import MOST_BYTES, pickled_times

INTERVAL_S = 300
MOST_FRAMES = 1 << 16  # of one file; ten days have 3,168
_NAME = re.compile(r"(rainfall|reflectivity_old|reflectivity_new)_(NW|SE)(?![A-Za-z])")
_WGS84 = "+proj=longlat +datum=WGS84 +no_defs"
# North-west corners: DOMAINS of meteofrance/meteonet, data_exploration/utils/coordinates_and_projection.py. NW is compared
# with real coordinates in the tests; SE's shape is that of its sample as others describe it (41.105 to 46.245 N, 2.005 to
# 9.835 E), so coordinates beside the file go first.
ZONES = {
    "NW": Grid((565, 784), _WGS84, (0.01, 0.01), -5.842, 51.896),
    "SE": Grid((515, 784), _WGS84, (0.01, 0.01), 2.0, 46.25),
}


class _Codes(NamedTuple):
    """Value = gain * code in `unit`; codes below `lowest` and above `highest` are no data, those below `echo_from` dry."""

    unit: Unit
    gain: float
    lowest: int
    echo_from: int
    highest: int


_CODES = {
    "rainfall": _Codes("mm/h", 0.01 * 3600 / INTERVAL_S, 0, 0, 32767),
    "reflectivity_old": _Codes("dBZ", 1.0, 0, 8, 254),
    "reflectivity_new": _Codes("dBZ", 0.1, -100, -99, 32767),
}


@dataclass(frozen=True)
class _File:
    kind: str
    product: Product
    times: list[datetime]
    grid: Grid
    data: StoredArray


class MeteonetReader(FileReader):
    """MeteoNet's rainfall (0.01 mm in 5 minutes becomes mm/h) and reflectivity (dBZ), old and new."""

    name = "meteonet"
    patterns = ("rainfall*.npz", "reflectivity*.npz")
    cadence_s = INTERVAL_S

    def contents(self, file: RadarFile) -> Iterator[Entry | LeftOut]:
        """One entry for each time of the file; quality codes are left out."""
        if "quality" in file.plain_name:
            yield LeftOut(file.name, "quality codes, not rain")
            return
        opened = _OPENED.of(file.identity, file)
        for item, time in enumerate(opened.times):
            yield Entry(time, opened.product, item, INTERVAL_S)

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """One time's frame, its codes as they are stored."""
        opened = _OPENED.of(file.identity, file)
        if entry.item >= len(opened.times):
            raise RadarFileError(file.name, f"now has {len(opened.times)} frames, not as it was listed")
        codes = opened.data.part(file, entry.item).astype(np.int16, copy=False).view(np.uint16)
        return RadarFrame(codes, opened.product.unit, opened.times[entry.item], opened.grid, _lookup(opened.kind))


def _open(file: RadarFile) -> _File:
    match = _NAME.match(file.plain_name)
    if not match:
        forms = "rainfall_NW_2016_08.3.npz, with rainfall, reflectivity_old or reflectivity_new, and NW or SE"
        raise RadarFileError(file.name, f"its name does not tell product and zone; expected a name like {forms}")
    kind, zone = match.groups()
    data, dates = npz_arrays(file, "data", "dates")
    if data.dtype.newbyteorder("=") != np.int16 or len(data.shape) != 3 or data.axes_reversed:
        raise RadarFileError(file.name, f"'data' is {data.shape} {data.dtype}, expected (times, rows, columns) int16")
    frames, rows, columns = data.shape
    file.check_pixels(rows, columns)
    if not 0 < frames <= MOST_FRAMES:
        raise RadarFileError(file.name, f"declares {frames} frames, expected 1 to {MOST_FRAMES}")
    try:
        times = pickled_times(dates.pickle(file, MOST_BYTES))
    except ValueError as error:
        raise RadarFileError(file.name, f"'dates' is not a plain array of date-times ({error})") from error
    if len(times) != frames:
        raise RadarFileError(file.name, f"has {len(times)} dates for {frames} frames")
    product = Product(f"{kind}_{zone}", _CODES[kind].unit)  # two zones are two archives: their times are the same
    return _File(kind, product, times, _grid(file, zone, (rows, columns)), data)


_OPENED = LastOpened(_open)


def _grid(file: RadarFile, zone: str, shape: tuple[int, int]) -> Grid:
    """From the coordinates beside the file where there are some, else the zone's; both are of pixel centres."""
    coordinates = file.beside(f"radar_coords_{zone}.npz")
    if coordinates:
        return _grid_of(coordinates, shape, file)
    if ZONES[zone].shape != shape:
        raise RadarFileError(file.name, f"has frames of {shape} pixels, but zone {zone} has {ZONES[zone].shape}")
    return ZONES[zone]


def _grid_of(file: RadarFile, shape: tuple[int, int], of: RadarFile) -> Grid:
    """of: the file with frames of that shape."""
    lats, lons = npz_arrays(file, "lats", "lons")
    if (lats.shape, lons.shape) != (shape, shape) or min(shape) < 2:
        what = f"{file.plain_name} beside it has 'lats' {lats.shape} and 'lons' {lons.shape}"
        raise RadarFileError(of.name, f"has frames of {shape} pixels, but {what}")
    lat, lon = lats.all(file), lons.all(file)
    height = float(lat[0, 0] - lat[-1, 0]) / (shape[0] - 1)
    width = float(lon[0, -1] - lon[0, 0]) / (shape[1] - 1)
    grid = Grid(shape, _WGS84, (height, width), float(lon[0, 0]) - width / 2, float(lat[0, 0]) + height / 2)
    regular = height > 0 and width > 0  # also False for NaN
    if not (regular and np.abs(lat - grid.y[:, None]).max() < height / 10 and np.abs(lon - grid.x).max() < width / 10):
        raise RadarFileError(file.name, "is not a regular grid from north to south and west to east")
    return grid


@lru_cache
def _lookup(kind: str) -> Lookup:
    unit, gain, lowest, echo_from, highest = _CODES[kind]
    codes = np.arange(1 << 16).astype(np.uint16).view(np.int16).astype(np.int64)
    values = np.where(codes < echo_from, NO_ECHO[unit], gain * codes)
    return Lookup(np.where((codes < lowest) | (codes > highest), np.nan, values))


READER: Reader = MeteonetReader()
