"""FMI's composites of Finland: reflectivity or rain as PGM, or as GeoTIFF (Finnish Meteorological Institute, open data).

PGM: `P5`, then comment lines with the time (`obstime`, UTC, nominal: it is taken as the interval's end), what is shown, and
`projection radar {...}`, a polar stereographic one with the outer corners in degrees; then the size, the largest code, and
uint8 codes, row 0 in the north: dBZ = 0.5 * code - 32, 0 no echo, 255 no data (FMI's open data manual). The earth's radius is
not in the file: with 6,371,288 m the corners lie the stated metres per pixel apart.
GeoTIFF: the same in the tag GDAL_METADATA, as XML in text: time, quantity and its unit, gain, offset, nodata, undetect, of a
sum its hours. Both of one time agree where they overlap, to less than a pixel of the coarser one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data_prep.errors import RadarFileError
from data_prep.frames import Grid, RadarFrame
from data_prep.projection import ProjectionError, corner_of
from data_prep.readers import Product, Reader
from data_prep.readers.coding import UNIT_WORDS, Coding, coded_frame, meaning_of
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import RadarFile
from data_prep.readers.geotiff import NAMES
from data_prep.readers.raster import grid_of, open_geotiff, read_band
from data_prep.readers.stamps import times_in

EARTH_M = 6_371_288.0
_PGM_DBZ = Coding("dBZ", 0.5, -32.0, frozenset({255.0}), frozenset({0.0}))
_PGM = b"P5"
_MOST_HEADER = 1 << 13  # bytes; FMI's has 686
_HEADER = re.compile(rb"P5\s+((?:#[^\n]*\n\s*)*)(\d{1,9})\s+(\d{1,9})\s+(\d{1,5})\s")
_ITEM = re.compile(r'<Item name="([^"<>]*)"(?:\s+(?:unit="([^"<>]*)"|\w+="[^"<>]*"))?\s*>([^<]*)</Item>')


class Pgm(NamedTuple):
    """What a PGM's header says. start: of its codes, in bytes."""

    time: datetime
    grid: Grid
    start: int


class FmiReader(FileReader):
    """FMI's composites, PGM (dBZ) and GeoTIFF (dBZ, mm/h, or mm over hours, which becomes mm/h)."""

    name = "fmi"
    patterns = ("*.pgm", "*.tif", "*.tiff")
    modules = (("pyproj", "geo"),)  # and rasterio where there is a GeoTIFF

    def contents(self, file: RadarFile) -> list[Entry]:
        """The file's one frame."""
        head = file.head(_MOST_HEADER)
        if head.startswith(_PGM):
            return [Entry(_pgm(file, head).time, Product("reflectivity", "dBZ"))]
        with open_geotiff(file) as dataset:
            grid_of(file, dataset)
            return [_described(file, dataset.tags())[0]]

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """The file's one frame."""
        if not file.head(len(_PGM)).startswith(_PGM):
            with open_geotiff(file) as dataset:
                (now, coding), grid = _described(file, dataset.tags()), grid_of(file, dataset)
                return coded_frame(read_band(dataset, 1), coding, now.time, grid)
        header = _pgm(file, file.content)
        count = math.prod(header.grid.shape)
        if len(file.content) < header.start + count:
            has = max(len(file.content) - header.start, 0)
            raise RadarFileError(file.name, f"ends after {has} of {count} pixels; it is cut off")
        codes = np.frombuffer(file.content, np.uint8, count, header.start).reshape(header.grid.shape)
        return coded_frame(codes, _PGM_DBZ, header.time, header.grid)


def _pgm(file: RadarFile, head: bytes) -> Pgm:
    match = _HEADER.match(head[:_MOST_HEADER])
    if not match:
        raise RadarFileError(file.name, "its header is not that of a PGM: P5, comments, size, largest code")
    columns, rows, largest = (int(match[i]) for i in (2, 3, 4))
    file.check_pixels(rows, columns)
    if largest != 255:
        raise RadarFileError(file.name, f"its largest code is {largest}, expected 255 (no data)")
    lines = [line.lstrip("# ").split(maxsplit=1) for line in match[1].decode("ascii", "replace").splitlines()]
    says = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    if "reflectivity" not in says.get("param", "").lower():
        raise RadarFileError(file.name, f"shows {says.get('param')!r}, expected CorrectedReflectivity")
    times = times_in(says.get("obstime", ""))
    if len(times) != 1:
        raise RadarFileError(file.name, f"its obstime is {says.get('obstime')!r}, expected one like 201609281445")
    return Pgm(times.pop(), _grid(file, says, rows, columns), match.end())


