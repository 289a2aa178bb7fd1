"""A model's mean over quarter turns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ds_nowcast.forecasting.turned import Turned
from ds_nowcast.models import NowcastModel, build_model


@pytest.fixture
def model() -> NowcastModel:
    options = {"width": 4, "levels": 2, "norm": "none", "residual": False}
    return build_model("unet", options, 3, 2).eval()


@torch.no_grad()
def test_it_is_the_mean_of_four_forecasts_each_turned_back(model: NowcastModel) -> None:
    past_BTHW = torch.rand(2, 3, 8, 16, generator=torch.Generator().manual_seed(0))

    def of_turned(turns: int) -> np.ndarray:
        turned = np.rot90(past_BTHW.numpy(), turns, (2, 3)).copy()
        return np.rot90(model(torch.from_numpy(turned)).numpy(), -turns, (2, 3))

    wanted = np.mean([of_turned(turns) for turns in range(4)], axis=0)
    assert np.abs(of_turned(1) - of_turned(0)).max() > 1e-3  # a turn is another forecast
    np.testing.assert_allclose(Turned(model)(past_BTHW).numpy(), wanted, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_of_a_turned_image_it_is_the_turned_forecast(model: NowcastModel) -> None:
    turned, past_BTHW = Turned(model), torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    wanted = torch.rot90(turned(past_BTHW), 1, (2, 3))
    torch.testing.assert_close(turned(torch.rot90(past_BTHW, 1, (2, 3))), wanted)


def test_it_takes_the_images_that_the_model_takes(model: NowcastModel) -> None:
    turned = Turned(model)
    assert (turned.stride, turned.receptive_field) == (model.stride, model.receptive_field)
    assert turned.receptive_field is not None
