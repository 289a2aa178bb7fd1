"""What stored numbers mean: packed, missing, out of range, undetected, in which unit (CF conventions 1.11, sections 2.5, 8.1).

A code without echo is dry: 0 mm/h or kg/m2, or -32 dBZ. What cannot be measured (rain below zero, less than -100 dBZ,
infinity) is missing: archives use such numbers as codes without declaring them, and missing is not zero.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import NO_ECHO, Unit, plausible
from data_prep.frames import Lookup
from data_prep.readers.cf.dataset import Dataset, Variable, numbers, scale_and_offset

_NO_ECHO = re.compile(r"undetect|no_?(echo|precip|rain)|below_?(threshold|detection|noise)|dry", re.IGNORECASE)
_NO_DATA = re.compile(r"no_?data|missing|outside|out_?of|not_?(covered|measured|available)|invalid", re.IGNORECASE)


@dataclass(frozen=True)
class Meaning:
    """What the numbers of a variable mean; equal for two variables whose numbers mean the same.

    signed: of integers, whether they are. missing, dry: stored numbers without data, and of no echo. lowest, highest: the
    valid range, of stored numbers, or of unpacked ones where `range_unpacked`. factor: an unpacked value times this is in
    `unit`; where `logarithm`, 10 log10 of that.
    """

    unit: Unit
    signed: bool = True
    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    dry: tuple[float, ...] = ()
    lowest: float = -np.inf
    highest: float = np.inf
    range_unpacked: bool = False
    factor: float = 1.0
    logarithm: bool = False


def meaning_of(dataset: Dataset, variable: Variable, unit: Unit, factor: float, logarithm: bool) -> Meaning:
    """The meaning that a variable's attributes give its numbers. Raises RadarFileError where they are malformed."""
    scale, offset = scale_and_offset(variable, dataset.name)
    unsigned = variable.text("_Unsigned").lower()
    signed = variable.dtype.kind == "i" if unsigned not in ("true", "false") else unsigned == "false"
    flags = _flags(dataset, variable)
    missing = [*_all(dataset, variable, "_FillValue", "missing_value", "nodata", "_Nodata"), *flags["missing"]]
    dry = [*_all(dataset, variable, "undetect", "_Undetect"), *flags["dry"]]
    if variable.dtype.kind == "i" and not signed:  # a byte's fill value of -1 is written for 255
        codes = 1 << 8 * variable.dtype.itemsize
        missing, dry = ([value + codes * (value < 0) for value in values] for values in (missing, dry))
    lowest, highest, range_unpacked = _valid_range(dataset, variable)
    return Meaning(
        unit, signed, scale, offset, _known(missing), _known(dry), lowest, highest, range_unpacked, factor, logarithm
    )


def _known(values: list[float]) -> tuple[float, ...]:
    return tuple(sorted({value for value in values if not np.isnan(value)}))


def _all(dataset: Dataset, variable: Variable, *names: str) -> list[float]:
    return [value for name in names for value in numbers(variable.attributes, name, dataset.name)]


def _flags(dataset: Dataset, variable: Variable) -> dict[Literal["missing", "dry"], list[float]]:
    """The stored numbers that flag_meanings calls no echo or no data; other flags stay what their number is."""
    values = numbers(variable.attributes, "flag_values", dataset.name)
    meanings = list(zip(values, variable.text("flag_meanings").split(), strict=False))
    return {
        "missing": [value for value, words in meanings if _NO_DATA.search(words)],
        "dry": [value for value, words in meanings if _NO_ECHO.search(words) and not _NO_DATA.search(words)],
    }


def _valid_range(dataset: Dataset, variable: Variable) -> tuple[float, float, bool]:
    """Lowest and highest valid number, and whether they are of unpacked ones: those of a wider type than the packed are."""
    both = numbers(variable.attributes, "valid_range", dataset.name)
    if len(both) not in (0, 2):
        raise dataset.error(f"valid_range of {variable.name!r} is {both}, expected two numbers")
    lowest = [*both[:1], *numbers(variable.attributes, "valid_min", dataset.name), -np.inf]
    highest = [*both[1:], *numbers(variable.attributes, "valid_max", dataset.name), np.inf]
    given = [
        np.asarray(variable.attributes[name])
        for name in ("valid_range", "valid_min", "valid_max")
        if name in variable.attributes
    ]
    unpacked = variable.dtype.kind in "iu" and any(value.dtype.kind == "f" for value in given)
    return lowest[0], highest[0], unpacked


def physical(meaning: Meaning, stored: NDArray[Any]) -> NDArray[np.float32]:
    """The stored numbers in the meaning's unit, float32, same shape, NaN where there are no data."""
    with np.errstate(all="ignore"):  # a damaged file's numbers may be any
        return _physical(meaning, stored)


def _physical(meaning: Meaning, stored: NDArray[Any]) -> NDArray[np.float32]:
    packed = (meaning.scale, meaning.offset) != (1.0, 0.0)
    plain = stored.dtype == np.float32 and not packed and not meaning.logarithm
    values: NDArray[np.floating[Any]] = stored.astype(np.float32 if plain else np.float64)
    absent = np.isnan(values)
    limited: NDArray[np.floating[Any]] = (
        values if not meaning.range_unpacked else values * meaning.scale + meaning.offset
    )
    if np.isfinite(meaning.lowest):
        absent |= limited < meaning.lowest
    if np.isfinite(meaning.highest):
        absent |= limited > meaning.highest
    for code in meaning.missing:
        absent |= values == values.dtype.type(code)
    dry = np.zeros(values.shape, bool)
    for code in meaning.dry:
        dry |= values == values.dtype.type(code)
    if packed:
        values = values * meaning.scale + meaning.offset
    if meaning.factor != 1.0:
        values *= values.dtype.type(meaning.factor)
    if meaning.logarithm:  # NaN below 0
        values = 10.0 * np.log10(values)
    values = plausible(values, meaning.unit)
    values[absent] = np.nan
    values[dry] = NO_ECHO[meaning.unit]
    return np.asarray(values, np.float32)


def codes_of(meaning: Meaning, stored: NDArray[Any]) -> tuple[NDArray[Any], Lookup | None]:
    """What a RadarFrame keeps: the archive's own codes of 8 or 16 bits with their lookup, else float32 in the unit."""
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        codes = np.ascontiguousarray(stored).view(f"u{stored.dtype.itemsize}")
        return codes, _lookup(meaning, stored.dtype.itemsize)
    if stored.dtype.kind in "iu":
        stored = np.ascontiguousarray(stored).view(f"{'i' if meaning.signed else 'u'}{stored.dtype.itemsize}")
    return physical(meaning, stored), None


@lru_cache(maxsize=32)
def _lookup(meaning: Meaning, code_bytes: int) -> Lookup:
    codes = np.arange(1 << 8 * code_bytes, dtype=f"u{code_bytes}")
    return Lookup(physical(meaning, codes.view(f"i{code_bytes}") if meaning.signed else codes))
