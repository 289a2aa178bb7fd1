"""A domain as one image: the model's own forecast of it, in pieces that memory holds; and as tiles, where both agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from data_prep.errors import UserError
from ds_nowcast.forecasting.tiling import check_mode, forecast_domain
from ds_nowcast.models import NowcastModel, build_model

UNET = ("unet", {"width": 8, "levels": 2, "norm": "batch"})
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet, batch norm": UNET,
    "unet without norm, a change": ("unet", {"width": 8, "levels": 3, "norm": "none", "residual": True}),
    "evolution_unet": ("evolution_unet", {"width": 8, "levels": 2, "norm": "none", "max_motion": 3.0}),
}


def stirred(name: str, options: dict[str, Any]) -> NowcastModel:
    """As after some training, with statistics of its norms."""
    model = build_model(name, options, 4, 3)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.05 * torch.rand(tensor.shape, generator=generator)
    return model.eval()


def rain(rows: int, columns: int) -> torch.Tensor:
    return torch.rand(4, rows, columns, generator=torch.Generator().manual_seed(3))


def assert_equal(one: torch.Tensor, other: torch.Tensor) -> None:
    """To the rounding of float32, in numbers as large as the largest there."""
    assert one.shape == other.shape and (one - other).abs().max() < 1e-5 * other.abs().max()


@torch.no_grad()
def whole(
    model: NowcastModel, past_THW: torch.Tensor, tile: int = 16, **options: Any
) -> tuple[torch.Tensor, list[Any]]:
    """The forecast, and the shapes of what the model was given."""
    shapes = []

    def predict(past_BTHW: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(past_BTHW.shape))
        future: torch.Tensor = model(past_BTHW)
        return future

    reach = model.receptive_field
    forecast = forecast_domain(
        predict, past_THW, (tile, tile), model.stride, mode="whole", receptive_field=reach, **options
    )
    return forecast, shapes


def check_in_pieces(model: NowcastModel, past_THW: torch.Tensor, tile: int) -> None:
    assert model.receptive_field is not None
    forecast_LHW, shapes = whole(model, past_THW, tile)
    with torch.no_grad():
        at_once_LHW = model(past_THW[None])[0]
    assert_equal(forecast_LHW, at_once_LHW)
    assert len(shapes) > 1
    most = max(tile, 2 * (model.receptive_field + model.stride)) + 2 * (model.receptive_field + model.stride)
    assert all(batch == 1 and max(sides) <= most for batch, _, *sides in shapes)


@pytest.mark.parametrize("kind", MODELS)
def test_the_pieces_are_the_models_own_forecast_of_the_whole_domain(kind: str) -> None:
    check_in_pieces(stirred(*MODELS[kind]), rain(160, 104), 16)


@pytest.mark.slow
def test_the_pieces_are_the_forecast_of_a_model_that_sees_far() -> None:
    check_in_pieces(stirred("convnext_unet", {"width": 8, "depth": 1}), rain(2080, 32), 64)


def check_both_modes(model: NowcastModel, rows: int, tile: tuple[int, int]) -> None:
    past_THW, reach = rain(rows, tile[1]), model.receptive_field
    assert reach is not None and tile[0] > 2 * reach
    with torch.no_grad():
        tiles_LHW = forecast_domain(model, past_THW, tile, model.stride)
        whole_LHW = forecast_domain(model, past_THW, tile, model.stride, mode="whole", receptive_field=reach)
    assert_equal(tiles_LHW[:, :reach], whole_LHW[:, :reach])  # the edge is one for both
    starts = round((rows - tile[0]) / 2)  # of three tiles, the middle one's
    inside = slice(tile[0] + reach, rows - tile[0] - reach)  # of it alone, and far from the others' edges and its own
    assert starts + reach <= inside.start < inside.stop <= starts + tile[0] - reach
    assert_equal(tiles_LHW[:, inside], whole_LHW[:, inside])
    assert (tiles_LHW - whole_LHW).abs().max() > 1e-4 * whole_LHW.abs().max()  # at the seams they differ


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "evolution_unet"])
def test_inside_of_tiles_both_modes_are_equal(kind: str) -> None:
    model = stirred(*MODELS[kind])
    assert model.receptive_field is not None
    side = (8 * model.receptive_field // model.stride + 1) * model.stride
    check_both_modes(model, side * 5 // 2 // model.stride * model.stride, (side, 16))


@pytest.mark.slow
def test_inside_of_tiles_both_modes_are_equal_for_a_model_that_sees_far() -> None:
    check_both_modes(stirred("convnext_unet", {"width": 8, "depth": 1}), 8000, (3200, 32))


def test_a_domain_that_the_stride_does_not_divide_is_padded_with_no_echo() -> None:
    model, past_THW = stirred(*UNET), rain(37, 26)
    padded_THW = torch.nn.functional.pad(past_THW, (0, 2, 0, 3))
    with torch.no_grad():
        expected_LHW = model(padded_THW[None])[0, :, :37, :26]
    forecast_LHW, _ = whole(model, past_THW)
    assert_equal(forecast_LHW, expected_LHW)


@pytest.mark.parametrize("mode", ["tiles", "whole"])
def test_codes_are_looked_up_piece_by_piece(mode: Any) -> None:
    model, table = stirred(*UNET), torch.rand(256)
    codes_THW = torch.randint(0, 256, (4, 70, 50), dtype=torch.uint8)
    given: dict[str, Any] = {"mode": mode, "receptive_field": model.receptive_field}
    with torch.no_grad():
        looked_up = forecast_domain(model, codes_THW, (16, 16), 4, table=table, **given)
        assert torch.equal(looked_up, forecast_domain(model, table[codes_THW.int()], (16, 16), 4, **given))


def test_a_model_to_which_all_of_the_image_matters_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match=r"--mode whole is not for model unet .* statistics span .* give --mode tiles"):
        check_mode("whole", build_model("unet", {"width": 8, "levels": 1}, 2, 2), "unet")
    check_mode("tiles", build_model("unet", {"width": 8, "levels": 1}, 2, 2), "unet")
    check_mode("whole", build_model(*UNET, 2, 2), "unet")
