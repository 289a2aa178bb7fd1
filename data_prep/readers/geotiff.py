"""GeoTIFFs of a radar field from any source: a band is a frame, north-up or south-up, in metres or in degrees.

A GeoTIFF (OGC 19-008r4) says where it lies; what its numbers are stands, if at all, in GDAL's metadata: a band's unit, scale
and offset, nodata, description, tags. What is not there comes from a side-car JSON (`side_cars.RasterSideCar`). A band's unit is
looked for in: the side-car, its unit type, its and the file's tags `units` or `unit`, its description's brackets. Its time in:
the side-car's form of the name, its and the file's tags, its description, the file's name, TIFFTAG_DATETIME last (by the
TIFF standard that is when the file was made). It is taken as UTC and as the end of the interval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from data_prep.encoding import Unit
from data_prep.errors import RadarFileError
from data_prep.frames import RadarFrame
from data_prep.readers import LeftOut, Product, Reader
from data_prep.readers.coding import UNIT_WORDS, Coding, coded_frame, meaning_of
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import RadarFile
from data_prep.readers.raster import data_bands, grid_of, open_geotiff, read_band, unseen
from data_prep.readers.side_cars import RasterSideCar, beside, parse, text_of
from data_prep.readers.stamps import times_in

FOLDER_WIDE = "geotiff.json"
NAMES: dict[Unit, str] = {"mm/h": "rain", "dBZ": "reflectivity", "kg/m2": "vil"}
_TIME_TAGS = ("valid_time", "observation_time", "acquisitiondatetime", "nominal_time", "end_time", "datetime", "time")
_IN_BRACKETS = re.compile(r"[\[(]([^\[\]()]+)[\])]\s*$")


class Band(NamedTuple):
    """One that holds a frame."""

    entry: Entry  # its item is the band's number
    coding: Coding


class GeotiffReader(FileReader):
    """Bands whose unit is that of a rain rate, a sum over a known interval (becomes a rate), reflectivity or VIL."""

    name = "geotiff"
    patterns = ("*.tif", "*.tiff", "*.gtiff")
    modules = (("rasterio", "geotiff"), ("pyproj", "geotiff"))

    def contents(self, file: RadarFile) -> list[Entry | LeftOut]:
        """A frame per band; bands without a unit are left out where others have one."""
        with open_geotiff(file) as dataset:
            grid_of(file, dataset)
            found = list(_bands(file, dataset))
        return [one.entry if isinstance(one, Band) else one for one in found]

    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """The frame of the band that is the entry's item."""
        with open_geotiff(file) as dataset:
            bands = {one.entry.item: one for one in _bands(file, dataset) if isinstance(one, Band)}
            if entry.item not in bands:
                raise RadarFileError(file.name, f"has no band {entry.item} with a unit any more")
            (now, coding), grid = bands[entry.item], grid_of(file, dataset)
            stored, without = read_band(dataset, now.item), unseen(dataset, now.item)
        return coded_frame(stored, coding, now.time, grid, without)


def _bands(file: RadarFile, dataset: Any) -> Iterator[Band | LeftOut]:
    found, tags = beside(file, FOLDER_WIDE), _tags(dataset)
    note = parse(RasterSideCar, text_of(found), found.name) if found else RasterSideCar()
    numbers = data_bands(file, dataset)
    codings = {number: _coding(dataset, number, note, tags) for number in numbers}
    if not any(isinstance(coding, Coding) for coding in codings.values()):
        raise RadarFileError(file.name, f"{next(iter(codings.values()))}; {_advice(file)}")
    times = {number: _own_time(dataset, number) for number in numbers}
    are_times = len(numbers) > 1 and len(set(times.values())) == len(numbers) and None not in times.values()
    of_file = None if are_times else _time(file, note, tags)
    for number, coding in codings.items():
        if isinstance(coding, str):
            yield LeftOut(f"{file.name} band {number}", "band without a unit", coding)
            continue
        time = of_file if len(numbers) > 1 and not are_times else times[number] or of_file
        if time is None:
            raise RadarFileError(file.name, f"has no time in its tags or name; {_time_advice(file)}")
        alone = are_times or len(numbers) == 1
        name = NAMES[coding.unit] if alone else dataset.descriptions[number - 1] or f"band {number}"
        yield Band(Entry(time, Product(name, coding.unit), number, note.whole_interval_s), coding)


def _tags(dataset: Any, number: int = 0) -> dict[str, str]:
    """Metadata of the file, or of a band, by lower-case names."""
    found: Mapping[str, str] = dataset.tags(number) if number else dataset.tags(ns="IMAGERY") | dataset.tags()
    return {key.lower(): value for key, value in found.items()}


def _coding(dataset: Any, number: int, note: RasterSideCar, tags: Mapping[str, str]) -> Coding | str:
    """What a band's numbers mean, or why that is not known."""
    own, i = _tags(dataset, number), number - 1
    bracketed = _IN_BRACKETS.search(dataset.descriptions[i] or "")
    offered = (
        note.unit, dataset.units[i], own.get("units"), own.get("unit"), tags.get("units"), tags.get("unit"),
        bracketed[1] if bracketed else None,
    )  # fmt: skip
    words = next((word for word in offered if word and word.strip()), None)
    if words is None:
        return "has no unit"
    meaning = meaning_of(words, note.interval_s)
    if meaning is None:
        return f"is in {words!r}, expected one of {UNIT_WORDS}"
    if meaning.factor != meaning.factor:
        return f"is in {words!r}, a sum, without the interval that it covers"
    gain = dataset.scales[i] if note.gain is None else note.gain
    offset = dataset.offsets[i] if note.offset is None else note.offset
    nodata = () if dataset.nodatavals[i] is None else (float(dataset.nodatavals[i]),)
    missing = frozenset(note.missing) or frozenset(number for number in nodata if number == number)
    return Coding(meaning.unit, gain * meaning.factor, offset * meaning.factor, missing, frozenset(note.undetect))


def _own_time(dataset: Any, number: int) -> datetime | None:
    tags = _tags(dataset, number)
    texts = [tags.get(key, "") for key in _TIME_TAGS] + [dataset.descriptions[number - 1] or ""]
    return next((found.pop() for text in texts if len(found := times_in(text)) == 1), None)


def _time(file: RadarFile, note: RasterSideCar, tags: Mapping[str, str]) -> datetime | None:
    try:
        if said := note.time_in(file.plain_name):
            return said
    except ValueError as error:
        raise RadarFileError(file.name, str(error)) from error
    for key in _TIME_TAGS:
        if len(found := times_in(tags.get(key, ""))) == 1:
            return found.pop()
    found = times_in(PurePosixPath(file.plain_name).stem)
    if len(found) > 1:
        raise RadarFileError(file.name, f"has {len(found)} times in its name; {_time_advice(file)}")
    return next(iter(found or times_in(tags.get("tifftag_datetime", ""))), None)


def _beside(file: RadarFile) -> str:
    return f"{PurePosixPath(file.plain_name).stem}.json (or, for the whole folder, {FOLDER_WIDE}) beside it"


def _advice(file: RadarFile) -> str:
    return f'write {{"unit": "mm/h"}} or its own unit, with "interval_s" for a sum, in {_beside(file)}'


def _time_advice(file: RadarFile) -> str:
    return f'write {{"name_time": "*_%Y%m%d%H%M*"}}, the form of its name, in {_beside(file)}'


READER: Reader = GeotiffReader()
