"""Quantiles of all pixels of forecast and target."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.encoding import ENCODINGS
from ds_nowcast.config.nowcast_keys import Thresholds
from ds_nowcast.scoring.quantiles import PROBABILITIES, Quantiles
from tests.ds_nowcast.scoring.fields import accumulated, fields, images, setting


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_quantiles_are_those_of_the_sorted_pixels(seed: int) -> None:
    batch = fields(seed)
    found = accumulated(Quantiles(setting()), batch)["quantiles"]
    values = ENCODINGS["vil255"].values["kg/m2"]
    assert found["probability"] == [float(p) for p in PROBABILITIES]
    for index, kind in enumerate(("forecast", "observed")):
        field = np.concatenate([image[index][image[2]] for image in images(batch)])
        codes = np.sort(np.clip(np.rint(field.astype(np.float32) * np.float32(255)), 0, 254)).astype(int)
        ranks = [math.ceil(Fraction(p) * len(codes)) - 1 for p in PROBABILITIES]
        assert found[kind] == values[codes[ranks]].tolist()
        np.testing.assert_array_equal(codes[ranks], np.quantile(codes, found["probability"], method="inverted_cdf"))


def test_a_forecast_without_heavy_rain_shows_in_its_upper_quantiles_only() -> None:
    target = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = (target.clamp(max=0.8), target, target >= 0, torch.ones(1))
    made = Quantiles(setting("dbz8", "dBZ", Thresholds(unit="dBZ", values=[20]), leads=1, shape=(64, 64)))
    found = accumulated(made, batch)["quantiles"]
    assert found["forecast"][:2] == found["observed"][:2]
    assert max(found["forecast"]) == ENCODINGS["dbz8"].values["dBZ"][204] < found["observed"][2]


def test_a_forecast_that_is_nan_has_no_quantiles_and_no_pixels_have_none() -> None:
    prediction, target, valid, weight = fields(1)
    prediction[valid] = torch.where(torch.arange(int(valid.sum())) == 7, float("nan"), prediction[valid])
    found = accumulated(Quantiles(setting()), (prediction, target, valid, weight))["quantiles"]
    assert set(found["forecast"]) == {None} and None not in found["observed"]
    nothing = accumulated(Quantiles(setting()), (prediction, target, valid, weight * 0))["quantiles"]
    assert set(nothing["forecast"]) == set(nothing["observed"]) == {None}


def test_ranks_of_twenty_thousand_million_pixels_are_found_to_the_pixel() -> None:
    made = Quantiles(setting())
    pixels = 2 * 10**10
    made.sums["observed"][10], made.sums["observed"][20] = pixels // 2, pixels - pixels // 2
    exactly = made.once(made.fetched())["quantiles"]["observed"][0]
    made.sums["observed"][10] -= 1
    made.sums["observed"][20] += 1
    one_less = made.once(made.fetched())["quantiles"]["observed"][0]
    values = ENCODINGS["vil255"].values["kg/m2"]
    assert (exactly, one_less) == (values[10], values[20])
