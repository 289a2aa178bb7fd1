"""What a user adds to files that do not say all, or nothing: a JSON beside one file, or one for a whole folder.

`rain.json` beside `rain.tif` or `rain.npy`, else one of the format's name in the same folder. A raster may say all itself, and
what its side-car says goes before that; an array says nothing.
"""

from __future__ import annotations

import difflib
import re
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from data_prep.encoding import Unit
from data_prep.errors import RadarFileError
from data_prep.frames import Grid, unit_of, wrapped
from data_prep.projection import corner_of, metric_proj
from data_prep.readers.files import RadarFile
from data_prep.readers.stamps import time_by
from data_prep.times import utc

Kind = TypeVar("Kind", bound="SideCar")

_MOST_BYTES = 1 << 22
Positive = Annotated[float, Field(gt=0)]


def _listed(value: Any) -> Any:
    """NaN needs no naming, and is what programs write that name it."""
    return [one for one in (value if isinstance(value, list) else [value]) if one == one]


Numbers = Annotated[list[Annotated[float, Field(allow_inf_nan=True)]], BeforeValidator(_listed)]


class SideCar(BaseModel):
    """The keys that every side-car may have. Strict: an unknown key or a wrong type is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    missing: Numbers = Field(
        [],
        validation_alias=AliasChoices("missing", "nodata"),
        description="stored values that mean no data; NaN always does",
    )
    undetect: Numbers = Field([], description="stored values that mean looked and saw nothing: dry")
    interval_s: Positive | None = Field(None, description="seconds that a frame covers")
    name_time: str | None = Field(
        None,
        min_length=1,
        validation_alias=AliasChoices("name_time", "time"),
        description='form of the file\'s name: "radar_%Y%m%d%H%M.npy", or "*_%Y%m%d%H%M*" without the last ending',
    )

    def time_in(self, name: str) -> datetime | None:
        """The time, UTC, in the name of a file; None without `name_time`. Raises ValueError where it is not of that form."""
        if self.name_time is None:
            return None
        try:
            return utc(datetime.strptime(name, self.name_time))
        except (ValueError, re.error):
            found = time_by(self.name_time, PurePosixPath(name).stem)
        if found is None:
            raise ValueError(f"its name is not of the side-car's form {self.name_time!r}")
        return found

    @property
    def whole_interval_s(self) -> int | None:
        """As a frame's entry has it."""
        return None if self.interval_s is None else round(self.interval_s)


class RasterSideCar(SideCar):
    """All keys of a raster's."""

    unit: str | None = Field(None, min_length=1, description="in words, as `coding.meaning_of` takes it")
    gain: Positive | None = Field(None, description="value = gain * stored + offset")
    offset: float | None = Field(None, description="value = gain * stored + offset")


