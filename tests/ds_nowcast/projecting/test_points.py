"""What holds a number of ranks back, and how well it scales."""

from __future__ import annotations

import dataclasses

import pytest

from ds_nowcast.projecting.points import Point, Rates, bottleneck, of_mode

SPLIT = {"compute": 0.06, "communication": 0.03, "data_wait": 0.0, "optimizer": 0.009, "other": 0.001}


def rates(stream: float | None, synthetic: float | None, full: float, at_best: float | None = None) -> Rates:
    return Rates(2, 1, stream, synthetic, full, at_best or full)


def waiting(seconds: float) -> dict[str, float]:
    return SPLIT | {"data_wait": seconds}


def test_a_step_that_does_not_wait_is_held_back_by_what_takes_longest() -> None:
    assert bottleneck(SPLIT, rates(1000, 100, 99)) == ("compute", "60% of a step")
    assert bottleneck(SPLIT | {"communication": 0.07}, rates(1000, 100, 99))[0] == "communication"
    assert bottleneck(SPLIT | {"optimizer": 0.5}, rates(None, None, 99))[0] == "optimizer"


def test_a_step_that_waits_is_held_back_by_a_stream_that_is_slower_than_steps() -> None:
    name, why = bottleneck(waiting(0.1), rates(50, 100, 50))
    assert name == "stream" and why == "a step waits 50% for data; alone the stream is slower than synthetic steps"
    assert bottleneck(waiting(0.1), rates(None, 100, 50)) == ("stream", "a step waits 50% for data")
    assert bottleneck(waiting(0.1), rates(40, None, 50)) == ("stream", "a step waits 50% for data")


def test_a_stream_that_is_fast_alone_and_slow_beside_computation_shares_its_cores() -> None:
    assert bottleneck(waiting(0.1), rates(1000, 100, 50))[0] == "sharing"


def test_reading_that_slows_computation_down_is_seen_though_no_step_waits() -> None:
    name, why = bottleneck(SPLIT, rates(1000, 100, 80, 85))
    assert name == "sharing" and "85% of synthetic" in why


def test_a_busy_machine_that_slows_some_steps_is_no_hindrance() -> None:
    assert bottleneck(SPLIT, rates(1000, 100, 60, 99))[0] == "compute"


def test_little_waiting_is_none() -> None:
    assert bottleneck(waiting(0.004), rates(50, 100, 97))[0] == "compute"


def test_efficiency_is_against_the_point_of_fewest_ranks() -> None:
    one = Point("weak", 1, 1, 8, 2, 10.0, 0.8, SPLIT)
    four = dataclasses.replace(one, ranks=4, total=32, samples_per_s=30.0)
    assert of_mode([four, one], "weak") == [one, four] and of_mode([one], "strong") == []
    assert four.efficiency(one) == pytest.approx(0.75) and one.efficiency(one) == 1.0
    assert four.per_rank == 8
