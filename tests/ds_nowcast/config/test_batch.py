"""Batch arithmetic against brute force, and errors that name what fits."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as some

from data_prep.errors import UserError
from ds_nowcast.config import Batch, RunConfig, solve_batch


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
            for keys in ((total, cut, None), (total, None, cut)):
                if total % (ranks * cut) == 0:
                    assert solve_batch(ranks, *keys).per_rank * ranks == total
                elif total % ranks:
                    works = [n for n in range(1, total + 1) if total % n == 0]
                    assert fitting(refusal(ranks, *keys)) == works
                else:
                    works = [n for n in range(1, total + 1) if total % (ranks * n) == 0]
                    assert fitting(refusal(ranks, *keys)) == works


@pytest.mark.parametrize("keys", [(None, None, None), (8, None, None), (None, 2, None), (None, None, 2)])
def test_less_than_two_are_refused(keys: tuple[int | None, int | None, int | None]) -> None:
    total, micro, _ = keys
    message = refusal(2, *keys)
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


@given(
    micro=some.integers(1, 64), accumulation=some.integers(1, 64), first=some.integers(1, 16), now=some.integers(1, 64)
)
def test_another_number_of_ranks_keeps_the_samples_of_a_step(
    micro: int, accumulation: int, first: int, now: int
) -> None:
    batch = solve_batch(first, None, micro, accumulation)
    if batch.total % now:
        with pytest.raises(UserError) as caught:
            batch.at(now)
        assert fitting(str(caught.value)) == [n for n in range(1, batch.total + 1) if batch.total % n == 0]
        return
    again = batch.at(now)
    assert again.total == batch.total
    assert again.ranks == now
    assert again.micro * again.accumulation * again.ranks == again.total
    assert again.micro <= batch.micro
    if again.per_rank % batch.micro == 0:
        assert again.micro == batch.micro
    else:
        assert not any(again.per_rank % larger == 0 for larger in range(again.micro + 1, batch.micro + 1))
    assert batch.at(first) == batch


def config_of(**batch: int) -> RunConfig:
    return RunConfig.model_validate({**batch, **REST})


REST = {
    "gradient_clipping": 1.0,
    "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "weight_decay": 0.0}},
    "nowcast": {"steps": 1, "model": {"name": "unet"}},
}


@pytest.mark.parametrize(
    "keys",
    [
        {"train_batch_size": 12, "train_micro_batch_size_per_gpu": 3},
        {"train_batch_size": 12, "gradient_accumulation_steps": 2},
        {"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2},
        {"train_batch_size": 12, "train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2},
    ],
)
def test_a_config_left_alone_keeps_its_samples_through_any_numbers_of_ranks(keys: dict[str, int]) -> None:
    config = config_of(**keys)
    asked = config.batch(2)
    seen = []
    for ranks in (1, 1, 3, 2, 6):
        batch, asked = config.batch_again(ranks, asked)
        seen.append(batch)
    assert seen == [
        Batch(12, 3, 4, 1), Batch(12, 3, 4, 1), Batch(12, 2, 2, 3), Batch(12, 3, 2, 2), Batch(12, 2, 1, 6),
    ]  # fmt: skip
    assert asked == Batch(12, 3, 2, 2)


def test_a_config_that_was_changed_is_honoured_and_remembered() -> None:
    asked = config_of(train_batch_size=12, train_micro_batch_size_per_gpu=3).batch(2)
    changed = config_of(train_batch_size=12, train_micro_batch_size_per_gpu=6)
    assert changed.batch_again(2, asked) == (Batch(12, 6, 1, 2), Batch(12, 6, 1, 2))
    larger = config_of(train_micro_batch_size_per_gpu=3, gradient_accumulation_steps=4)
    assert larger.batch_again(1, asked) == (Batch(12, 3, 4, 1), Batch(12, 3, 4, 1))
    assert larger.batch_again(2, asked)[0].total == 24, "the run folder refuses it"
