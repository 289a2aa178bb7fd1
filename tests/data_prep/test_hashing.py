"""Random numbers as a function of integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.hashing import _ROUNDS, _splitmix64, permutation, random_bits, shuffled


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


@given(st.integers(1, 700), st.integers(0, 2**63), st.integers(0, 10**6))
def test_shuffling_takes_each_place_to_another(length: int, seed: int, epoch: int) -> None:
    assert sorted(shuffled(np.arange(length), length, seed, epoch).tolist()) == list(range(length))


def shuffled_by_hand(place: int, length: int, *key: int) -> int:
    """The twin, of one place in Python's integers: halves of 3 bits or more, six rounds, again while out of range."""
    half = next(bits for bits in range(3, 40) if 4**bits >= length)
    round_keys = [int(bits) for bits in random_bits(np.arange(_ROUNDS), *key)]
    while True:
        left, right = divmod(place, 2**half)
        for round_key in round_keys:
            mixed = int(_splitmix64(np.array([right ^ round_key], np.uint64))[0])
            left, right = right, left ^ (mixed >> (64 - half))
        place = left * 2**half + right
        if place < length:
            return place


@given(st.integers(1, 2**40), st.integers(0, 2**63), st.data())
def test_shuffling_is_the_twin_s_and_needs_no_other_place(length: int, seed: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=4))
    found = shuffled(np.array(places), length, seed, 3).tolist()
    assert found == [shuffled_by_hand(place, length, seed, 3) for place in places]


@pytest.mark.slow
def test_shuffling_spreads_evenly_and_parts_neighbours() -> None:
    for length in (6, 100, 1000):
        drawn = np.array([shuffled(np.arange(2), length, 0, epoch) for epoch in range(5_000)])
        for where in drawn.T:  # chi squared over ten bins: mean 9, beyond 40 once in a hundred thousand
            counts = np.bincount(where * min(length, 10) // length, minlength=min(length, 10))
            sizes = np.bincount(np.arange(length) * min(length, 10) // length) / length * len(drawn)
            assert ((counts - sizes) ** 2 / sizes).sum() < 40
        follow = np.mean(drawn[:, 1] == drawn[:, 0] + 1)  # a random permutation: in one of `length`
        assert abs(follow - 1 / length) < 4 * np.sqrt(1 / length / len(drawn))


def test_a_shuffle_never_changes_between_versions() -> None:
    assert shuffled(np.arange(8), 8, 7, 3).tolist() == [6, 7, 1, 2, 4, 5, 0, 3]
