from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from data_prep.errors import UserError
from ds_nowcast.baselines import extrapolation
from ds_nowcast.model_space import Windows
from ds_nowcast.models import build_model, outline
from ds_nowcast.models.evolution_unet import CHANGE_UNIT, EvolutionUNet, compose
from ds_nowcast.motion.warping import centres


def small(outputs: int = 3, **options: object) -> EvolutionUNet:
    return cast(EvolutionUNet, build_model("evolution_unet", {"width": 8, "levels": 2, **options}, 4, outputs))


def moving(model: EvolutionUNet, x: float, y: float, change: float = 0.0) -> EvolutionUNet:
    """`model` with the same motion everywhere and at all leads: x columns and y rows a frame."""
    with torch.no_grad():
        for offset, start in ((-x, 0), (-y, 1)):
            outputs = model.max_motion * math.atanh(offset / model.max_motion) / model.motion_stride
            model.get_parameter("motion.bias")[start::2] = outputs
        model.get_parameter("change.bias").fill_(change / CHANGE_UNIT)
    return model


def hills(rows: int, columns: int) -> Tensor:
    """A smooth frame (1, 4, H, W), zero at its edges."""
    y, x = torch.meshgrid(torch.linspace(0, 1, rows), torch.linspace(0, 1, columns), indexing="ij")
    frame = (torch.sin(math.pi * x) * torch.sin(math.pi * y)) ** 4 * (1 + torch.sin(9 * x + 4 * y))
    return frame.expand(1, 4, -1, -1).clone()


def test_it_has_the_number_of_parameters_of_its_docstring() -> None:
    model = outline("evolution_unet", {}, 13, 12)
    assert sum(parameter.numel() for parameter in model.parameters()) == 16_559_140


@pytest.mark.parametrize("motion_stride", [1, 2, 4])
@pytest.mark.parametrize(("x", "y"), [(3, 0), (0, -2), (-1, 2)])
def test_whole_pixels_of_motion_move_the_last_frame_by_whole_pixels(motion_stride: int, x: int, y: int) -> None:
    model, past = moving(small(motion_stride=motion_stride), x, y), hills(48, 40)
    with torch.no_grad():
        future = model(past)
    for lead in (1, 2, 3):
        rolled = torch.roll(past[0, -1], (lead * y, lead * x), dims=(0, 1))
        inner = (slice(10, -10), slice(10, -10))  # at the edge the frame goes on, and does not come round
        torch.testing.assert_close(future[0, lead - 1][inner], rolled[inner], rtol=0, atol=1e-5)


def test_beyond_the_edge_rain_is_as_on_the_edge() -> None:
    past = torch.rand(1, 4, 16, 16)
    with torch.no_grad():
        future = moving(small(), 2, 0)(past)
    torch.testing.assert_close(future[0, -1, :, :6], past[0, -1, :, :1].expand(-1, 6), rtol=0, atol=1e-5)


def test_change_is_added_to_what_has_moved() -> None:
    past = hills(32, 32)
    with torch.no_grad():
        still = moving(small(), 1, 1)(past)
        grown = moving(small(), 1, 1, change=0.25)(past)
    torch.testing.assert_close(grown, still + 0.25)


def test_motion_is_bounded() -> None:
    model = small(max_motion=3.0)
    nn.init.constant_(model.get_parameter("motion.bias"), 1e4)
    motion = model.motion_of(torch.rand(1, model.widths[model.motion_level], 4, 4))
    assert motion.shape == (1, 3, 2, 4, 4) and motion.abs().max() <= 3.0


def test_composed_ways_are_those_of_particles_followed_back_one_lead_at_a_time() -> None:
    # Under a turn and a stretch the way back is linear in place, which bilinear sampling holds exactly.
    step = torch.tensor([[0.97, 0.1], [-0.1, 0.97]]) * 0.9  # places one lead before; all stay inside
    rest = centres(12, 18, torch.device("cpu"))
    motion = (rest @ step.T - rest).permute(2, 0, 1).expand(2, 5, -1, -1, -1)
    ways = compose(motion)
    for lead in range(1, 6):
        way = rest @ torch.linalg.matrix_power(step, lead).T - rest
        inner = (slice(1, -1), slice(1, -1))  # beyond the outermost centres ways go on as they are
        torch.testing.assert_close(ways[1, lead - 1].permute(1, 2, 0)[inner], way[inner], rtol=0, atol=2e-6)


