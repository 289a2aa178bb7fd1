from __future__ import annotations

import pytest
import torch

from data_prep.errors import UserError
from ds_nowcast.models import NowcastModel, build_model


def small(**options: object) -> NowcastModel:
    torch.manual_seed(0)
    return build_model("unet", {"width": 8, "levels": 2, **options}, 5, 3)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_it_has_the_reference_networks_number_of_parameters(norm: str) -> None:
    model = build_model("unet", {"norm": norm}, 13, 12)
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == 16_556_044
    assert model.stride == 16


@pytest.mark.parametrize(("residual", "head"), [(False, 2.948613002), (True, 0.0)])
def test_a_seed_gives_the_weights_that_it_always_gave(residual: bool, head: float) -> None:
    weights = small(residual=residual).state_dict()
    names = ("down.0.0.weight", "up.1.block.3.weight", "head.weight")
    sums = [weights[name].double().abs().sum().item() for name in names[:2]]
    sums.append(weights[names[2]][0].double().abs().sum().item())
    assert len(weights) == 50
    assert sums == pytest.approx([59.484564802, 74.338274685, head], rel=1e-6)


def test_a_fresh_network_keeps_the_scale_of_its_input() -> None:
    for norm in ("group", "batch", "none"):
        output = small(norm=norm)(torch.randn(2, 5, 32, 32))
        assert 0.05 < output.std() < 10, norm


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "groups 8 do not divide width 12"),
        ({"norm": "layer"}, "'group'"),
        ({"levels": 0}, "levels"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model("unet", options, 13, 12)
