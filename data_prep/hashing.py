"""Random numbers as a pure function of integers: the same on every machine, numpy version and world size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GAMMA, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ROUNDS, _LEAST_HALF = 6, 3  # of the network; its smallest half, in bits


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014) of a counter, wrapping in 64 bits."""
    x = x + _GAMMA
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def random_bits(counters: NDArray[np.int64], *key: int) -> NDArray[np.uint64]:
    """64 random bits for each counter, same shape, under a key of integers (their low 64 bits)."""
    state = np.zeros(1, np.uint64)
    for word in key:
        state = _splitmix64(state ^ np.array([word % 2**64], np.uint64))
    return _splitmix64(_splitmix64(counters.astype(np.uint64) ^ state[0]) + state[0])


def shuffled(places: NDArray[np.int64], length: int, *key: int) -> NDArray[np.int64]:
    """Where a permutation of range(length), drawn under `key`, takes each of `places`; in memory of their number alone.

    A Feistel network (Luby and Rackoff 1988) permutes the next power of four; what leaves the range is sent through
    again until it is back in it (cycle walking, Black and Rogaway 2002, section 3), under four times on average.
    """
    assert length > 0
    half = np.uint64(max((length - 1).bit_length() + 1, 2 * _LEAST_HALF) // 2)
    mask = np.uint64((1 << int(half)) - 1)
    round_keys = random_bits(np.arange(_ROUNDS), *key)
    numbers = places.astype(np.uint64)
    outside = np.arange(len(numbers))
    while len(outside):
        left, right = numbers[outside] >> half, numbers[outside] & mask
        for round_key in round_keys:
            left, right = right, left ^ (_splitmix64(right ^ round_key) >> np.uint64(64 - int(half)) & mask)
        numbers[outside] = left << half | right
        outside = outside[numbers[outside] >= length]
    return numbers.astype(np.int64)


def permutation(length: int, *key: int) -> NDArray[np.int64]:
    """A permutation of range(length), the order of random numbers drawn under `key`."""
    return np.argsort(random_bits(np.arange(length), *key), kind="stable")