def _grid(file: RadarFile, says: Mapping[str, str], rows: int, columns: int) -> Grid:
    def numbers(key: str, count: int) -> tuple[float, ...]:
        try:
            found = tuple(float(word) for word in says.get(key, "").split())
        except ValueError:
            found = ()
        if len(found) != count or not all(map(math.isfinite, found)):
            raise RadarFileError(file.name, f"its {key} is {says.get(key)!r}, expected {count} finite numbers")
        return found

    kind, [middle] = says.get("type"), numbers("centrallatitude", 1)
    if kind != "stereographic" or abs(middle) != 90.0:
        raise RadarFileError(
            file.name, f"its projection is {kind!r} at latitude {middle:g}, expected a polar stereographic"
        )
    lon_0, lat_ts = *numbers("centrallongitude", 1), *numbers("truelatitude", 1)
    proj = f"+proj=stere +lat_0={middle:g} +lat_ts={lat_ts:.10g} +lon_0={lon_0:.10g} +R={EARTH_M:.0f} +units=m"
    try:
        (west, south), (east, north) = (_corner(proj, *numbers(key, 2)) for key in ("bottomleft", "topright"))
    except ProjectionError as error:
        raise RadarFileError(file.name, str(error)) from error
    height, width = (north - south) / rows, (east - west) / columns
    for key, size, count in (("metersperpixel_y", height, rows), ("metersperpixel_x", width, columns)):
        [stated] = numbers(key, 1)
        if not abs(size - stated) * count < 0.5 * stated:
            what = f"its corners lie {count} x {size:.6g} m apart, but its {key} is {stated:g}"
            raise RadarFileError(file.name, f"{what}; its place is not known to a pixel")
    return Grid((rows, columns), proj, (height, width), west, north)


@lru_cache(maxsize=16)
def _corner(proj: str, lon: float, lat: float) -> tuple[float, float]:
    return corner_of(proj, lon, lat)


def _described(file: RadarFile, tags: Mapping[str, str]) -> tuple[Entry, Coding]:
    items = {
        item[1].lower(): (item[3].strip(), item[2] or "") for item in _ITEM.finditer(tags.get("GDAL_METADATA", ""))
    }
    lacks = [name for name in ("observation time", "quantity", "gain", "offset", "nodata") if name not in items]
    if lacks:
        what = f"its GDAL_METADATA says no {', '.join(lacks)}, as FMI's does"
        raise RadarFileError(file.name, f"{what}; read other GeoTIFFs with --format geotiff")
    times = times_in(items["observation time"][0])
    if len(times) != 1:
        raise RadarFileError(file.name, f"its observation time is {items['observation time'][0]!r}")
    interval_s = _number(file, items, "accumulation time") * 3600.0 if "accumulation time" in items else None
    quantity, words = items["quantity"]
    meaning = meaning_of(words, interval_s)
    if meaning is None or math.isnan(meaning.factor):
        raise RadarFileError(file.name, f"holds {quantity!r} in {words!r}, expected one of {UNIT_WORDS}")
    undetect = {_number(file, items, "undetect")} if "undetect" in items else set[float]()
    coding = Coding(
        meaning.unit,
        _number(file, items, "gain") * meaning.factor,
        _number(file, items, "offset") * meaning.factor,
        frozenset({_number(file, items, "nodata")}),
        frozenset(undetect),
    )
    name = NAMES[meaning.unit] + (f" over {interval_s / 3600.0:g} h" if meaning.is_sum and interval_s else "")
    return Entry(times.pop(), Product(name, meaning.unit), interval_s=round(interval_s) if interval_s else None), coding


def _number(file: RadarFile, items: Mapping[str, tuple[str, str]], key: str) -> float:
    text, unit = items[key]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (key == "accumulation time" and (unit not in ("", "h") or number <= 0.0)):
        raise RadarFileError(file.name, f"its {key} is {text!r} {unit}, expected a finite number")
    return number


READER: Reader = FmiReader()
