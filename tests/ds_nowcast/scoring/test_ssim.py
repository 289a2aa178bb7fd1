"""Structural similarity against its formula, one window at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds_nowcast.scoring.ssim import Similarity, all_valid, gaussian, ssim_map
from tests.ds_nowcast.scoring.fields import accumulated, fields, images, setting

SHAPE = (16, 19)


def ssim_of(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004 of one 11 x 11 window, eqs. 14-16 and 13."""
    across, down = np.meshgrid(np.arange(-5, 6), np.arange(-5, 6))
    weight = np.exp(-(across**2 + down**2) / (2 * 1.5**2))
    weight /= weight.sum()
    mean_x, mean_y = (weight * x).sum(), (weight * y).sum()
    var_x, var_y = (weight * (x - mean_x) ** 2).sum(), (weight * (y - mean_y) ** 2).sum()
    covariance = (weight * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = 0.01**2, 0.03**2
    return float(
        (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    )


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32))
def test_the_score_is_the_mean_over_windows_that_were_seen_whole(seed: int) -> None:
    batch = fields(seed, batch=3, shape=SHAPE, seen=1.0)
    hidden = torch.Generator().manual_seed(seed)
    batch[2][torch.rand(batch[2].shape, generator=hidden) < 0.004] = False
    found = [
        ssim_of(forecast[row : row + 11, column : column + 11], observed[row : row + 11, column : column + 11])
        for forecast, observed, seen in images(batch)
        for row, column in np.ndindex(SHAPE[0] - 10, SHAPE[1] - 10)
        if seen[row : row + 11, column : column + 11].all()
    ]
    score = accumulated(Similarity(setting(shape=SHAPE)), batch)["ssim"]
    assert score == (pytest.approx(np.mean(found), abs=1e-5) if found else None)


def test_windows_are_whole_where_every_pixel_is_valid() -> None:
    valid = torch.rand(2, 30, 40, generator=torch.Generator().manual_seed(0)) > 0.005
    expected = [[valid[b, r : r + 11, c : c + 11].all().item() for c in range(30)] for b in range(2) for r in range(20)]
    assert all_valid(valid).flatten(0, 1).tolist() == expected


def test_the_same_image_has_one_and_its_negative_less_than_none() -> None:
    x = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ssim_map(x, x), torch.ones(1, 10, 10))
    assert ssim_map(x, 1.0 - x).mean() < 0.0
    assert sum(gaussian()) == pytest.approx(1.0, abs=1e-15)


def test_images_smaller_than_a_window_have_no_score() -> None:
    assert accumulated(Similarity(setting(shape=(10, 40))), fields(0, shape=(10, 40)))["ssim"] is None


def test_a_forecast_that_is_nan_has_no_score_at_that_lead_time_unless_nobody_looked_there() -> None:
    prediction, target, valid, weight = fields(1, shape=SHAPE, seen=1.0)
    prediction[0, 1, 8, 8] = float("nan")
    made = Similarity(setting(shape=SHAPE))
    assert accumulated(made, (prediction, target, valid, weight))["ssim"] is None
    assert made.scores(made.fetched(), slice(0, 1))["ssim"] is not None
    valid[0, 1, 8, 8] = False
    assert accumulated(Similarity(setting(shape=SHAPE)), (prediction, target, valid, weight))["ssim"] is not None
