"""The block bootstrap: how much scores would differ on other days of the same climate.

Blocks of windows are drawn anew with replacement, as many as there are; their sums are added up and divided once. The
interval is the percentile interval (Efron and Tibshirani 1993, chapter 13). Names: W windows, N blocks, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import counted
from data_prep.times import utc
from ds_nowcast.comparing.evaluated import Floats, WindowId

LEVEL, _ENDS = 0.95, (0.025, 0.975)  # written out: (1 - 0.95) / 2 is a little more than 0.025
FEWEST = 10  # blocks: of fewer the spread cannot be told, and no interval is given
_AT_ONCE = 1 << 22  # multiplicities in memory


@dataclass(frozen=True)
class Blocks:
    """Which block each window is in."""

    by: Literal["day", "event"]
    of_window_W: NDArray[np.intp]
    count: int
    note: str | None  # where blocks are not days

    @property
    def in_words(self) -> str:
        """12 days."""
        return counted(self.count, self.by)

    def sums(self, values_W: Floats) -> Floats:
        """Sums over the windows of each block: (W, ...) to (N, ...)."""
        sums_N = np.zeros((self.count, *values_W.shape[1:]))
        np.add.at(sums_N, self.of_window_W, values_W)
        return sums_N


def blocks_of(windows: Sequence[WindowId]) -> Blocks:
    """Days (UTC, of the last observation), or events (keys) where there are fewer than `FEWEST` days."""
    days, day_W = np.unique([utc(time).date().toordinal() for _, time in windows], return_inverse=True)
    if len(days) >= FEWEST:
        return Blocks("day", day_W, len(days), None)
    keys, key_W = np.unique([key for key, _ in windows], return_inverse=True)
    few = f"only {counted(len(days), 'day')}"
    if len(keys) >= FEWEST:
        note = f"{few}: events are drawn instead; those of a day are alike, so the intervals are too narrow"
    else:
        note = f"{few} and {counted(len(keys), 'event')}: no interval can be trusted, and none is given"
    return Blocks("event", key_W, len(keys), note)


def multiplicities(random: np.random.Generator, blocks: int, resamples: int) -> Floats:
    """(R, N): how often each resample of N blocks drew each of them."""
    drawn_RN = random.integers(blocks, size=(resamples, blocks))
    drawn_RN += blocks * np.arange(resamples)[:, None]
    counts = np.bincount(drawn_RN.ravel(), minlength=resamples * blocks)
    return counts.reshape(resamples, blocks).astype(np.float64)


def resampled(sums_N: Floats, resamples: int, seed: int) -> Floats:
    """(R, ...): the sums (N, ...) of each resample. All that is in `sums_N` sees the same blocks, hence is paired."""
    blocks, random = len(sums_N), np.random.default_rng(seed)
    flat_NF, step = sums_N.reshape(blocks, -1), max(1, _AT_ONCE // blocks)
    parts = [
        multiplicities(random, blocks, min(step, resamples - begin)) @ flat_NF for begin in range(0, resamples, step)
    ]
    return np.concatenate(parts).reshape(resamples, *sums_N.shape[1:])


@dataclass(frozen=True)
class Estimate:
    """Scores, and the ends of their intervals; NaN where undefined, or of too few blocks for an interval."""

    value: Floats
    low: Floats
    high: Floats

    @property
    def excludes_0(self) -> NDArray[np.bool_]:
        """Whether 0 lies outside the interval; False where there is none."""
        return (self.low > 0.0) | (self.high < 0.0)


def estimate(value: Floats, replicates_R: Floats, blocks: NDArray[np.intp]) -> Estimate:
    """With the percentile interval of the resamples in which the score was defined.

    value, blocks: (...), replicates_R: (R, ...). blocks: how many of them have a part in the score.
    """
    ends = np.full((2, *value.shape), np.nan)
    for place in np.ndindex(value.shape):
        defined = replicates_R[:, *place]
        defined = defined[np.isfinite(defined)]
        if np.isfinite(value[place]) and blocks[place] >= FEWEST and len(defined):
            # of 1000 the 25th and the 975th in their order, as there
            ends[:, *place] = np.quantile(defined, _ENDS, method="inverted_cdf")
    return Estimate(value, ends[0], ends[1])
