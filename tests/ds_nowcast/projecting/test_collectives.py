"""What collectives cost: against rings that are played through message by message, and against a published measurement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds_nowcast.projecting.collectives import Link, Operation, Sample, fit_link, ring, tree
from ds_nowcast.projecting.figures import read_figures
from tests.launching import ROOT

OPERATIONS: tuple[Operation, ...] = ("all_reduce", "reduce_scatter", "all_gather")
V100 = ROOT / "docs/scaling_v100.json"
ranks_st = st.integers(2, 9)


def played(operation: Operation, chunk_bytes: float, ranks: int, link: Link) -> float:
    """Seconds until the ring has done its work, which is checked: each rank holds a chunk per rank and sends one at a time."""
    held = np.random.default_rng(ranks).integers(1, 100, size=(ranks, ranks)).astype(float)
    sums, clock, sent = held.sum(axis=0), np.zeros(ranks), link.latency_s + chunk_bytes / link.bytes_per_s
    if operation == "all_gather":
        held = np.where(np.eye(ranks, dtype=bool), sums, math.nan)
    phases = {"all_reduce": (True, False), "reduce_scatter": (True,), "all_gather": (False,)}[operation]
    for adds in phases:
        for turn in range(ranks - 1):
            first = 1 if operation == "all_reduce" and not adds else 0
            chunks = [(rank + first - turn) % ranks for rank in range(ranks)]
            messages = [held[rank, chunk] for rank, chunk in enumerate(chunks)]
            arrived = clock + sent
            for rank in range(ranks):
                to, chunk = (rank + 1) % ranks, chunks[rank]
                held[to, chunk] = messages[rank] + (held[to, chunk] if adds else 0.0)
            clock = np.array([max(arrived[rank], arrived[rank - 1]) for rank in range(ranks)])
    if operation == "reduce_scatter":
        assert [held[rank, (rank + 1) % ranks] for rank in range(ranks)] == [
            sums[(rank + 1) % ranks] for rank in range(ranks)
        ]
    else:
        assert np.array_equal(held, np.tile(sums, (ranks, 1)))
    return float(clock.max())


@given(ranks=ranks_st, operation=st.sampled_from(OPERATIONS), size=st.floats(1e3, 1e9))
def test_a_ring_costs_what_playing_it_through_takes(ranks: int, operation: Operation, size: float) -> None:
    link = Link(7e-6, 3e9)
    assert link.seconds(operation, size, ranks) == pytest.approx(played(operation, size / ranks, ranks, link), rel=1e-9)


def test_costs_by_hand() -> None:
    assert ring("all_reduce", 800.0, 4) == (6, 1200.0)
    assert ring("reduce_scatter", 800.0, 4) == ring("all_gather", 800.0, 4) == (3, 600.0)
    assert tree(800.0, 4) == (4, 1600.0) and tree(800.0, 5) == (6, 1600.0)
    assert Link(1e-6, 1e6).seconds("all_reduce", 800.0, 4) == pytest.approx(6e-6 + 1.2e-3)


def test_one_rank_sends_nothing() -> None:
    for operation in OPERATIONS:
        assert Link(1.0, 1.0, trees=True).seconds(operation, 1e9, 1) == 0.0


def test_trees_are_taken_where_rings_wait_for_latency_and_only_where_there_are_any() -> None:
    small, large = 4e3, 4e9
    ringed, treed = Link(5e-6, 1e10), Link(5e-6, 1e10, trees=True)
    assert treed.seconds("all_reduce", small, 1024) < 0.02 * ringed.seconds("all_reduce", small, 1024)
    assert treed.seconds("all_reduce", large, 8) == ringed.seconds("all_reduce", large, 8)
    assert treed.seconds("all_gather", small, 1024) == ringed.seconds("all_gather", small, 1024)


def made(link: Link, noise: float, seed: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [
        Sample(op, size, ranks, link.seconds(op, size, ranks) * math.exp(noise * rng.normal()))
        for op in OPERATIONS
        for size in (4e3, 1.6e4, 6.4e4, 2.56e5, 1e6, 4e6, 1.6e7, 6.4e7)
        for ranks in (2, 4)
    ]


@given(latency_us=st.floats(1.0, 300.0), gb_s=st.floats(0.5, 200.0), seed=st.integers(0, 2**31))
def test_a_fitted_link_costs_what_the_true_one_does_through_noise(latency_us: float, gb_s: float, seed: int) -> None:
    truth = Link(latency_us * 1e-6, gb_s * 1e9)
    found = fit_link(made(truth, 0.03, seed))
    assert found is not None and found.samples == 48 and found.error < 0.06
    for exact in made(truth, 0.0, 0):
        assert found.link.seconds(*exact[:3]) == pytest.approx(exact.seconds, rel=0.12)


@given(latency_us=st.floats(10.0, 100.0), gb_s=st.floats(1.0, 20.0), seed=st.integers(0, 2**31))
def test_a_fit_finds_latency_and_bandwidth_where_sizes_show_both(latency_us: float, gb_s: float, seed: int) -> None:
    found = fit_link(made(Link(latency_us * 1e-6, gb_s * 1e9), 0.03, seed))
    assert found is not None
    assert found.link.latency_s == pytest.approx(latency_us * 1e-6, rel=0.15)
    assert found.link.bytes_per_s == pytest.approx(gb_s * 1e9, rel=0.15)


def test_a_fit_without_noise_is_exact_and_says_so() -> None:
    truth = Link(12e-6, 9e9)
    found = fit_link(made(truth, 0.0, 0), trees=True)
    assert found is not None and found.error < 1e-9 and found.link.trees
    assert (found.link.latency_s, found.link.bytes_per_s) == pytest.approx((12e-6, 9e9), rel=1e-9)


def test_neither_is_ever_negative() -> None:
    shrinking = [Sample("all_reduce", size, 2, seconds) for size, seconds in ((1e3, 2e-3), (1e6, 1e-3), (1e7, 0.5e-3))]
    found = fit_link(shrinking)
    assert found is not None and found.link.latency_s >= 0.0 and found.link.bytes_per_s > 0.0
    through_zero = [Sample("all_reduce", size, 2, size / 1e9 - 1e-7) for size in (1e3, 1e6, 1e7)]
    found = fit_link(through_zero)
    assert found is not None and found.link.latency_s == 0.0


def test_there_is_no_fit_without_two_ranks() -> None:
    assert fit_link([]) is None
    assert fit_link([Sample("all_reduce", 1e6, 1, 1e-6)]) is None


def test_published_latencies_of_v100s_grow_as_a_rings_do() -> None:
    # nccl-tests' all-reduce of 8 bytes on 2, 4 and 8 hosts of 8 V100s, see docs/scaling_v100.json
    published = {16: 163.4e-6, 32: 319.4e-6, 64: 631.3e-6}
    found = fit_link([Sample("all_reduce", 8, ranks, seconds) for ranks, seconds in published.items()])
    assert found is not None and found.error < 0.04
    for ranks, seconds in published.items():
        assert found.link.seconds("all_reduce", 8, ranks) == pytest.approx(seconds, rel=0.05)
    assert found.link.latency_s == pytest.approx(read_figures(V100).link_latency_us.value * 1e-6, rel=0.02)
