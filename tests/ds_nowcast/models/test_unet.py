from __future__ import annotations

import re

import pytest
import torch

from data_prep.errors import UserError
from ds_nowcast.models import MODELS, NowcastModel, build_model, check_size, model_options

SMALL = {"width": 8, "levels": 2}


def small(**options: object) -> NowcastModel:
    torch.manual_seed(0)
    return build_model("unet", {**SMALL, **options}, 5, 3)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_it_has_the_reference_networks_number_of_parameters(norm: str) -> None:
    model = build_model("unet", {"norm": norm}, 13, 12)
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == 16_556_044
    assert model.stride == 16


@pytest.mark.parametrize("norm", ["group", "none"])  # a bias just before BatchNorm has none, as in the reference
def test_every_parameter_gets_a_gradient(norm: str) -> None:
    model = small(norm=norm, groups=4)
    model(torch.rand(2, 5, 16, 16)).square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-4]
    assert not still


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (5, 3), (13, 12)])
@pytest.mark.parametrize("size", [(16, 16), (24, 40)])
def test_it_maps_past_frames_to_future_frames(inputs: int, outputs: int, size: tuple[int, int]) -> None:
    model = build_model("unet", SMALL, inputs, outputs)
    assert model(torch.rand(2, inputs, *size)).shape == (2, outputs, *size)


def test_bf16_and_channels_last_forecasts_are_close_to_fp32() -> None:
    model, past = small().eval(), torch.rand(2, 5, 32, 32)
    with torch.no_grad():
        reference = model(past)
        channels_last = model(past.to(memory_format=torch.channels_last))
        bf16 = model.to(torch.bfloat16)(past.to(torch.bfloat16))
    torch.testing.assert_close(channels_last, reference, rtol=1e-4, atol=1e-4)
    assert bf16.dtype == torch.bfloat16
    assert (bf16.float() - reference).abs().mean() < 0.03 * reference.std()


def test_a_fresh_network_keeps_the_scale_of_its_input() -> None:
    for norm in ("group", "batch", "none"):
        output = small(norm=norm)(torch.randn(2, 5, 32, 32))
        assert 0.05 < output.std() < 10, norm


def test_a_residual_network_starts_at_persistence_exactly_and_learns() -> None:
    model, past = small(residual=True), torch.rand(2, 5, 16, 16)
    future = model(past)
    assert torch.equal(future, past[:, -1:].expand(-1, 3, -1, -1))
    (future - 1).square().sum().backward()
    head = model.get_parameter("head.weight")
    assert head.grad is not None and head.grad.any()


def test_only_statistics_that_span_the_image_make_the_receptive_field_infinite() -> None:
    for norm in ("group", "batch", "none"):
        model = small(norm=norm).eval()
        past = torch.rand(1, 5, 192, 16)
        changed = past.clone()
        changed[..., :8, :] = 0.0
        with torch.no_grad():
            far_away = (model(changed) - model(past))[..., -8:, :]
        assert model.finite_receptive_field == (not far_away.any()), norm


@pytest.mark.parametrize(
    ("size", "advice"),
    [((100, 100), "such as 96 or 112"), ((96, 100), "such as 96 x 96 or 96 x 112"), ((10, 10), "such as 16 (build")],
)
def test_a_size_that_does_not_divide_is_refused_with_the_nearest_that_do(size: tuple[int, int], advice: str) -> None:
    with pytest.raises(UserError, match=re.escape(advice)):
        check_size(16, *size)
    check_size(16, 96, 112)


def test_the_forward_refuses_a_size_it_cannot_halve() -> None:
    with pytest.raises(UserError, match="18 x 16 pixels do not fit a model of stride 4"):
        small()(torch.rand(1, 5, 18, 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": 8}, "did you mean 'width'"),
        ({"width": 12}, "groups 8 do not divide width 12"),
        ({"norm": "layer"}, "'group'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model("unet", options, 13, 12)


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="'resnet' is not known; choose one of unet"):
        build_model("resnet", {}, 13, 12)


@pytest.mark.parametrize("name", MODELS)
def test_every_option_of_every_model_is_described(name: str) -> None:
    assert all(field.description for field in model_options(name).model_fields.values())
