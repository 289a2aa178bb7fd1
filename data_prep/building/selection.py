"""Which samples of an archive are kept: by missing data, by wetness, and by chance that follows the rain.

Importance sampling as in Ravuri et al. (2021, Nature 597, Methods, "Datasets"): a sample is kept with probability
min(1, floor + multiplier * mean(1 - exp(-R / s))), R its rain in mm/h (for VIL: kg/m2), s = 1, the mean over all of its
pixels. The probability is kept with the sample: weights of its inverse undo the choice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import encoding_named
from data_prep.shards.tally import CodeTally


@dataclass(frozen=True)
class Selection:
    """max_missing: largest share of pixels without data. min_wet: smallest share of wet pixels among those with data.

    importance: multiplier of the rain in the probability; None keeps all. floor: probability of a dry sample.
    """

    max_missing: float
    min_wet: float
    importance: float | None = None
    floor: float = 2e-4
    seed: int = 0


class Verdict(NamedTuple):
    """probability: with which it was kept; reason and detail: why it was not, or empty."""

    probability: float
    reason: str = ""
    detail: str = ""


def judge(key: str, tally: CodeTally, encoding: str, selection: Selection) -> Verdict:
    """Whether a sample is kept; the same for the same key and seed wherever it is asked."""
    if verdict := unfit(tally, selection):
        return verdict
    probability = acceptance(tally, encoding, selection)
    if draw(key, selection.seed) >= probability:
        return Verdict(probability, "not drawn by importance", f"its probability is {probability:g}")
    return Verdict(probability)


def unfit(tally: CodeTally, selection: Selection) -> Verdict | None:
    """Why a sample is not kept, whatever is drawn; None where it may be."""
    if tally.missing == tally.pixels:
        return Verdict(0.0, "all missing", "no pixel has data")
    if tally.missing / tally.pixels > selection.max_missing:
        return Verdict(0.0, f"more missing than {selection.max_missing:g}", f"{tally.missing_share:g} of its pixels")
    if tally.wet / (tally.pixels - tally.missing) < selection.min_wet:
        return Verdict(0.0, f"drier than {selection.min_wet:g}", f"{tally.wet_share:g} of its pixels are wet")
    return None


def acceptance(tally: CodeTally, encoding: str, selection: Selection) -> float:
    """The probability with which a sample is kept."""
    if selection.importance is None:
        return 1.0
    rain = float(np.dot(tally.code_counts, saturation(encoding))) / tally.pixels
    return min(1.0, selection.floor + selection.importance * rain)


@lru_cache(maxsize=8)
def saturation(encoding: str) -> NDArray[np.float64]:
    """1 - exp(-R) of each code (256,); 0 where it is missing."""
    codes = encoding_named(encoding)
    assert codes.dtype == np.uint8
    values = codes.values.get("mm/h", codes.values.get("kg/m2"))
    assert values is not None
    table = np.zeros(256)
    table[: codes.missing] = 1.0 - np.exp(-values)
    return table


def draw(key: str, seed: int) -> float:
    """A number from 0 to below 1 that belongs to the key."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