def test_motion_that_changes_from_lead_to_lead_adds_up_in_order() -> None:
    motion = torch.zeros(1, 2, 2, 8, 8)
    motion[:, 0, 0, :, :4] = 0.1  # at lead 1 only the left half had come from elsewhere
    motion[:, 1, 0] = -1.0  # by lead 2 all has come half an image from the left
    ways = compose(motion)
    torch.testing.assert_close(ways[0, 1, 0, :, 5:7], torch.full((8, 2), -0.9))  # was in the left half at lead 1


def test_coordinates_stay_in_float32_under_bf16() -> None:
    # In bf16 the places of a row of 512 pixels would be up to one pixel wrong.
    model, past = moving(small(), 0.5, 0), torch.rand(1, 4, 8, 512).to(torch.bfloat16).float()
    with torch.no_grad():
        reference = model(past)
        with torch.autocast("cpu", torch.bfloat16):
            autocast = model(past)
        bf16 = model.to(torch.bfloat16)(past.to(torch.bfloat16))
    torch.testing.assert_close(autocast, reference, rtol=0, atol=0.01)
    torch.testing.assert_close(bf16.float(), reference, rtol=0, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [functional.mse_loss, functional.l1_loss, functional.huber_loss])
def test_it_learns_motion_from_a_loss_of_its_output_alone(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    blob = hills(32, 32)[0, 0]
    frames = torch.stack([torch.roll(blob, (0, 2 * t), dims=(0, 1)) for t in range(-3, 4)])[None]
    past, target = frames[:, :4], frames[:, 4:]
    model = small(norm="none")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        value = loss(model(past), target)
        losses.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert losses[-1] < 0.35 * losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"motion_stride": 3}, "motion_stride 3 is none of this network's; choose one of 1, 2, 4, 8, 16"),
        ({"levels": 1}, "motion_stride 4 is none of this network's; choose one of 1, 2"),
        ({"max_motion": 0.0}, "max_motion"),
        ({"width": 12}, "groups 8 do not divide width 12"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model("evolution_unet", options, 13, 12)


def test_with_the_flow_for_a_first_guess_it_starts_at_the_extrapolation() -> None:
    frames = torch.cat([torch.roll(hills(96, 96) / 2, (3 * t, -2 * t), dims=(2, 3))[:, :1] for t in range(7)], dim=1)
    past, future = frames[:, :4], frames[:, 4:]
    with torch.no_grad():
        forecast = small(first_guess="flow")(past)
    seen = torch.ones_like(past[:, -1], dtype=torch.bool)
    windows = Windows(past, future, torch.ones_like(future, dtype=torch.bool), seen)
    extrapolated = extrapolation.forecast(windows, 3)
    inner = (..., slice(16, -16), slice(16, -16))
    error, of_baseline, of_persistence = (
        (each - future)[inner].square().mean() for each in (forecast, extrapolated, past[:, -1:])
    )
    assert error < 0.02 * of_persistence and error < 2 * of_baseline + 1e-7
    torch.testing.assert_close(forecast[inner], extrapolated[inner], rtol=0, atol=0.02)


def test_of_a_single_frame_or_of_still_ones_the_first_guess_is_persistence() -> None:
    frame = hills(32, 32)
    with torch.no_grad():
        assert torch.equal(small(first_guess="flow")(frame), frame[:, -1:].expand(-1, 3, -1, -1))
        alone = build_model("evolution_unet", {"width": 8, "levels": 2, "first_guess": "flow"}, 1, 3)
        assert torch.equal(alone(frame[:, :1]), frame[:, -1:].expand(-1, 3, -1, -1))


def test_no_gradient_goes_through_the_first_guess() -> None:
    past = hills(32, 32).requires_grad_()
    assert not small(first_guess="flow").guess_of(past).requires_grad


def test_with_the_flow_it_sees_the_whole_image() -> None:
    assert small(norm="none", first_guess="flow").receptive_field is None
    assert small(norm="none").receptive_field is not None
