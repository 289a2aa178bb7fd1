"""Errors in model space and in physical units, and that their sums depend on no order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.encoding import ENCODINGS, Unit
from ds_nowcast.config.nowcast_keys import Thresholds
from ds_nowcast.scoring.errors import MODEL_UNIT, ModelErrors, PhysicalErrors
from ds_nowcast.scoring.exact import LIMB
from tests.ds_nowcast.scoring.fields import Fields, accumulated, fields, images, setting

MM = Thresholds(unit="mm/h", values=[0.5])
UNITS = [("vil255", "kg/m2"), ("dbz8", "mm/h"), ("dbz8", "dBZ")]


def whole_errors(made: ModelErrors | PhysicalErrors) -> list[int]:
    return [int(number) for name in ("squared", "absolute") for number in made.sums[name].flatten()]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_errors_in_model_space_are_those_over_the_valid_pixels(seed: int) -> None:
    batch = fields(seed)
    error = np.concatenate([(forecast - observed)[seen] for forecast, observed, seen in images(batch)])
    scores = accumulated(ModelErrors(setting()), batch)
    assert scores["mse"] == pytest.approx((error**2).mean(), rel=1e-5)
    assert scores["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert scores["mae"] == pytest.approx(abs(error).mean(), rel=1e-5)


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_errors_in_physical_units_are_those_of_the_encodings_values(name: str, unit: Unit) -> None:
    batch, encoding = fields(1), ENCODINGS[name]
    error = []
    for forecast, observed, seen in images(batch):
        values = [encoding.from_model(field[seen], unit).astype(np.float64) for field in (forecast, observed)]
        error.append(values[0] - values[1])
    square, absolute = np.concatenate(error) ** 2, abs(np.concatenate(error))
    given_for = setting(name, unit, MM if name == "dbz8" else Thresholds(unit="code", values=[16]))
    scores = accumulated(PhysicalErrors(given_for), batch)["physical"]
    assert scores["unit"] == unit
    assert scores["mse"] == pytest.approx(square.mean(), rel=1e-5)
    assert scores["rmse"] == pytest.approx(np.sqrt(square.mean()), rel=1e-5)
    assert scores["mae"] == pytest.approx(absolute.mean(), rel=1e-5)


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_values_on_the_device_are_the_encodings_own(name: str, unit: Unit) -> None:
    made = PhysicalErrors(setting(name, unit))
    model = torch.cat([torch.linspace(-0.1, 1.1, 5000), torch.tensor([float("nan")])])
    expected = ENCODINGS[name].from_model(model.numpy(), unit)
    np.testing.assert_allclose(made.physical(model).numpy(), expected, rtol=1e-6, atol=1e-12)
    codes = torch.from_numpy(ENCODINGS[name].model_table()[: ENCODINGS[name].missing])
    np.testing.assert_allclose(made.physical(codes).numpy(), ENCODINGS[name].values[unit], rtol=1e-5, atol=1e-5)


def spread(seed: int, batch: int) -> Fields:
    """Errors over many orders of magnitude, whose sums in floats would depend on their order."""
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.rand(batch, 3, 40, 40, generator=generator) ** 6
    return prediction, torch.zeros_like(prediction), prediction >= 0, torch.ones(batch)


@pytest.mark.parametrize("kind", [ModelErrors, PhysicalErrors])
def test_very_unequal_errors_add_up_to_the_same_in_any_order(kind: type[ModelErrors | PhysicalErrors]) -> None:
    made_for = setting("dbz8", "mm/h", MM, shape=(40, 40))
    together, apart = kind(made_for), kind(made_for)
    prediction, target, valid, weight = spread(0, 6)
    accumulated(together, (prediction, target, valid, weight))
    turned = prediction.flip(0, 2)
    for sample in range(6):
        part = slice(sample, sample + 1)
        accumulated(apart, (turned[part], target[part], valid[part], weight[part]))
    assert whole_errors(together) == whole_errors(apart)


def test_the_largest_error_of_every_pixel_adds_up_exactly_over_more_pixels_than_any_archive_has() -> None:
    """2e10 pixels at 32,000 mm/h: the squares sum to 2e19, more than 64 bits of their unit could hold."""
    made = PhysicalErrors(setting("dbz8", "mm/h", MM, leads=1, shape=(32, 32)))
    zero = torch.zeros(1, 1, 32, 32)
    accumulated(made, (torch.ones_like(zero), zero, zero == 0, torch.ones(1)))
    alone = made.scores(made.fetched(), slice(None))["physical"]
    high, low = made.sums["squared"][0].tolist()
    batches = 2 * 10**10 // 1024
    for total in made.sums.values():
        total.mul_(batches)
    assert made.sums["squared"].tolist() == [[high * batches, low * batches]]  # neither half went past 63 bits
    assert (high * LIMB + low) * batches > 2**63
    assert made.scores(made.fetched(), slice(None))["physical"] == alone
    assert alone["mae"] == pytest.approx(ENCODINGS["dbz8"].values["mm/h"][-1], rel=1e-9)


def test_one_pixel_more_changes_sums_over_twenty_thousand_million() -> None:
    made = ModelErrors(setting(leads=1, shape=(1, 1)))
    made.sums["squared"].fill_(2 * 10**10 * 2**24)  # 2e10 pixels with an error of 1
    made.sums["pixels"].fill_(2 * 10**10)
    one = torch.full((1, 1, 1, 1), MODEL_UNIT**0.5)
    accumulated(made, (one, torch.zeros_like(one), one > 0, torch.ones(1)))
    assert made.sums["squared"].item() == 2 * 10**10 * 2**24 + 1


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e20])
@pytest.mark.parametrize("kind", [ModelErrors, PhysicalErrors])
def test_errors_of_a_forecast_that_is_no_number_are_none(
    kind: type[ModelErrors | PhysicalErrors], wrong: float
) -> None:
    batch = fields(5)
    seen = batch[2][0, 1].nonzero()[0]
    batch[0][0, 1, seen[0], seen[1]] = wrong
    made = kind(setting())
    scores = accumulated(made, batch)
    first = made.scores(made.fetched(), slice(0, 1))
    if kind is PhysicalErrors:
        scores, first = scores["physical"], first["physical"]
    no_number = kind is ModelErrors or np.isnan(wrong)  # beyond the encoding's table a value is its end
    assert all((scores[name] is None) == no_number for name in ("mse", "mae", "rmse"))
    assert first["mse"] > 0.0  # the other lead times keep theirs
