"""Random numbers as a function of integers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.hashing import _splitmix64, permutation, random_bits


def test_the_mixing_is_splitmix64() -> None:
    # the first number of the published generator for this seed
    assert int(_splitmix64(np.array([1234567], np.uint64))[0]) == 6457827717110365317


def test_bits_never_change_between_versions() -> None:
    assert random_bits(np.array([0, 1]), 7, 3).tolist() == [13380219719682047374, 1491831534041055877]


def test_every_word_of_the_key_matters() -> None:
    counters = np.arange(100)
    drawn = [random_bits(counters, *key) for key in ((1, 2), (2, 1), (1, 3), (1,), (1, 2, 0))]
    for i, a in enumerate(drawn):
        for b in drawn[i + 1 :]:
            assert not np.any(a == b)


def test_bits_are_fair() -> None:
    bits = np.unpackbits(random_bits(np.arange(20_000), 5).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 0.002


@given(st.integers(0, 300), st.integers(0, 2**63), st.integers(0, 10**6))
def test_a_permutation_holds_each_number_once(length: int, seed: int, epoch: int) -> None:
    assert sorted(permutation(length, seed, epoch).tolist()) == list(range(length))


def test_permutations_are_spread_evenly() -> None:
    firsts = np.bincount([int(permutation(6, 0, epoch)[0]) for epoch in range(6000)], minlength=6)
    assert firsts.min() > 850
    assert firsts.max() < 1150
