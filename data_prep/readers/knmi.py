"""KNMI's composites: 5-minute rain sums or reflectivity on a 1 km polar stereographic grid, one HDF5 file each.

`image1/image_data` (rows, columns) uint16 or uint8, row 0 in the north; mm over the interval, or dBZ, by the formula in
`image1/calibration`; its own codes for missing and for out of the radars' range, both no data here. The interval is in
`overview`, the grid in `geographic`, in kilometres (KNMI HDF5 Data Format Specification 3.5, KNMI IR-2003-05).

In reflectivity (RAD_NL25_PCP, 8 bits) `calibration_missing_data` is 0, but code 0 means that no echo was measured, which
is dry, and 255 that nothing was observed (KNMI, description of data product 1, knmidata.nl).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from data_prep.encoding import NO_ECHO, Unit, plausible
from data_prep.errors import RadarFileError
from data_prep.frames import Grid, Lookup, RadarFrame
from data_prep.projection import metric_proj
from data_prep.readers import LeftOut, Product, Reader
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import RadarFile
from data_prep.readers.hdf5 import dataset, member, numbers, open_hdf5, text
from data_prep.readers.hdf5_chunks import read

# by image_geo_parameter: a sum becomes a rate by its interval
PRODUCTS = {
    "ACCUMULATED_PRECIPITATION_[MM]": Product("rain", "mm/h"),  # RAP, of the two Dutch radars
    "ACCUMULATION_[MM]": Product("rain", "mm/h"),
    "PRECIP_[MM]": Product("rain", "mm/h"),  # RAC: with rain gauges (RTCOR, RFCOR)
    "REFLECTIVITY_[DBZ]": Product("reflectivity", "dBZ"),
}
_NO_ECHO, _NO_DATA = 0, 255  # codes of reflectivity in 8 bits
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FORMULA = re.compile(rf"GEO\s*=\s*({_NUMBER})\s*\*\s*PV\s*(?:\+?\s*({_NUMBER}))?")
_TIME = re.compile(r"(\d{1,2})-([A-Z]{3})-(\d{4});(\d{2}):(\d{2}):(\d{2})(?:\.\d+)?")


@dataclass(frozen=True)
class Header:
    """What a file says about its picture: the interval (UTC), the grid, and the meaning of its codes.

    gain, offset: value in the product's unit = gain * code + offset. missing: codes without data. valid: for which time
    the picture is, where the file says so.
    """

    product: Product
    start: datetime
    end: datetime
    grid: Grid
    gain: float
    offset: float
    missing: frozenset[int]
    dtype: np.dtype[Any]
    valid: datetime | None

    @property
    def interval_s(self) -> int:
        """Seconds from start to end."""
        return round((self.end - self.start).total_seconds())


class KnmiReader(FileReader):
    """KNMI's accumulated precipitation (mm over the interval becomes mm/h) and reflectivity (dBZ)."""

    name = "knmi"
    patterns = ("*.h5", "*.hdf", "*.hdf5")
    modules = (("h5py", "hdf5"),)

    def contents(self, file: RadarFile) -> list[Entry | LeftOut]:
        """The file's one frame; a forecast is left out."""
        with open_hdf5(file) as opened:
            header = _header(opened, file)
        if header.valid not in (None, header.end):
            return [LeftOut(file.name, "a forecast, not an observation", f"valid at {header.valid:%Y-%m-%d %H:%M} UTC")]
        return [Entry(header.end, header.product, interval_s=header.interval_s or None)]

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """The file's one frame."""
        with open_hdf5(file) as opened:
            header = _header(opened, file)
            stored = read(dataset(opened, "image1/image_data", header.grid.shape, header.dtype))
        lookup = _lookup(header.gain, header.offset, header.missing, header.product.unit, header.dtype.itemsize)
        return RadarFrame(stored, header.product.unit, header.end, header.grid, lookup)


