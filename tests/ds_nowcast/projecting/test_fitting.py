"""Figures are found again in points that they made, through noise; points that were held back are predicted."""

from __future__ import annotations

import dataclasses
import math
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds_nowcast.projecting.collectives import Link, fit_link
from ds_nowcast.projecting.fitting import Given, fit, held_back
from ds_nowcast.projecting.points import Point, Rates, point_of, samples_of
from ds_nowcast.projecting.projection import Figures
from ds_nowcast.projecting.traffic import Traffic
from tests.ds_nowcast.projecting.made_points import made_result

TRUTH = Figures(
    compute_s=0.02,
    optimizer_s=0.03,
    other_s=0.002,
    traffic=Traffic(5_000_000, 4, 1),
    link=Link(20e-6, 2e9),
    ranks_per_host=8,
    crowding=0.03,
    exposed=0.6,
    stream_per_s=2000.0,
    stored_bytes=1e5,
)
GIVEN = Given(TRUTH.traffic, TRUTH.link, 8, 1e5)


def points_of(truth: Figures, counts: tuple[int, ...], noise: float = 0.0, seed: int = 0) -> list[Point]:
    most = counts[-1]
    weak = [point_of("weak", made_result(truth, 8 * n, 2, 4, noise=noise, seed=seed)) for n in counts]
    shares = [(n, 8 * most // n) for n in counts]
    strong = [
        point_of("strong", made_result(truth, 8 * most, 2, share // 2, noise=noise, seed=seed)) for n, share in shares
    ]
    return weak + strong


def rates_of(truth: Figures, counts: tuple[int, ...]) -> list[Rates]:
    return [Rates(n, 1, truth.stream_per_s, None, None) for n in counts]


def test_without_noise_all_figures_are_found_again() -> None:
    found = fit(points_of(TRUTH, (1, 2, 4)), rates_of(TRUTH, (1, 2, 4)), GIVEN)
    for name in ("compute_s", "optimizer_s", "other_s", "crowding", "exposed", "stream_per_s"):
        assert getattr(found, name) == pytest.approx(getattr(TRUTH, name), rel=1e-6), name
    assert found.waiting_s == pytest.approx(0.0, abs=1e-9)


def test_ranks_that_wait_for_each_other_are_no_slow_link() -> None:
    waits = dataclasses.replace(TRUTH, exposed=1.0, waiting_s=0.02, link=Link(1e-6, 1e11))
    found = fit(points_of(waits, (1, 2, 4)), [], dataclasses.replace(GIVEN, link=waits.link))
    assert found.exposed == 1.0 and found.waiting_s == pytest.approx(0.02, rel=1e-6)


def test_one_rank_alone_hides_nothing_and_waits_for_nobody() -> None:
    found = fit(points_of(TRUTH, (1,)), [], GIVEN)
    assert (found.exposed, found.waiting_s, found.crowding) == (1.0, 0.0, 0.0)
    assert math.isinf(found.stream_per_s)


@settings(max_examples=40)
@given(
    compute=st.floats(0.002, 0.2),
    gb_s=st.floats(0.5, 20.0),
    exposed=st.floats(0.1, 1.0),
    stage=st.sampled_from([0, 1, 2, 3]),
    seed=st.integers(0, 2**31),
)
def test_held_back_points_are_predicted_through_noise(
    compute: float, gb_s: float, exposed: float, stage: int, seed: int
) -> None:
    link = Link(30e-6, gb_s * 1e9)
    truth = dataclasses.replace(
        TRUTH, compute_s=compute, link=link, exposed=exposed, traffic=Traffic(5_000_000, 4, stage), stream_per_s=1e6
    )
    counts, noise, errors = (1, 2, 4, 8), 0.02, list[float]()
    for draw in range(seed, seed + 9):  # noise has no bound: what one study is off by has none either
        pairs = [made_result(truth, 8 * n, 2, 4, noise=noise, seed=draw) for n in (2, 4)]
        fitted = fit_link([sample for result in pairs for sample in samples_of(result)])
        assert fitted is not None
        given = Given(truth.traffic, fitted.link, 8, 1e5)
        checked = held_back(points_of(truth, counts, noise, draw), rates_of(truth, counts), given)
        assert [(one.mode, one.ranks, one.fitted_to) for one in checked] == [
            ("weak", 8, (1, 2, 4)),
            ("strong", 8, (1, 2, 4)),
        ]
        errors.append(max(abs(one.error) for one in checked))
    assert median(errors) < 0.08, errors


def test_a_machine_that_does_not_follow_the_formula_is_missed_and_that_is_said() -> None:
    points = points_of(TRUTH, (1, 2, 4))
    broken = [dataclasses.replace(p, samples_per_s=p.samples_per_s / 2) if p.ranks == 4 else p for p in points]
    checked = held_back(broken, rates_of(TRUTH, (1, 2, 4)), GIVEN)
    assert [one.error for one in checked] == pytest.approx([1.0, 1.0], abs=0.01)


def test_nothing_is_held_back_of_one_number_of_ranks() -> None:
    assert held_back(points_of(TRUTH, (2,)), [], GIVEN) == []
    assert held_back([], [], GIVEN) == []


def test_waits_that_the_stream_explains_are_no_other_work() -> None:
    starved = dataclasses.replace(TRUTH, stream_per_s=100.0)
    found = fit(points_of(starved, (1, 2, 4)), rates_of(starved, (1, 2, 4)), GIVEN)
    assert found.other_s == pytest.approx(TRUTH.other_s, rel=0.05)
    assert found.stream_per_s == 100.0
