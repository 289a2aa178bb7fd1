"""What a rank holds between steps: counted by hand for 60 parameters on two ranks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ds_nowcast.planning.states import Parts, owned, parts_of_ranks, steady
from ds_nowcast.planning.training import Training
from tests.ds_nowcast.planning.trainings import BF16, FP32, at


@pytest.mark.parametrize(
    ("training", "stage", "parts"),
    [
        (FP32, 0, Parts(weights=240, optimizer=480)),
        (BF16, 0, Parts(weights=120, optimizer=720)),
        (FP32, 1, Parts(weights=240, optimizer=360)),
        (FP32, 2, Parts(weights=240, optimizer=360)),
        (BF16, 2, Parts(weights=120, optimizer=360)),
        (FP32, 3, Parts(weights=120, gradients=120, optimizer=360, buffers=240)),
        (BF16, 3, Parts(weights=60, gradients=60, optimizer=360, buffers=120)),
    ],
)
def test_weights_moments_and_copies_are_those_of_the_stage(training: Training, stage: int, parts: Parts) -> None:
    assert steady(at(training, stage)) == parts


def test_offloaded_optimizer_state_is_on_the_host() -> None:
    offload = {"offload_optimizer": {"device": "cpu"}}
    found = steady(at(BF16, 2, **offload))
    assert found.optimizer == 0
    assert found.host == 12 * 30 + (4 + 2) * 30 + 2 * 30  # state, gradients in both widths, the largest parameter's
    with_parameters = steady(at(BF16, 3, **offload, offload_param={"device": "cpu"}))
    assert (with_parameters.weights, with_parameters.host) == (0, 12 * 30 + 4 * 30 + 2 * 30 + 2 * 30)


def test_a_mean_of_the_weights_adds_four_bytes_a_parameter_split_from_stage_1_on() -> None:
    kept = replace(FP32, ema=True)
    assert [
        steady(at(kept, stage)).optimizer - steady(at(FP32, stage)).optimizer for stage in range(4)
    ] == [240, 120, 120, 120]  # fmt: skip


def test_on_a_gpu_the_bucket_of_stage_3_takes_its_whole_size() -> None:
    assert steady(replace(at(BF16, 3, reduce_bucket_size=1000), device="cuda")).buffers == 2000


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7, 60])
def test_a_rank_s_part_names_each_parameter_that_it_holds_an_element_of(ranks: int) -> None:
    training = replace(FP32, ranks=ranks)
    elements = [number for number, size in enumerate(training.parameters) for _ in range(size)]
    share = -(-60 // ranks)
    expected = [sorted({*elements[rank * share : (rank + 1) * share]}) for rank in range(ranks)]
    assert parts_of_ranks(training) == expected
    assert owned(training) == max(sum(training.parameters[n] for n in numbers) for numbers in expected)


def test_more_ranks_never_need_more_each() -> None:
    for stage in range(4):
        sizes = [steady(at(replace(BF16, ranks=ranks), stage)).device for ranks in (1, 2, 4, 8)]
        assert sizes == sorted(sizes, reverse=True)
        assert (sizes[0] > sizes[-1]) == (stage > 0)
