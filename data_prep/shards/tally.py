"""Counts over codes that can be added up, and what they say of a shard, a split, a folder."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_prep.encoding import Encoding


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
    """How often each code occurs, (256,); wider codes by their high byte."""
    high = codes if codes.dtype == np.uint8 else (codes >> 8).astype(np.uint8)
    flat = np.ascontiguousarray(high).reshape(-1)
    even = flat[: flat.size // 2 * 2].view(np.uint16)  # pairs of codes at a time: in half the time
    pairs = np.bincount(even, minlength=65536).reshape(256, 256)
    odd_one = np.bincount(flat[flat.size // 2 * 2 :], minlength=256)
    return np.asarray(pairs.sum(axis=0) + pairs.sum(axis=1) + odd_one, np.int64)
