"""What ZeRO's stages send, by hand and by the paper."""

from __future__ import annotations

import pytest

from ds_nowcast.projecting.collectives import Link
from ds_nowcast.projecting.traffic import Sent, Traffic

P, BYTES = 1_000_000, 4_000_000.0


def passing(traffic: Traffic, accumulation: int, ranks: int) -> float:
    """Bytes that pass a rank's link in a step, in parameters' bytes."""
    return traffic.seconds(accumulation, ranks, Link(0.0, 1.0)) / BYTES


def test_each_stage_by_hand() -> None:
    def of(stage: int, accumulation: int = 1, scatters: bool = False) -> list[Sent]:
        return Traffic(P, 4, stage, scatters=scatters).of_step(accumulation)

    assert of(0) == of(0, 3) == [Sent("all_reduce", BYTES, 1)]
    assert of(1) == of(1, 3) == [Sent("all_reduce", BYTES, 1), Sent("all_gather", BYTES, 1)]
    assert of(2, 3) == [Sent("all_reduce", 3 * BYTES, 3), Sent("all_gather", BYTES, 1)]
    assert of(2, 3, scatters=True) == [Sent("reduce_scatter", 3 * BYTES, 3), Sent("all_gather", BYTES, 1)]
    assert of(3, 3) == [Sent("all_gather", 6 * BYTES, 6), Sent("reduce_scatter", 3 * BYTES, 3)]


@pytest.mark.parametrize(("stage", "times"), [(0, 2), (1, 2), (2, 2), (3, 3)])
def test_volumes_are_the_papers_where_gradients_are_scattered(stage: int, times: int) -> None:
    assert passing(Traffic(P, 4, stage, scatters=True), 1, 1_000_000) == pytest.approx(times, rel=1e-5)


def test_deepspeeds_all_reduce_sends_half_as_much_again_at_stages_1_and_2() -> None:
    for stage in (1, 2):
        assert passing(Traffic(P, 4, stage), 1, 1_000_000) == pytest.approx(3, rel=1e-5)


def test_small_buckets_cost_latency_and_no_bytes() -> None:
    whole, cut = Traffic(P, 2, 1), Traffic(P, 2, 1, buckets=(100_000, 250_000))
    assert [sent.calls for sent in cut.of_step(1)] == [10, 4]
    link = Link(1e-6, 1e9)
    more = cut.seconds(1, 8, link) - whole.seconds(1, 8, link)
    assert more == pytest.approx(9 * 14e-6 + 3 * 7e-6)