def _header(file: Any, of: RadarFile) -> Header:
    image, overview = member(file, "image1"), member(file, "overview")
    name = text(image, "image_geo_parameter")
    if name not in PRODUCTS:
        raise RadarFileError(file.filename, f"holds {name}, this reader takes {' or '.join(PRODUCTS)}")
    product = PRODUCTS[name]
    start, end = (_time(overview, f"product_datetime_{which}") for which in ("start", "end"))
    if start > end or (start == end and product.unit == "mm/h"):
        raise RadarFileError(file.filename, f"its interval ends ({end}) before it begins ({start})")
    calibration = member(image, "calibration")
    gain, offset = _calibration(calibration)
    if product.unit == "mm/h":
        hours = (end - start).total_seconds() / 3600.0
        gain, offset = gain / hours, offset / hours
    names = ("calibration_missing_data", "calibration_out_of_image")
    missing = frozenset(int(numbers(calibration, name, 1)[0]) for name in names)
    dtype = np.dtype(np.uint8 if getattr(member(image, "image_data"), "dtype", None) == np.uint8 else np.uint16)
    if product.unit == "dBZ" and dtype == np.uint8:
        missing = missing - {_NO_ECHO} | {_NO_DATA}
    valid = _time(image, "image_datetime_valid") if "image_datetime_valid" in image.attrs else None
    return Header(product, start, end, _grid(file, of), gain, offset, missing, dtype, valid)


def _time(group: Any, name: str) -> datetime:
    stamp = text(group, name)
    match = _TIME.fullmatch(stamp.upper())  # by hand: strptime's %b follows the user's language
    try:
        if not match:
            raise ValueError
        day, month, *rest = match.groups()
        year, hour, minute, second = (int(part) for part in rest)
        return datetime(year, _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC)
    except ValueError:
        path = group.file.filename
        raise RadarFileError(path, f"{name} is {stamp!r}, expected the form 26-AUG-2010;07:30:00.000") from None


def _calibration(group: Any) -> tuple[float, float]:
    formula = text(group, "calibration_formulas")
    match = _FORMULA.fullmatch(formula)
    gain, offset_mm = (float(match[1]), float(match[2] or 0.0)) if match else (0.0, 0.0)
    if not (0.0 < gain < 1e6 and abs(offset_mm) < 1e6):
        raise RadarFileError(group.file.filename, f"its calibration is {formula!r}, expected the form GEO=0.01*PV+0.0")
    return gain, offset_mm


def _grid(file: Any, of: RadarFile) -> Grid:
    """KNMI counts rows from the pole: north = row offset * (negative) pixel height; offsets are of the outer corner."""
    place = member(file, "geographic")
    rows, columns, height_km, width_km, row_offset, column_offset = (
        numbers(place, f"geo_{name}", 1)[0]
        for name in ("number_rows", "number_columns", "pixel_size_y", "pixel_size_x", "row_offset", "column_offset")
    )
    shape = of.check_pixels(int(rows), int(columns))
    if height_km >= 0 or width_km <= 0:
        what = f"pixels of {height_km:g} x {width_km:g} km, expected rows from north to south"
        raise RadarFileError(file.filename, f"its grid has {what}")
    if text(place, "geo_dim_pixel") != "KM,KM":
        raise RadarFileError(file.filename, f"its pixel size is in {text(place, 'geo_dim_pixel')}, expected KM,KM")
    proj = text(member(place, "map_projection"), "projection_proj4_params")
    return Grid(
        shape=shape,
        proj=metric_proj(proj.replace("+units=km", "+units=m")),
        pixel=(-height_km * 1000.0, width_km * 1000.0),
        west=column_offset * width_km * 1000.0,
        north=row_offset * height_km * 1000.0,
    )


@lru_cache(maxsize=4)
def _lookup(gain: float, offset: float, missing: frozenset[int], unit: Unit, code_bytes: int) -> Lookup:
    codes = np.arange(1 << 8 * code_bytes)
    values = plausible(np.where(np.isin(codes, list(missing)), np.nan, gain * codes + offset), unit)
    if unit == "dBZ" and code_bytes == 1:
        values[_NO_ECHO] = NO_ECHO[unit]
    return Lookup(values)


READER: Reader = KnmiReader()
