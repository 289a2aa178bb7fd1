"""Motion that is known is found, and rain moved by it; nothing moves where nothing does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ds_nowcast.baselines import extrapolation, persistence
from ds_nowcast.baselines.extrapolation import ways_back
from ds_nowcast.motion.flow import Motion, motion_of
from tests.ds_nowcast.baselines.fields import (
    INPUT,
    LEADS,
    Place,
    error,
    frames_of,
    motion_in,
    shift,
    still_hole,
    windows_of,
)

MIDDLE = 63.5


def turning(degrees: float) -> Place:
    """Rotation about the middle."""

    def place(x: Tensor, y: Tensor, number: int) -> tuple[Tensor, Tensor]:
        angle = -math.radians(degrees) * number
        x, y = x - MIDDLE, y - MIDDLE
        return x * math.cos(angle) - y * math.sin(angle) + MIDDLE, x * math.sin(angle) + y * math.cos(angle) + MIDDLE

    return place


def shearing(rate: float) -> Place:
    """The upper half moves to the left, the lower one to the right, the faster the farther out."""
    return lambda x, y, number: (x - rate * (y - MIDDLE) * number, y)


@pytest.mark.parametrize(("u", "v"), [(2.0, -1.0), (-4.5, 3.25)])
def test_shifted_rain_is_forecast(u: float, v: float) -> None:
    frames = frames_of(shift(u, v))
    windows = windows_of(frames)
    forecast_BTHW = extrapolation.forecast(windows, LEADS)
    inside = (..., slice(24, -24), slice(24, -24))  # what lies there at the last lead was in the last frame
    d = (forecast_BTHW - windows.target_BTHW)[inside]
    still = (persistence.forecast(windows, LEADS) - windows.target_BTHW)[inside]
    assert d.square().mean() < 0.01 * still.square().mean()


def test_whole_pixels_of_motion_move_rain_by_whole_pixels_and_on_from_the_edge() -> None:
    last_HW = torch.rand(40, 48, generator=torch.Generator().manual_seed(0))
    ways = ways_back(Motion(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 5, 6), 8), 3)
    for lead, way_B2hw in enumerate(ways, 1):
        expected = torch.tensor([-2.0, 1.0]).view(1, 2, 1, 1) * lead
        torch.testing.assert_close(way_B2hw, expected.expand(1, 2, 5, 6), rtol=0, atol=1e-5)
    frames = last_HW.expand(1, INPUT, 40, 48)
    assert torch.equal(extrapolation.forecast(windows_of(frames), 1)[0, 0], last_HW)


@pytest.mark.parametrize("place", [turning(4.0), shearing(0.05)])
def test_rotating_and_shearing_rain_is_forecast_much_better_than_by_persistence(place: Place) -> None:
    windows = windows_of(frames_of(place))
    forecast_BTHW = extrapolation.forecast(windows, LEADS)
    still = error(persistence.forecast(windows, LEADS), windows)
    assert error(forecast_BTHW, windows) < 0.25 * still


def test_a_turn_is_followed_along_its_circle() -> None:
    """Straight on along the tangent, six turns of 6 degrees end a sixth of the radius outside; the ways keep the distance."""
    y, x = torch.meshgrid(torch.arange(64) * 2.0 - 63, torch.arange(64) * 2.0 - 63, indexing="ij")
    rate = math.radians(6.0)
    motion = Motion(torch.stack([-rate * y, rate * x])[None], 2)
    way_2hw = ways_back(motion, 6)[-1][0]
    radius, there = torch.hypot(x, y), torch.hypot(x + way_2hw[0], y + way_2hw[1])
    inside = radius < 50
    assert (there - radius)[inside].abs().max() < 0.5


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_frames_without_a_gradient_have_no_motion_and_are_persistence(value: float) -> None:
    windows = windows_of(torch.full((1, INPUT + LEADS, 50, 70), value))
    assert not motion_of(windows.past_BTHW, windows.past_seen).pixels_B2hw.any()
    assert torch.equal(extrapolation.forecast(windows, LEADS), persistence.forecast(windows, LEADS))


@pytest.mark.parametrize("shape", [(128, 128), (50, 71), (7, 300)])
def test_still_rain_is_persistence_to_the_bit(shape: tuple[int, int]) -> None:
    windows = windows_of(frames_of(shift(0.0, 0.0), *shape))
    assert torch.equal(extrapolation.forecast(windows, LEADS), persistence.forecast(windows, LEADS))


def test_of_one_frame_the_forecast_is_persistence() -> None:
    whole = windows_of(frames_of(shift(3.0, 0.0)))
    windows = whole._replace(past_BTHW=whole.past_BTHW[:, -1:], past_seen_BTHW=None)
    assert torch.equal(extrapolation.forecast(windows, LEADS), persistence.forecast(windows, LEADS))


def test_what_is_not_seen_moves_in_neither_dry_nor_as_an_edge() -> None:
    """Even rain over all the image stays even rain at every lead, whatever the holes and the motion."""
    frames = 0.5 + 0.02 * frames_of(shift(4.0, -2.0))
    windows = windows_of(frames, still_hole())
    forecast_BTHW = extrapolation.forecast(windows, LEADS)
    assert motion_in(frames, still_hole()).norm(dim=0).median() > 3
    assert forecast_BTHW.min() >= 0.5 - 1e-5 and forecast_BTHW.max() < 0.52
