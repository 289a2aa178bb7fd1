"""The fullest moment of a step: counted by hand for 60 parameters on two ranks, whose activations are given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ds_nowcast.planning.peak import peak
from ds_nowcast.planning.states import steady
from ds_nowcast.planning.timeline import Moment
from ds_nowcast.planning.training import Training
from tests.ds_nowcast.planning.trainings import BF16, FP32, at

NOTHING = [Moment(2, 80, 0), Moment(1, 120, 0), Moment(0, 40, 0), Moment(-1, 0, 0)]  # the gradients alone
ACTIVATIONS = [Moment(2, 9000, 8000), Moment(1, 8500, 4000), Moment(0, 4100, 0), Moment(-1, 0, 0)]


def needed(training: Training, moments: list[Moment]) -> tuple[str, int]:
    """When it is fullest, and the bytes beyond what is held all the time."""
    found = peak(training, moments, 0)
    return found.when, found.parts.device - steady(training).device


def test_without_activations_gradients_and_their_copies_decide() -> None:
    assert needed(at(FP32, 0), NOTHING)[1] == 240 + 240  # reduced in a flat copy, or the largest one's step
    assert needed(at(FP32, 1), NOTHING) == ("the end of backward", 240 + 240)  # bucket, and cut up for two ranks
    assert needed(at(BF16, 1), NOTHING) == ("the optimizer's step", 4 * 30 + 8 * 30)
    assert needed(at(FP32, 3), NOTHING)[1] == 240 + 240  # gathered, and its flat buffer; or gathered, and gradients


def test_with_many_activations_the_first_gradient_s_moment_decides() -> None:
    for stage in range(3):
        assert needed(at(FP32, stage), ACTIVATIONS) == ("forward and backward", 9000)
    assert needed(at(FP32, 3), ACTIVATIONS) == ("forward and backward", 9000 + 240)


def test_gradients_of_earlier_micro_batches_lie_beside_the_activations() -> None:
    twice = replace(FP32, accumulation=2)
    assert needed(at(twice, 0), ACTIVATIONS)[1] == 9000 + 240
    assert needed(at(twice, 1), ACTIVATIONS)[1] == 9000 + 240
    assert needed(at(twice, 2), ACTIVATIONS)[1] == 9000 + 4 * 50  # of the parameters of the fuller rank
    assert needed(at(twice, 3), ACTIVATIONS)[1] == 9000 + 240  # gathered weights: sums are held all the time


def test_small_buckets_and_a_short_reuse_distance_need_less() -> None:
    small = {"reduce_bucket_size": 10, "stage3_prefetch_bucket_size": 10, "stage3_max_reuse_distance": 0}
    for stage in (2, 3):
        assert peak(at(FP32, stage, **small), NOTHING, 0).parts.device < peak(at(FP32, stage), NOTHING, 0).parts.device


def test_on_a_gpu_buckets_are_whole_and_double_where_they_overlap() -> None:
    gpu = replace(BF16, device="cuda", temporary="all")
    sizes = [
        peak(at(gpu, 2, reduce_bucket_size=1000, overlap_comm=overlap), NOTHING, 0).parts.gradients
        for overlap in (False, True)
    ]
    assert sizes[1] - sizes[0] == 2000


def test_the_optimizer_s_temporaries_are_those_of_its_form() -> None:
    def step(stage: int, **changes: Any) -> int:
        return needed(at(replace(BF16, **changes), stage), NOTHING)[1]

    gradients = 2 * 60 + 4 * 60  # as they came, and in fp32
    assert step(0, temporary="none") == gradients
    assert step(0, temporary="all") == gradients + 4 * 60
    assert step(0, temporary="none", fused=True) == gradients + 4 * 60  # laid end to end
    assert step(1, temporary="tensor") == 4 * 30 + 8 * 30
    assert step(1, temporary="all") == step(1, temporary="none") == 2 * 50 + (2 + 4) * 30  # converting needs more


def test_of_a_gpu_s_host_the_optimizer_s_step_takes_the_most() -> None:
    offloaded = replace(at(BF16, 2, offload_optimizer={"device": "cpu"}), device="cuda")
    assert peak(offloaded, NOTHING, 0).parts.host == steady(offloaded).host + 8 * 30


@pytest.mark.parametrize("stage", range(4))
def test_input_counts_as_activations(stage: int) -> None:
    more = peak(at(FP32, stage), ACTIVATIONS, 500).parts
    assert more.activations - peak(at(FP32, stage), ACTIVATIONS, 0).parts.activations == 500
