"""Simulated storms: weather that moves, grows and decays as radar pictures do, so that there is something to learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.storms import CELL, CLUSTER, SYSTEM, Scale, evolving, storm


@pytest.fixture(scope="module")
def storms() -> list[NDArray[np.float32]]:
    return [storm(np.random.default_rng([1, number]), 72, 13) for number in range(12)]


@pytest.mark.parametrize(("size", "frames"), [(16, 2), (17, 3), (50, 8)])
def test_a_storm_has_the_shape_asked_for_and_no_gaps(size: int, frames: int) -> None:
    vil = storm(np.random.default_rng(0), size, frames)
    assert vil.shape == (frames, size, size)
    assert vil.dtype == np.float32
    assert np.isfinite(vil).all()
    assert (vil >= 0).all()


def test_storms_are_wet_in_a_quarter_and_severe_in_a_few_places(storms: list[NDArray[np.float32]]) -> None:
    wet = np.array([(vil >= 0.154).mean() for vil in storms])
    assert 0.15 < wet.mean() < 0.35
    assert wet.std() > 0.03
    severe = np.array([(vil >= 7.07).mean() for vil in storms])
    assert 0.001 < severe.mean() < 0.1
    assert max(vil.max() for vil in storms) > 32.2


def log_vil(vil: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.log(np.maximum(vil, 0.05))


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    a, b = one - one.mean(), other - other.mean()
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))


def best_shift(earlier: NDArray[np.float32], later: NDArray[np.float32], reach: int) -> tuple[float, tuple[int, int]]:
    """The highest correlation of the later picture with the shifted earlier one, and that shift (down, right)."""
    inner = slice(reach, len(later) - reach)
    found = []
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            moved = np.roll(earlier, (down, right), (0, 1))[inner, inner]
            found.append((correlation(moved, later[inner, inner]), (down, right)))
    return max(found)


@pytest.mark.slow
def test_motion_explains_the_next_frames_far_better_than_standing_still(storms: list[NDArray[np.float32]]) -> None:
    still, moved, rights = [], [], []
    for vil in storms:
        earlier, later = log_vil(vil[4]), log_vil(vil[7])
        best, (_, right) = best_shift(earlier, later, reach=15)
        still.append(best_shift(earlier, later, reach=0)[0])
        moved.append(best)
        rights.append(right)
    assert np.mean(moved) > 0.8
    assert np.mean(moved) > np.mean(still) + 0.2
    assert np.median(rights) >= 3  # the prevailing flow is from the west


def test_motion_goes_on_as_it_was(storms: list[NDArray[np.float32]]) -> None:
    for vil in storms[:6]:
        before = best_shift(log_vil(vil[2]), log_vil(vil[5]), reach=12)[1]
        after = best_shift(log_vil(vil[6]), log_vil(vil[9]), reach=12)[1]
        assert np.hypot(*np.subtract(before, after)) < 4


def test_large_scales_outlast_small_ones() -> None:
    kept = []
    for scale in (SYSTEM, CLUSTER, CELL):
        field = evolving(np.random.default_rng(0), scale, (60, 60))
        frames = [next(field) for _ in range(13)]
        kept.append(correlation(frames[0], frames[12]))
    assert kept[0] > 0.9 > kept[1] > 0.6 > kept[2] > 0


def test_growth_goes_on_for_a_while() -> None:
    field = evolving(np.random.default_rng(0), CELL, (120, 120))
    frames = [next(field) for _ in range(5)]
    assert correlation(frames[2] - frames[0], frames[4] - frames[2]) > 0.4


@pytest.mark.parametrize("scale", [SYSTEM, CLUSTER, CELL])
def test_each_scale_keeps_its_variance_as_it_evolves(scale: Scale) -> None:
    first, last = [], []
    for seed in range(10):
        field = evolving(np.random.default_rng(seed), scale, (64, 80))
        frames = [at_pixels(next(field)) for _ in range(30)]
        first.append(frames[0].var())
        last.append(frames[-1].var())
    assert np.mean(first) == pytest.approx(1.0, abs=0.15)
    assert np.mean(last) == pytest.approx(1.0, abs=0.15)


def at_pixels(spline: NDArray[Any]) -> NDArray[Any]:
    """Values of a periodic quadratic B-spline at its own grid points: weights 1/8, 3/4, 1/8 along each axis."""
    for axis in (0, 1):
        spline = 0.75 * spline + 0.125 * (np.roll(spline, 1, axis) + np.roll(spline, -1, axis))
    return spline
