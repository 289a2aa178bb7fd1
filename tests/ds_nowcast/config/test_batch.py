"""Batch arithmetic against brute force, and errors that name what fits."""

from __future__ import annotations

import re
import time

import pytest

from data_prep.errors import UserError
from ds_nowcast.config import Batch, solve_batch


def refusal(ranks: int, total: int | None, micro: int | None, accumulation: int | None) -> str:
    with pytest.raises(UserError) as caught:
        solve_batch(ranks, total, micro, accumulation)
    return str(caught.value)


def fitting(message: str) -> list[int]:
    """The numbers an error offers after its last `:` or `of`."""
    return [int(number) for number in re.split(r": |one of ", message)[-1].split(", ")]


@pytest.mark.parametrize("ranks", range(1, 9))
def test_any_two_give_the_third_or_are_refused(ranks: int) -> None:
    for micro in range(1, 9):
        for accumulation in range(1, 9):
            total = micro * accumulation * ranks
            expected = Batch(total, micro, accumulation, ranks)
            assert solve_batch(ranks, None, micro, accumulation) == expected
            assert solve_batch(ranks, total, None, accumulation) == expected
            assert solve_batch(ranks, total, micro, None) == expected
            assert solve_batch(ranks, total, micro, accumulation) == expected


@pytest.mark.parametrize("ranks", range(1, 9))
def test_a_batch_that_cannot_be_cut_is_refused_with_all_that_fits(ranks: int) -> None:
    for total in range(1, 25):
        for cut in range(1, 7):
            for given in ((total, cut, None), (total, None, cut)):
                if total % (ranks * cut) == 0:
                    assert solve_batch(ranks, *given).per_rank * ranks == total
                elif total % ranks:
                    works = [n for n in range(1, total + 1) if total % n == 0]
                    assert fitting(refusal(ranks, *given)) == works
                else:
                    works = [n for n in range(1, total + 1) if total % (ranks * n) == 0]
                    assert fitting(refusal(ranks, *given)) == works


@pytest.mark.parametrize("given", [(None, None, None), (8, None, None), (None, 2, None), (None, None, 2)])
def test_less_than_two_are_refused(given: tuple[int | None, int | None, int | None]) -> None:
    total, micro, _ = given
    message = refusal(2, *given)
    assert message.startswith("give two of train_batch_size, train_micro_batch_size_per_gpu and gradient_accumulation")
    assert f"train_batch_size={total}, train_micro_batch_size_per_gpu={micro}, gradient_accum" in message


def test_three_that_contradict_are_refused_with_their_product() -> None:
    assert "x 2 ranks = 12; leave one of the three out" in refusal(2, 16, 3, 2)


def test_the_error_of_a_huge_batch_comes_at_once() -> None:
    started = time.monotonic()
    assert fitting(refusal(2, 1_000_000_007, 4, None)) == [1, 1_000_000_007]
    assert time.monotonic() - started < 1


def test_a_batch_says_how_it_is_cut() -> None:
    batch = solve_batch(4, 64, 4, None)
    assert str(batch) == "64 samples a step = micro-batch 4 x accumulation 4 x 4 ranks"
    assert batch.per_rank == 16
