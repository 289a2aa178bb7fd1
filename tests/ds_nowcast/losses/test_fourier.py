"""What is published or proved of the Fourier losses: Parseval, shifts, blur and sharpness, scale; and FACL's schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ds_nowcast.losses.facl import takes_amplitude
from tests.ds_nowcast.losses.test_losses import fields, of

AMPLITUDE, CORRELATION, MSE = (of({name: 1.0}) for name in ("fourier_amplitude", "fourier_correlation", "mse"))


def echoes(size: int = 48) -> Tensor:
    """(1, 1, size, size): three echoes with sharp edges on dry ground."""
    image = torch.zeros(1, 1, size, size)
    image[..., 8:16, 10:24], image[..., 30:37, 28:32], image[..., 12:14, 12:20] = 0.4, 0.7, 0.9
    return image


def blurred(image: Tensor) -> Tensor:
    """The mean of 5 x 5 pixels, the image taken as a torus."""
    return functional.avg_pool2d(functional.pad(image, (2, 2, 2, 2), mode="circular"), 5, stride=1)


def test_the_amplitude_is_blind_to_a_shift_and_the_correlation_is_not() -> None:
    target = echoes()
    moved, seen = target.roll((7, -11), (2, 3)), torch.ones_like(target)
    assert AMPLITUDE(moved, target, seen).item() < 1e-6 < 1 < MSE(moved, target, seen).item()
    assert CORRELATION(moved, target, seen).item() > 0.5 * target.numel()


def test_the_correlation_is_blind_to_strength_and_the_amplitude_is_not() -> None:
    target = echoes()
    seen = torch.ones_like(target)
    assert abs(CORRELATION(target * 0.3, target, seen).item()) < 1e-3
    assert AMPLITUDE(target * 0.3, target, seen).item() == pytest.approx(0.49 * target.square().sum().item(), rel=1e-5)


def test_the_more_blur_the_larger_the_amplitude_loss() -> None:
    target = echoes()
    seen, images = torch.ones_like(target), [target]
    for _ in range(4):
        images.append(blurred(images[-1]))
    values = [AMPLITUDE(image, target, seen).item() for image in images]
    assert values == sorted(values) and values[1] > 1 and len(set(values)) == 5


def test_squared_error_prefers_blur_to_a_displaced_sharp_forecast_and_the_amplitude_does_not() -> None:
    target = echoes()
    seen, displaced, blur = torch.ones_like(target), target.roll(5, 3), blurred(blurred(target))
    assert MSE(blur, target, seen) < MSE(displaced, target, seen)
    assert AMPLITUDE(displaced, target, seen) < AMPLITUDE(blur, target, seen)


@pytest.mark.parametrize("seed", range(5))
def test_the_amplitude_loss_is_at_most_the_squared_error_and_equal_where_the_forecast_is_nothing(seed: int) -> None:
    prediction, target, weight = fields(seed)
    assert 0 < AMPLITUDE(prediction, target, weight) <= MSE(prediction, target, weight)
    nothing = torch.zeros_like(target)
    torch.testing.assert_close(AMPLITUDE(nothing, target, weight), MSE(nothing, target, weight))  # Parseval


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 2), (2, 1), (5, 7), (6, 4)])
def test_images_of_any_size_have_their_whole_spectrum_counted(rows: int, columns: int) -> None:
    prediction, target, _ = fields(1, (2, 1, rows, columns))
    spectra = [np.abs(np.fft.fft2(x.double().numpy(), norm="ortho")) for x in (prediction, target)]
    value = AMPLITUDE(prediction, target, torch.ones_like(target)).item()
    assert value == pytest.approx(((spectra[0] - spectra[1]) ** 2).sum(), rel=1e-5)


def test_opposite_forecasts_cost_twice_an_uncorrelated_one() -> None:
    target = echoes()
    seen, elsewhere = torch.ones_like(target), torch.where(echoes() > 0, 0.0, 0.5)
    assert CORRELATION(elsewhere, target, seen).item() == pytest.approx(target.numel())
    assert CORRELATION(-target, target, seen).item() == pytest.approx(2 * target.numel())
    assert CORRELATION(torch.zeros_like(target), target, seen).item() == pytest.approx(target.numel())


def test_each_image_is_correlated_by_itself() -> None:
    image = echoes()
    target, prediction = torch.cat([image, 0.1 * image], 1), torch.cat([0.1 * image, image], 1)
    assert abs(CORRELATION(prediction, target, torch.ones_like(target)).item()) < 1e-2


STEPS = 4000


def test_facl_takes_the_correlation_first_and_the_amplitude_in_the_last_share() -> None:
    taken = np.array([takes_amplitude(step, STEPS, 0.25, seed=5) for step in range(STEPS)])
    assert not taken[0] and taken[3000:].all()
    thirds = taken[:3000].reshape(3, 1000).mean(1)
    assert np.abs(thirds - np.array([1, 3, 5]) / 6).max() < 0.05, "its probability rises linearly from 0 to 1"


def test_facl_draws_by_seed_and_step_alone() -> None:
    def drawn(seed: int) -> list[bool]:
        return [takes_amplitude(step, 100, 0.1, seed) for step in range(100)]

    assert drawn(1) == drawn(1) and drawn(1) != drawn(2)
    assert drawn(1)[40:] == [takes_amplitude(step, 100, 0.1, 1) for step in range(40, 100)], "a resumed run"


@pytest.mark.parametrize(("alpha", "amplitude"), [(1.0, 5), (0.0, 0)])
def test_the_ends_of_alpha(alpha: float, amplitude: int) -> None:
    assert sum(takes_amplitude(step, 5, alpha, 0) for step in range(5 if alpha else 1)) == amplitude


def test_facl_reads_its_alpha() -> None:
    batch = fields()
    always, first = of({"facl": 1.0}, facl={"alpha": 1.0})(*batch), of({"facl": 1.0})(*batch)
    root = batch[1][0, 0].numel() ** 0.5
    assert always.item() == pytest.approx(root * AMPLITUDE(*batch).item())
    assert first.item() == pytest.approx(root * CORRELATION(*batch).item())
