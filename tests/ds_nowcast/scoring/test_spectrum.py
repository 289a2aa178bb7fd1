"""Power spectra against modes summed one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds_nowcast.scoring.spectrum import Spectrum
from tests.ds_nowcast.scoring.fields import accumulated, fields, images, setting

SHAPES = [(12, 12), (13, 18), (18, 13), (18, 12), (15, 9), (7, 7)]


def mode_by_mode(image: np.ndarray) -> list[float]:
    """Mean of |F|^2 / pixels over the modes of each ring from the second on, the transform spelled out."""
    rows, columns = image.shape
    across, down = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in (columns, rows))
    power = abs(down @ image @ across) ** 2 / image.size
    rings: dict[int, list[float]] = {}
    for row, column in np.ndindex(rows, columns):
        y, x = min(row, rows - row), min(column, columns - column)
        rings.setdefault(round(math.hypot(y, x)), []).append(power[row, column])
    return [float(np.mean(rings[ring])) for ring in range(1, (max(rows, columns) + 1) // 2)]


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_power_is_the_mean_over_modes_of_a_ring_and_over_images(shape: tuple[int, int], seed: int) -> None:
    batch = fields(seed, shape=shape)
    spectrum = accumulated(Spectrum(setting(shape=shape)), batch)["spectrum"]
    power, observed = [], []
    for forecast, seen_there, seen in images(batch):
        power.append(mode_by_mode(np.where(seen, forecast, 0.0)))
        observed.append(mode_by_mode(np.where(seen, seen_there, 0.0)))
    np.testing.assert_allclose(spectrum["power"], np.mean(power, 0), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(spectrum["observed"], np.mean(observed, 0), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(spectrum["ratio"], np.mean(power, 0) / np.mean(observed, 0), rtol=1e-4)


def test_a_wave_shows_at_its_wavelength_in_km_or_in_pixels() -> None:
    wave = (0.5 + 0.5 * torch.cos(2 * math.pi * torch.arange(32) / 8.0)).expand(1, 1, 32, 32)
    batch = (wave, wave, wave >= 0, torch.ones(1))
    for given_pixel, name, longest in (
        ({"pixel": (500.0, 500.0)}, "wavelength_km", 16.0),
        ({"pixel": (1000.0, 4000.0)}, "wavelength_km", 64.0),
        ({"pixel": (0.01, 0.01), "pixel_unit": "degree"}, "wavelength_px", 32.0),
    ):
        spectrum = accumulated(Spectrum(setting(leads=1, shape=(32, 32), **given_pixel)), batch)["spectrum"]
        assert spectrum[name][:2] == [longest, longest / 2]
        assert spectrum[name][int(np.argmax(spectrum["power"]))] == longest / 4  # the image holds four waves


def test_a_blurred_forecast_loses_power_at_short_wavelengths() -> None:
    target = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(target, 5, 1, 2)
    batch = (blurred, target, target >= 0, torch.ones(2))
    ratios = accumulated(Spectrum(setting(leads=1, shape=(32, 32))), batch)["spectrum"]["ratio"]
    assert ratios[0] > 0.5 and max(ratios[8:]) < 0.2


def test_images_without_a_seen_pixel_do_not_count() -> None:
    prediction, target, valid, weight = fields(3, batch=4)
    unseen = valid.clone()
    unseen[1] = False
    keep = torch.tensor([0, 2, 3])
    with_it = accumulated(Spectrum(setting()), (prediction, target, unseen, weight))
    without = accumulated(Spectrum(setting()), (prediction[keep], target[keep], valid[keep], weight[keep]))
    assert with_it == without


def test_a_forecast_that_is_nan_has_no_spectrum_but_the_observed_one_stays() -> None:
    prediction, target, valid, weight = fields(4)
    good = accumulated(Spectrum(setting()), (prediction, target, valid, weight))["spectrum"]
    prediction[0] = float("nan")
    made = Spectrum(setting())
    spectrum = accumulated(made, (prediction, target, valid, weight))["spectrum"]
    assert set(spectrum["power"]) == set(spectrum["ratio"]) == {None}
    assert spectrum["observed"] == good["observed"]


def test_power_of_the_brightest_images_fits_many_times_over() -> None:
    bright = torch.ones(1, 1, 64, 64)
    made = Spectrum(setting(leads=1, shape=(64, 64)))
    accumulated(made, (bright, bright, bright > 0, torch.ones(1)))
    high = made.sums["forecast"][..., 0].max().item()
    images_of_an_archive = 2 * 10**10 // 64**2
    assert high * images_of_an_archive < 2**63
