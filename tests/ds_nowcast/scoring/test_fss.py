"""Fractions skill score against windows counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds_nowcast.scoring.fss import SCALES, FractionsSkill
from tests.ds_nowcast.scoring.fields import CODES, accumulated, fields, images, setting


def fractions(events: np.ndarray, scale: int) -> np.ndarray:
    """The share of events in the window around each pixel; outside there are none."""
    reach = scale // 2
    shares = np.zeros(events.shape)
    for row, column in np.ndindex(*events.shape):
        window = events[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        shares[row, column] = window.sum() / scale**2
    return shares


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32))
def test_scores_are_those_of_fractions_counted_window_by_window(seed: int) -> None:
    batch = fields(seed, shape=(17, 18))
    scores = accumulated(FractionsSkill(setting(shape=(17, 18))), batch)["fss"]
    for code, label in zip(CODES.values, ("16", "74", "181"), strict=True):
        for scale in (1, 5, 17):
            wrong, worst = 0.0, 0.0
            for forecast, observed, seen in images(batch):
                f, o = (
                    fractions((field >= np.float32(code) / np.float32(255)) & seen, scale)
                    for field in (forecast, observed)
                )
                wrong, worst = wrong + ((f - o) ** 2).sum(), worst + (f**2).sum() + (o**2).sum()
            assert scores[label][str(scale)] == pytest.approx(1.0 - wrong / worst, rel=1e-12)


@pytest.mark.parametrize(("side", "scales"), [(4, ["1"]), (16, ["1", "5"]), (64, ["1", "5", "17", "33"]), (65, None)])
def test_scales_are_those_that_fit_the_image(side: int, scales: list[str] | None) -> None:
    made = FractionsSkill(setting(shape=(side, 80)))
    assert list(made.scores(made.fetched(), slice(None))["fss"]["16"]) == (scales or [str(scale) for scale in SCALES])


def test_a_displaced_echo_has_skill_at_scales_beyond_its_displacement() -> None:
    forecast, valid = torch.zeros(1, 1, 80, 80), torch.ones(1, 1, 80, 80) > 0
    forecast[..., 30:40, 30:40] = 1.0
    made = FractionsSkill(setting(leads=1, shape=(80, 80)))
    scores = accumulated(made, (forecast, forecast.roll(10, -1), valid, torch.ones(1)))["fss"]["74"]
    assert scores["1"] == 0.0
    assert scores["5"] < scores["17"] < scores["33"] < scores["65"] < 1.0
    assert scores["65"] > 0.8


def test_without_events_the_score_is_undefined_and_with_perfect_ones_it_is_one() -> None:
    prediction, _, valid, weight = fields(2)
    made = FractionsSkill(setting())
    assert accumulated(made, (prediction, prediction, valid, weight))["fss"]["74"] == {"1": 1.0, "5": 1.0}
    dry = FractionsSkill(setting())
    nothing = torch.zeros_like(prediction)
    assert accumulated(dry, (nothing, nothing, valid, weight))["fss"]["74"] == {"1": None, "5": None}


def test_the_largest_sums_of_twenty_thousand_million_pixels_fit() -> None:
    made = FractionsSkill(setting(leads=1, shape=(70, 70)))
    full = torch.ones(1, 1, 70, 70)
    accumulated(made, (full, full, full > 0, torch.ones(1)))
    squares = made.sums["squares"].max().item()
    assert squares < 2 * 65**4 * 70 * 70 and 2 * 65**4 * 2 * 10**10 < 2**63
    by_hand = sum(
        (min(69, row + 32) - max(0, row - 32) + 1) ** 2 * (min(69, column + 32) - max(0, column - 32) + 1) ** 2
        for row in range(70)
        for column in range(70)
    )
    assert squares == 2 * by_hand
