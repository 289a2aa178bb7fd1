"""What the values of a split are like, worked out from how often each code occurs.

Exact for codes of 8 bits. Wider codes are counted in 256 bins, and what is said of them is so coarse: a bin's value is the mean
of its codes'.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_prep.encoding import Encoding
from data_prep.shards.tally import CodeTally

QUANTILES = ("0.5", "0.9", "0.99", "0.999")
_DIGITS = 9  # kept, so that processors whose last digits differ write the same
_ROUNDED = 1e-8  # by so much, relative, may numbers differ that were rounded so


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class UnitStatistics(_Model):
    """Of the pixels with data, in one unit; no echo counts as the encoding's lowest value."""

    mean: float
    std: float
    min: float
    max: float
    quantiles: dict[str, float] = Field(description="by share: the smallest value that so many pixels do not exceed")


class Statistics(_Model):
    """Of all pixels of a split's samples as they are stored, whatever the probability that a sample was kept with."""

    count: int = Field(ge=0, description="pixels with data")
    missing_share: float = Field(description="of all pixels")
    wet_share: float = Field(description="of those with data")
    values: dict[str, UnitStatistics] = Field(description="by unit; empty where no pixel has data")
    at_or_above: dict[str, dict[str, float]] = Field(
        description="by unit and threshold: share of the pixels with data that reach it"
    )
    model_mean: float | None = Field(description="in model space, of pixels with data; None where there are none")
    model_std: float | None

    def differs_from(self, other: Statistics) -> bool:
        """Whether they say something else, rounding aside."""
        return not _alike(self.model_dump(), other.model_dump())


def statistics_of(tally: CodeTally, encoding: Encoding) -> Statistics:
    """The statistics that belong to counts."""
    seen = _seen(tally, encoding)
    shares = {"missing_share": tally.missing_share, "wet_share": tally.wet_share}
    if not any(seen):
        return Statistics(count=0, **shares, values={}, at_or_above={}, model_mean=None, model_std=None)
    model = encoding.model_table()
    in_model = _of_unit(seen, _binned(model, encoding))
    return Statistics(
        count=sum(seen),
        **shares,
        values={unit: _of_unit(seen, _binned(encoding.values[unit], encoding)) for unit in encoding.units},
        at_or_above={
            unit: {f"{t:g}": _mean(seen, _binned(model >= encoding.to_model(t, unit), encoding)) for t in thresholds}
            for unit, thresholds in encoding.thresholds.items()
        },
        model_mean=in_model.mean,
        model_std=in_model.std,
    )


def _seen(tally: CodeTally, encoding: Encoding) -> list[int]:
    """How often each bin occurs (256,), without what is missing, which lies in the last bins."""
    seen, missing = list(tally.code_counts), tally.missing
    first = encoding.missing if encoding.dtype == np.uint8 else encoding.missing >> 8
    for place in reversed(range(first, 256)):
        taken = min(seen[place], missing)
        seen[place] -= taken
        missing -= taken
    return seen


def _binned(of_codes: NDArray[np.generic], encoding: Encoding) -> list[float]:
    """What belongs to each bin (256,), from what belongs to each code; 0 for bins without one that is a value."""
    values = np.asarray(of_codes[: encoding.missing], np.float64)
    if encoding.dtype == np.uint8:
        return [*values.tolist(), *[0.0] * (256 - len(values))]
    return [float(part.mean()) if len(part := values[start : start + 256]) else 0.0 for start in range(0, 65536, 256)]


def _of_unit(seen: Sequence[int], values: Sequence[float]) -> UnitStatistics:
    mean = math.fsum(map(operator.mul, values, seen)) / sum(seen)
    variance = _mean(seen, [(value - mean) ** 2 for value in values])
    occurring = [value for value, count in zip(values, seen, strict=True) if count]
    up_to = list(accumulate(seen))
    ranks = [math.ceil(Fraction(share) * up_to[-1]) for share in QUANTILES]
    quantiles = [values[bisect_left(up_to, rank)] for rank in ranks]
    return UnitStatistics(
        mean=_rounded(mean),
        std=_rounded(math.sqrt(variance)),
        min=_rounded(occurring[0]),
        max=_rounded(occurring[-1]),
        quantiles=dict(zip(QUANTILES, map(_rounded, quantiles), strict=True)),
    )


def _mean(seen: Sequence[int], values: Sequence[float]) -> float:
    return _rounded(math.fsum(map(operator.mul, values, seen)) / sum(seen))


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def _alike(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_ROUNDED, abs_tol=_ROUNDED)
    return one == other
