"""Counts over codes that can be added up, and what they say of a shard, a split, a folder."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_prep.encoding import Encoding

_BAND = 1 << 18  # codes, so that what is made of them stays in the processor's cache; a multiple of 8
_MANY = 1 << 16  # codes from which on counting pairs is worth its table


class CodeTally(BaseModel):
    """How often each code occurs (coarse-grained to 256 where codes are wider), and of how many pixels."""

    model_config = ConfigDict(extra="forbid", strict=True)

    code_counts: list[int] = Field(default_factory=lambda: [0] * 256)
    pixels: int = 0
    missing: int = 0
    wet: int = 0

    def add(self, other: CodeTally) -> None:
        """Takes in another's counts."""
        self.code_counts = [a + b for a, b in zip(self.code_counts, other.code_counts, strict=True)]
        self.pixels += other.pixels
        self.missing += other.missing
        self.wet += other.wet

    @property
    def missing_share(self) -> float:
        """Share of the pixels without data."""
        return round(self.missing / max(self.pixels, 1), 6)

    @property
    def wet_share(self) -> float:
        """Share of wet pixels among those with data."""
        return round(self.wet / max(self.pixels - self.missing, 1), 6)


class Counter:
    """Counts codes frame by frame."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._counts = np.zeros(256, np.int64)
        self._missing = self._wet = self._pixels = 0

    def add(self, codes: NDArray[Any]) -> None:
        """Takes in codes of any shape."""
        counts = code_histogram(codes)
        self._counts += counts
        self._pixels += codes.size
        if self._encoding.dtype == np.uint8:
            missing = int(counts[self._encoding.missing :].sum())
            wet = int(counts[self._encoding.wet_code :].sum()) - missing
        else:
            missing = int(np.count_nonzero(codes >= self._encoding.missing))
            wet = int(np.count_nonzero(codes >= self._encoding.wet_code)) - missing
        self._missing += missing
        self._wet += wet

    @property
    def tally(self) -> CodeTally:
        """The counts so far."""
        return CodeTally(code_counts=self._counts.tolist(), pixels=self._pixels, missing=self._missing, wet=self._wet)


def tally_of(codes: NDArray[Any], encoding: Encoding) -> CodeTally:
    """The counts of codes of any shape."""
    counter = Counter(encoding)
    counter.add(codes)
    return counter.tally


def code_histogram(codes: NDArray[Any]) -> NDArray[np.int64]:
    """How often each code occurs, (256,); wider codes by their high byte.

    Most of a composite is code 0 or the missing 255: eight of those in a row are counted as one word, the rest one by one.
    """
    high = codes if codes.dtype == np.uint8 else (codes >> 8).astype(np.uint8)
    flat = np.ascontiguousarray(high).reshape(-1)
    whole = flat.size // 8 * 8
    counts = np.asarray(np.bincount(flat[whole:], minlength=256), np.int64)
    pairs: NDArray[np.int64] | None = None
    for start in range(0, whole, _BAND):
        words = flat[start : min(start + _BAND, whole)].view(np.uint64)
        mixed = words[words + np.uint64(1) > 1]  # neither all 0 nor all 255, which wraps to 0
        zero = words.size - np.count_nonzero(words)
        counts[0] += 8 * zero
        counts[255] += 8 * (words.size - mixed.size - zero)
        if mixed.nbytes < _MANY:
            counts += np.bincount(mixed.view(np.uint8), minlength=256)
        else:  # two at a time: in half the time
            found = np.bincount(mixed.view(np.uint16), minlength=65536)
            pairs = found if pairs is None else pairs + found
    if pairs is not None:
        table = pairs.reshape(256, 256)
        counts += table.sum(axis=0) + table.sum(axis=1)
    return counts
