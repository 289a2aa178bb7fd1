from __future__ import annotations

import pytest
import torch

from data_prep.errors import UserError
from ds_nowcast.models import build_model, model_presets, outline

COUNTS = {
    "tiny": 1_851_456,
    "small": 7_328_832,
    "base": 39_306_816,
    "large": 266_375_616,
    "xl": 1_061_970_624,
}


def parameters(options: dict[str, object], inputs: int, outputs: int) -> int:
    model = outline("convnext_unet", options, inputs, outputs)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("preset", COUNTS)
def test_a_preset_has_as_many_parameters_as_stated(preset: str) -> None:
    assert parameters({"preset": preset}, 13, 12) == COUNTS[preset]
    assert list(model_presets("convnext_unet")) == list(COUNTS)


@pytest.mark.parametrize(("width", "depth", "past", "future"), [(8, 1, 1, 1), (16, 3, 5, 2), (64, 2, 4, 20)])
def test_the_number_of_parameters_follows_the_formula(width: int, depth: int, past: int, future: int) -> None:
    w, d = width, depth
    formula = (1360 * d + 378) * w**2 + (1740 * d + 91) * w + 16 * (past + future) * w + 5 * w + 16 * future
    assert parameters({"width": width, "depth": depth}, past, future) == formula


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 12])
def test_a_fresh_network_keeps_the_scale_of_its_features_at_any_depth(depth: int) -> None:
    torch.manual_seed(0)
    model = build_model("convnext_unet", {"width": 8, "depth": depth}, 5, 3)
    features: list[torch.Tensor] = []
    model.get_submodule("head").register_forward_hook(lambda module, inputs, output: features.append(inputs[0]))
    model(torch.rand(2, 5, 32, 64))
    assert 0.3 < features[0].std() < 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "multiple of 8"),
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"preset": "huge"}, "'huge' of model convnext_unet is not known; choose one of tiny, small, base, large, xl"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model("convnext_unet", options, 13, 12)
