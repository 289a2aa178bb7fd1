"""What a user adds to files that do not say all: a JSON beside one file, or one for a whole folder.

`rain.json` beside `rain.tif`, else `geotiff.json` in the same folder: an object with any of the keys of `SideCar`. What it
says goes before what the file says.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any

from data_prep.errors import RadarFileError
from data_prep.readers.files import RadarFile

_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class SideCar:
    """Each None (or empty) where it is not given.

    unit: in words, as `coding.meaning_of` takes it. gain, offset: value in it = gain * stored + offset. nodata, undetect:
    stored numbers for no data and for no echo. interval_s: that a sum covers. time: form of the file's name without its
    last ending, as `stamps.time_by` takes it, such as "*_%Y%m%d%H%M*".
    """

    unit: str | None = None
    gain: float | None = None
    offset: float | None = None
    nodata: frozenset[float] = frozenset()
    undetect: frozenset[float] = frozenset()
    interval_s: float | None = None
    time: str | None = None


def side_car(file: RadarFile, folder_wide: str) -> SideCar:
    """What lies beside a file: of its own, else of the name `folder_wide`. Raises RadarFileError where that is not valid."""
    found = file.beside(f"{PurePosixPath(file.plain_name).stem}.json") or file.beside(folder_wide)
    if found is None:
        return SideCar()
    text = found.head(_MOST_BYTES + 1)
    try:
        given = json.loads(text) if len(text) <= _MOST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise RadarFileError(found.name, f"is not JSON ({error})") from error
    known = {field.name for field in fields(SideCar)}
    if not isinstance(given, dict) or not given.keys() <= known:
        odd = ", ".join(sorted(given.keys() - known)) if isinstance(given, dict) else "no object"
        raise RadarFileError(found.name, f"holds {odd}; give an object with some of {', '.join(sorted(known))}")
    return SideCar(**{key: _checked(found, key, value) for key, value in given.items()})


def _checked(found: RadarFile, key: str, value: Any) -> Any:
    if key in ("unit", "time"):
        if isinstance(value, str) and value:
            return value
        raise RadarFileError(found.name, f"{key} is {value!r}, expected a text")
    numbers = value if isinstance(value, list) and key in ("nodata", "undetect") else [value]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise RadarFileError(found.name, f"{key} is {value!r}, expected a number")
    if key in ("nodata", "undetect"):
        return frozenset(float(number) for number in numbers if not math.isnan(number))
    if not math.isfinite(value) or (key in ("gain", "interval_s") and value <= 0):
        raise RadarFileError(
            found.name, f"{key} is {value!r}, expected a finite number{'' if key == 'offset' else ' above 0'}"
        )
    return float(value)