class ArraySideCar(SideCar):
    """All keys of an array's."""

    unit: Unit = Field(
        description='of gain * stored + offset: "mm/h", "dBZ" or "kg/m2"; of a sum let gain divide by hours'
    )
    axes: Literal["HW", "THW", "HWT"] = Field(description="order of the array's axes: rows H, columns W, times T")
    rows: Literal["north_first", "south_first"] = Field(description="where row 0 lies")
    proj: str = Field(description='PROJ string, in metres, or "+proj=longlat" in degrees')
    pixel: tuple[Positive, Positive] = Field(description="[height, width] of a pixel, in proj's unit")
    west: float | None = Field(None, description="x of the outer edge of the first column, in proj's unit")
    north: float | None = Field(None, description="y of the outer edge of the northern row, in proj's unit")
    corner_lonlat: tuple[float, float] | None = Field(
        None, description="instead of west and north: [longitude, latitude] of the outer north-western corner, degrees"
    )
    times: list[str] | None = Field(None, description="ISO 8601 time of each frame, UTC unless it says otherwise")
    start: str | None = Field(None, description="instead of times: that of the first frame")
    step_s: Positive | None = Field(None, description="seconds between frames, with start or name_time and axis T")
    time_is: Literal["end", "start"] = Field("end", description="what a time is of the interval that a frame covers")
    gain: float = Field(1.0, description="value = gain * stored + offset")
    offset: float = Field(0.0, description="value = gain * stored + offset")
    variable: str | None = Field(None, description="the array's name in an .npz that holds several")
    product: str = Field("field", min_length=1, description="name of what the frames show")

    @field_validator("times")
    @classmethod
    def _times_in_utc(cls, times: list[str] | None) -> list[str] | None:
        for time in times or ():
            _utc(time)
        return times

    @field_validator("start")
    @classmethod
    def _start_in_utc(cls, start: str | None) -> str | None:
        if start is not None:
            _utc(start)
        return start

    @field_validator("proj")
    @classmethod
    def _proj_in_metres_or_degrees(cls, proj: str) -> str:
        if "+proj=" not in proj or ("+units=" in proj and "+units=m" not in proj.split()):
            raise ValueError('give a PROJ string with +proj=, in metres ("+units=m") or "+proj=longlat"')
        return proj

    @model_validator(mode="after")
    def _one_place_and_one_time(self) -> ArraySideCar:
        west_north = (self.west is not None, self.north is not None)
        if west_north != ((False, False) if self.corner_lonlat else (True, True)):
            raise ValueError("give either west and north, or corner_lonlat")
        if sum(value is not None for value in (self.times, self.start, self.name_time)) != 1:
            raise ValueError("give one of times, start and name_time")
        if self.times is not None and self.step_s is not None:
            raise ValueError("give either times or step_s")
        if self.times is None and "T" in self.axes and self.step_s is None:
            raise ValueError("an axis T with start or name_time needs step_s")
        if self.time_is == "start" and self.interval_s is None:
            raise ValueError('time_is "start" needs interval_s, to know when a frame ends')
        return self

    def frame_times(self, count: int, name: str) -> list[datetime]:
        """UTC ends of the intervals of `count` frames of the file `name`. Raises ValueError where they are not known."""
        if self.times is not None:
            times = [_utc(time) for time in self.times]
        else:
            first = self.time_in(name) or _utc(self.start or "")
            times = [first + i * timedelta(seconds=self.step_s or 0) for i in range(count)]
        if len(times) != count:
            raise ValueError(f"its side-car gives {len(times)} times for {count} frames")
        late = timedelta(seconds=(self.interval_s or 0) if self.time_is == "start" else 0)
        return [time + late for time in times]

    def grid(self, rows: int, columns: int) -> Grid:
        """The grid of frames of that size, row 0 in the north. Raises UserError where `proj` is none or pyproj is absent."""
        proj, west, north = metric_proj(self.proj), self.west or 0.0, self.north or 0.0
        if self.corner_lonlat:
            west, north = corner_of(proj, *self.corner_lonlat)
        if unit_of(proj) == "degree":
            west = wrapped(west)
        return Grid((rows, columns), proj, self.pixel, west, north)


def _utc(text: str) -> datetime:
    return utc(datetime.fromisoformat(text))


def beside(file: RadarFile, folder_wide: str) -> RadarFile | None:
    """The side-car of a file: its own, else the one of the name `folder_wide`; None without."""
    return file.beside(f"{PurePosixPath(file.plain_name).stem}.json") or file.beside(folder_wide)


def text_of(side_car: RadarFile) -> str:
    """Its JSON. Raises RadarFileError where it is too long or no text."""
    content = side_car.head(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise RadarFileError(side_car.name, f"is larger than {_MOST_BYTES} bytes, which no side-car is")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RadarFileError(side_car.name, f"is no UTF-8 text ({error})") from error


def parse(kind: type[Kind], text: str, where: str) -> Kind:
    """A side-car's JSON. where: the file, in errors. Raises RadarFileError with all that is wrong."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise RadarFileError(where, "; ".join(_problem(kind, one) for one in error.errors())) from error


def _problem(side_car: type[SideCar], error: ErrorDetails) -> str:
    key, kind = ".".join(str(part) for part in error["loc"]), error["type"]
    fields = side_car.model_fields
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, fields, 1)
        return f"unknown key {key!r}, " + (
            f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(fields)}"
        )
    if kind == "missing" and key in fields:
        return f"missing key {key!r}: {fields[key].description}"
    if kind == "value_error":
        return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
    if not key:
        return f"is no JSON object ({error['msg']})"
    return f"{key} is {str(error['input'])[:60]!r}: {error['msg']}"
