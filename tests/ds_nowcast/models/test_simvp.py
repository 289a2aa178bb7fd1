from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from data_prep.errors import UserError
from ds_nowcast.models import NowcastModel, build_model, outline

TINY = {"spatial_width": 8, "spatial_depth": 2, "temporal_width": 16, "temporal_depth": 2}


def on_meta(options: dict[str, object], frames: int) -> NowcastModel:
    return outline("simvp", options, frames, frames)


# (parameters by the arithmetic of the docstring, in millions as the publication's table, GFLOPs (MACs) of that table)
@pytest.mark.parametrize(
    ("preset", "translator", "frames", "rows", "parameters", "millions", "gmacs"),
    [
        ("moving_mnist", "gsta", 10, 64, 46_769_665, 46.8, 16.5),
        ("moving_mnist", "incepu", 10, 64, 57_946_113, 58.0, 19.4),
        ("weatherbench", "gsta", 12, 32, 12_758_305, 12.76, 7.01),
        ("weatherbench", "incepu", 12, 32, 14_666_017, 14.67, 8.03),
    ],
)
def test_it_has_the_publications_size(
    preset: str, translator: str, frames: int, rows: int, parameters: int, millions: float, gmacs: float
) -> None:
    model = on_meta({"preset": preset, "translator": translator}, frames)
    with FlopCounterMode(display=False) as flops:
        model(torch.rand(1, frames, rows, 64, device="meta"))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert parameters / 1e6 == pytest.approx(millions, abs=0.055 if millions > 20 else 0.005)
    assert flops.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.01)  # theirs count norms too


@pytest.mark.parametrize("translator", ["gsta", "incepu"])
def test_a_translator_of_equal_sides_has_no_layer_to_change_them(translator: str) -> None:
    model = on_meta({**TINY, "translator": translator}, 2)  # 2 frames of 8 channels are the translator's 16
    reductions = [name for name, _ in model.named_parameters() if ".change." in name]
    assert reductions == []


def skip_reaches(inputs: int, outputs: int) -> torch.Tensor:
    """(T_in, T_out) whether a frame's skip reaches a lead, with the translator's frames held constant."""
    torch.manual_seed(0)
    model = build_model("simvp", TINY, inputs, outputs)
    translated = torch.rand(1, outputs * 8, 4, 4)
    model.get_submodule("translator").forward = lambda x, run: translated  # type: ignore[method-assign]
    past = torch.rand(1, inputs, 8, 8)
    reached = []
    with torch.no_grad():
        for frame in range(inputs):
            changed = past.clone()
            changed[:, frame] = torch.rand(8, 8)
            reached.append((model(changed) != model(past)).flatten(2).any(dim=2)[0])
    return torch.stack(reached)


def test_each_lead_takes_the_skip_of_its_frame_or_all_of_the_last() -> None:
    assert torch.equal(skip_reaches(3, 3), torch.eye(3, dtype=torch.bool))
    last = torch.tensor([[False, False], [False, False], [True, True]])
    assert torch.equal(skip_reaches(3, 2), last)


@pytest.mark.slow
@pytest.mark.parametrize("translator", ["gsta", "incepu"])
def test_every_input_frame_matters_to_every_lead(translator: str) -> None:
    torch.manual_seed(0)
    model = build_model("simvp", {**TINY, "translator": translator}, 4, 3).eval()
    past = torch.rand(1, 4, 8, 8, requires_grad=True)
    for lead in range(3):
        (gradient,) = torch.autograd.grad(model(past)[:, lead].sum(), past)
        assert gradient.abs().amax(dim=(0, 2, 3)).min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"translator": "swin"}, "'gsta' or 'incepu'"),
        ({"spatial_width": 12}, "spatial_width.*multiple of 8"),
        ({"spatial_depth": 3}, "3 is odd; give an even number, such as 4"),
        ({"spatial_depth": 0}, "spatial_depth"),
        ({"temporal_width": 24}, "temporal_width.*multiple of 16"),
        ({"temporal_depth": 1}, "temporal_depth"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model("simvp", options, 13, 12)
