"""What the numbers of a raster mean: a unit in words, gain and offset, codes for no data and for no echo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import NO_ECHO, Unit, plausible
from data_prep.frames import Grid, Lookup, RadarFrame

# Words in lower case without blanks, ^, *, (); water of 1 mm is 1 kg/m2. How much of the unit one of the word is. No m/s and
# no m: a radar has velocities and heights in those.
_RATES_MM_H = {
    **dict.fromkeys(("mm/h", "mm/hr", "mm/hour", "mmh-1", "mmhr-1", "kgm-2h-1", "kg/m2/h"), 1.0),
    **dict.fromkeys(("mm/s", "mms-1", "kgm-2s-1", "kg/m2/s", "kg/m2s"), 3600.0),
    **dict.fromkeys(("mm/day", "mm/d", "mmday-1", "mmd-1"), 1.0 / 24.0),
}
_SUMS_MM = {"mm": 1.0, "in": 25.4, "inch": 25.4}
_OTHERS: dict[str, Unit] = {"dbz": "dBZ", "kg/m2": "kg/m2", "kgm-2": "kg/m2"}
UNIT_WORDS = "mm/h, mm/day, kg m-2 s-1, dBZ, kg/m2 (VIL), or mm (a sum, with its interval)"
_LONGEST = 40
_SUM_OVER = re.compile(r"mm/(\d+)min")
_TIMES = re.compile(r"(\d*\.\d+|\d+\.?)(.+)")


class Meaning(NamedTuple):
    """A unit in words: one of it is `factor` of `unit`. is_sum: over an interval, `factor` then turns it into a rate."""

    unit: Unit
    factor: float
    is_sum: bool = False


def meaning_of(words: str, interval_s: float | None = None) -> Meaning | None:
    """What a unit in words is, such as "mm h-1", "0.1 mm/h", "dBZ", or "mm" (a sum over interval_s); None if not known.

    A sum whose interval is not known has the factor NaN.
    """
    word = re.sub(r"[\s^*()\[\]·]", "", words.lower().replace("**", ""))
    if len(word) > _LONGEST:
        return None
    if times := _TIMES.fullmatch(word):
        found = meaning_of(times[2], interval_s)
        return found._replace(factor=found.factor * float(times[1])) if found else None
    if word in _RATES_MM_H:
        return Meaning("mm/h", _RATES_MM_H[word])
    if word in _SUMS_MM:
        return Meaning("mm/h", _SUMS_MM[word] * 3600.0 / interval_s if interval_s else np.nan, is_sum=True)
    if over := _SUM_OVER.fullmatch(word):
        return Meaning("mm/h", 60.0 / int(over[1])) if int(over[1]) else None
    return Meaning(_OTHERS[word], 1.0) if word in _OTHERS else None


@dataclass(frozen=True)
class Coding:
    """Value in `unit` = (gain * stored + offset) * factor; `missing`, `undetect`: stored numbers of no data, of no echo."""

    unit: Unit
    gain: float = 1.0
    offset: float = 0.0
    missing: frozenset[float] = frozenset()
    undetect: frozenset[float] = frozenset()
    factor: float = 1.0

    def special(self, stored: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where stored numbers (any shape) stand for no data, and where for no echo."""
        return _any_of(stored, self.missing), _any_of(stored, self.undetect)

    def values(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """float32, same shape, in `unit`: NaN for no data and for what is not `plausible`, `NO_ECHO` for no echo."""
        with np.errstate(invalid="ignore", over="ignore"):
            missing, dry = self.special(stored)
            values = plausible((stored.astype(np.float64) * self.gain + self.offset) * self.factor, self.unit)
        values[dry] = NO_ECHO[self.unit]
        values[missing] = np.nan
        return values.astype(np.float32)


def _any_of(stored: NDArray[Any], numbers: frozenset[float]) -> NDArray[np.bool_]:
    """Floats are compared in at most 32 bits: a file may keep them in 32 and the number in 64, or the other way round."""
    found, is_float = np.zeros(stored.shape, np.bool_), stored.dtype.kind == "f"
    if is_float and stored.itemsize > 4:
        stored = stored.astype(np.float32)
    for number in numbers:
        as_stored = stored.dtype.type(number) if is_float else number
        if np.isinf(as_stored) == np.isinf(number):
            found |= stored == as_stored
    return found


def coded_frame(
    stored: NDArray[Any], coding: Coding, time: datetime, grid: Grid, unseen: NDArray[np.bool_] | None = None
) -> RadarFrame:
    """The frame of stored numbers (rows, columns), row 0 in the north; integers of up to 16 bits stay as they are.

    unseen: where there is no data, whatever is stored.
    """
    if stored.dtype.kind in "iu" and stored.itemsize <= 2 and unseen is None:
        codes = stored.view(f"u{stored.itemsize}")
        return RadarFrame(codes, coding.unit, time, grid, lookup_of(coding, stored.dtype.str))
    field = coding.values(stored)
    if unseen is not None:
        field[unseen] = np.nan
    return RadarFrame(field, coding.unit, time, grid)


@lru_cache(maxsize=32)
def lookup_of(coding: Coding, dtype: str) -> Lookup:
    """The meaning of stored integers of up to 16 bits as unsigned codes, which it was made for before where it could be."""
    kind = np.dtype(dtype)
    codes = np.arange(1 << 8 * kind.itemsize).astype(f"u{kind.itemsize}").view(kind)
    return Lookup(coding.values(codes))
