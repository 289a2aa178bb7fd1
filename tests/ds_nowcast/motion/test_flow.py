"""Motion measured in made echoes is the motion they were made with."""

from __future__ import annotations

import pytest
import torch

from tests.ds_nowcast.baselines.fields import (
    INPUT,
    LEADS,
    frames_of,
    motion_in,
    shift,
    still_hole,
)


@pytest.mark.parametrize(("u", "v"), [(0.3, 0.1), (2.0, -1.0), (-4.5, 3.25), (8.0, -6.0), (16.0, 8.0)])
def test_a_shift_is_found_to_a_fraction_of_a_pixel_everywhere(u: float, v: float) -> None:
    found_2hw = motion_in(frames_of(shift(u, v)))
    off_hw = (found_2hw - torch.tensor([u, v])[:, None, None]).norm(dim=0)
    assert off_hw.median() < 0.05 and off_hw.max() < 0.3


def test_dry_areas_have_the_motion_of_the_rain_beside_them() -> None:
    frames = frames_of(shift(3.0, 1.0))
    for number, frame_HW in enumerate(frames[0]):
        frame_HW[:, : 64 + 3 * number] = 0.0  # an edge that moves along
    found_2hw = motion_in(frames)
    assert (found_2hw[:, :, :4] - torch.tensor([3.0, 1.0])[:, None, None]).norm(dim=0).max() < 1.0


def test_what_is_not_seen_makes_no_motion() -> None:
    """A still hole in moving rain is no still edge, and a hole that moves over still rain is no motion."""
    found_2hw = motion_in(frames_of(shift(4.0, -2.0)), still_hole())
    off_hw = (found_2hw - torch.tensor([4.0, -2.0])[:, None, None]).norm(dim=0)
    assert off_hw.median() < 0.1 and off_hw.max() < 1.0
    moving_hole = torch.stack([still_hole()[0, 0].roll(6 * n, 1) for n in range(INPUT + LEADS)])[None]
    assert motion_in(frames_of(shift(0.0, 0.0)), moving_hole).abs().max() < 0.06
    assert motion_in(torch.full((1, INPUT + LEADS, 128, 128), 0.5), moving_hole).abs().max() == 0
