"""Rates of contenders measured in turns: A B C A B C ..., and their ratios, paired by round."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

Contender = Callable[[], float]  # does some work and returns how much it was
Rates = dict[str, list[float]]  # by contender: work per second in each round


@dataclass(frozen=True)
class Spread:
    """Median and range over the rounds."""

    median: float
    least: float
    most: float


def spread(values: list[float]) -> Spread:
    """Of at least one value."""
    return Spread(median(values), min(values), max(values))


def in_turns(contenders: Mapping[str, Contender], rounds: int, clock: Callable[[], float] = time.perf_counter) -> Rates:
    """The rate of each contender in each of `rounds`, after one round that does not count (imports, page cache)."""
    rates: Rates = {name: [] for name in contenders}
    for number in range(-1, rounds):
        for name, work in contenders.items():
            gc.collect()
            started = clock()
            amount = work()
            rate = amount / (clock() - started)
            if number >= 0:
                rates[name].append(rate)
    return rates


def ratio(rates: Rates, ours: str, against: str) -> Spread:
    """How many times faster `ours` was than `against` in the same round."""
    return spread([mine / theirs for mine, theirs in zip(rates[ours], rates[against], strict=True)])


def fastest(rates: Rates, names: list[str]) -> str:
    """The name with the highest median rate."""
    return max(names, key=lambda name: median(rates[name]))
