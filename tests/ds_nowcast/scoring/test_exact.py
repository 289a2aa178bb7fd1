"""The arithmetic of sums that do not depend on their order."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ds_nowcast.scoring.exact import LIMB, limbs, mean, packed, ratio, unpack, whole

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.lists(st.integers(-(2**52), 2**52), min_size=4, max_size=4), min_size=1, max_size=50))
def test_added_vectors_hold_the_added_integers(ranks: list[list[int]]) -> None:
    vector = sum(packed([torch.tensor(numbers)]) for numbers in ranks)
    assert isinstance(vector, torch.Tensor)
    merged = torch.zeros(4, dtype=torch.int64)
    unpack(vector, [merged])
    assert merged.tolist() == [sum(column) for column in zip(*ranks, strict=True)]


@given(st.lists(INT64, min_size=3, max_size=3))
def test_every_64_bit_integer_survives_the_vector(numbers: list[int]) -> None:
    first, second = torch.zeros(2, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64)
    unpack(packed([torch.tensor(numbers[:2]), torch.tensor([numbers[2:]])]), [first, second])
    assert [*first.tolist(), second.item()] == numbers


def test_a_hundred_thousand_ranks_with_full_low_halves_add_up_exactly() -> None:
    number, ranks = 2**40 - 1, 100_000
    merged = torch.zeros(1, dtype=torch.int64)
    unpack(packed([torch.tensor([number])]).expand(ranks, 2).sum(0), [merged])
    assert merged.item() == ranks * number


@given(st.lists(st.integers(0, 2**52), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_limbs_summed_apart_are_the_sum_in_any_order(numbers: list[int], shuffled: random.Random) -> None:
    shuffled.shuffle(numbers)
    high, low = (part.sum().long().item() for part in limbs(torch.tensor(numbers, dtype=torch.float64)))
    assert high * LIMB + low == sum(numbers)


def test_a_sum_that_is_no_whole_number_of_53_bits_is_told_of() -> None:
    sums = torch.tensor([3.0, float("nan"), float("inf"), -float("inf"), 2.0**53, -(2.0**53) + 1], dtype=torch.float64)
    numbers, unsound = whole(sums)
    assert numbers.tolist() == [3, 0, 0, 0, 0, -(2**53) + 1]
    assert unsound.tolist() == [0, 1, 1, 1, 1, 0]


@given(st.integers(0, 2**90), st.integers(1, 2**90))
def test_a_ratio_is_rounded_once(numerator: int, denominator: int) -> None:
    assert (
        ratio(numerator, denominator) == numerator / denominator
    )  # Python's division of integers is rounded correctly
    assert ratio(numerator, denominator, 2.0**-20) == numerator / (denominator * 2**20)


def test_undefined_is_none_and_left_out_of_means() -> None:
    assert ratio(0, 0) is ratio(float("nan"), 3) is ratio(float("inf"), 3) is None
    assert mean([0.25, None, 0.75]) == 0.5 and mean([None]) is mean([]) is None
    assert ratio(0, 5) == pytest.approx(0.0)
