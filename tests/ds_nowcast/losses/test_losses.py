"""What holds for every loss, and for their weighted sum."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from data_prep.encoding import encoding_named
from data_prep.errors import UserError
from ds_nowcast.config.nowcast_keys import LossKeys
from ds_nowcast.losses import LOSSES, LossSetting, build_loss, loss_options
from ds_nowcast.losses.facl import takes_amplitude
from tests.ds_nowcast.losses.twins import TWINS, Twin

WORLD, ACCUMULATION, STEPS = 2, 3, 20
SETTING = LossSetting(encoding_named("dbz8"), STEPS, seed=0)
SHAPE = (2, 3, 8, 9)
AMPLITUDE, CORRELATION = (
    next(step for step in range(STEPS) if takes_amplitude(step, STEPS, 0.1, 0) == which) for which in (True, False)
)
WEIGHTS = {
    "mse": 1.0,
    "mae": 0.5,
    "huber": 2.0,
    "balanced_mse": 0.25,
    "balanced_mae": 3.0,
    "fourier_amplitude": 0.7,
    "fourier_correlation": 0.3,
}


def of(weights: dict[str, float], step: int = 0, setting: LossSetting = SETTING, **options: dict[str, Any]) -> Any:
    """The loss at one step, a function of prediction, target and weight."""
    return partial(build_loss(LossKeys(weights=weights, options=options), setting), step=step)


def facl_twin(part: str) -> Twin:
    return lambda p, t, w: (t.shape[-1] * t.shape[-2]) ** 0.5 * TWINS[part](p, t, w)


def together(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return torch.stack([factor * TWINS[name](prediction, target, weight) for name, factor in WEIGHTS.items()]).sum()


PAIRS: dict[str, tuple[Any, Twin]] = {
    **{name: (of({name: 1.0}), twin) for name, twin in TWINS.items()},
    "facl, amplitude": (of({"facl": 1.0}, AMPLITUDE), facl_twin("fourier_amplitude")),
    "facl, correlation": (of({"facl": 1.0}, CORRELATION), facl_twin("fourier_correlation")),
    "together": (of(WEIGHTS), together),
}
every_pair = pytest.mark.parametrize(("loss", "twin"), PAIRS.values(), ids=list(PAIRS))
every_loss = pytest.mark.parametrize("loss", [loss for loss, _ in PAIRS.values()], ids=list(PAIRS))


def fields(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor, Tensor]:
    """A prediction, a target of codes from dry to the heaviest, and a mask that sees a share drawn from 0.1 to 0.8."""
    generator = torch.Generator().manual_seed(seed)
    prediction, target, share = (torch.rand(shape, generator=generator) for _ in range(3))
    target = (target * 200).round() / 255 * (target > 0.3)
    return prediction, target, (share < 0.1 + 0.7 * torch.rand(1, generator=generator)).float()


def test_every_loss_of_the_table_has_a_twin() -> None:
    assert set(TWINS) | {"facl"} == set(LOSSES) and set(WEIGHTS) == set(TWINS)


@pytest.mark.parametrize(("name", "expected"), [("mse", 2 * 0.25 + 0.01), ("mae", 2 * 0.5 + 0.1)])
def test_a_loss_is_the_weighted_sum_over_pixels(name: str, expected: float) -> None:
    prediction, target = torch.tensor([1.0, 0.3, 0.9]), torch.tensor([0.5, 0.4, 0.1])
    loss = of({name: 1.0})(*(x.view(1, 1, 1, 3) for x in (prediction, target, torch.tensor([2.0, 1.0, 0.0]))))
    assert loss.item() == pytest.approx(expected) and loss.shape == ()


@every_pair
@pytest.mark.parametrize("columns", [8, 9])
def test_value_and_gradient_are_those_of_the_slow_twin(loss: Twin, twin: Twin, columns: int) -> None:
    prediction, target, weight = (x[..., :columns] for x in fields(3))
    weight = weight * torch.rand(weight.shape, generator=torch.Generator().manual_seed(1))  # weights of any size
    ours, theirs = (prediction.clone().requires_grad_() for _ in range(2))
    value, expected = loss(ours, target, weight), twin(theirs, target, weight)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(value, ours)[0], torch.autograd.grad(expected, theirs)[0], rtol=1e-4, atol=1e-6
    )


@every_loss
def test_gradients_are_those_of_finite_differences(loss: Twin) -> None:
    prediction, target, weight = fields(4, (1, 1, 3, 4))
    assert torch.autograd.gradcheck(
        lambda p: loss(p, target.double(), weight.double()), prediction.double().requires_grad_()
    )


@every_pair
def test_unequal_masks_over_ranks_and_micro_batches_give_the_plain_global_mean(loss: Twin, twin: Twin) -> None:
    bias = torch.zeros((), requires_grad=True)
    parts = [fields(seed) for seed in range(WORLD * ACCUMULATION)]
    counts = [weight.sum() for _, _, weight in parts]
    assert max(counts) > 2 * min(counts)
    count = torch.stack(counts).sum()
    averaged = torch.zeros(())
    for prediction, target, weight in parts:
        scaled = loss(prediction + bias, target, weight) * WORLD * ACCUMULATION / count
        averaged += torch.autograd.grad(scaled, bias)[0] / (WORLD * ACCUMULATION)  # what the engine averages
    prediction, target, weight = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    plain = twin(prediction + bias, target, weight) / count
    torch.testing.assert_close(averaged, torch.autograd.grad(plain, bias)[0], rtol=1e-5, atol=1e-7)


@every_loss
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nothing_unseen_reaches_value_or_gradient(loss: Twin, bad: float) -> None:
    prediction, target, weight = fields()
    unseen = weight == 0
    clean = loss(prediction, target, weight)
    spoiled = torch.where(unseen, bad, prediction).requires_grad_()
    value = loss(spoiled, torch.where(unseen, bad, target), weight)
    torch.autograd.backward(value)
    assert spoiled.grad is not None
    torch.testing.assert_close(value, clean)
    assert not spoiled.grad[unseen].any() and spoiled.grad[~unseen].isfinite().all() and spoiled.grad[~unseen].any()


@pytest.mark.slow
@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_predictions_are_summed_in_float32(loss: Twin, dtype: torch.dtype) -> None:
    target = torch.full((1, 1, 384, 384), 0.1)  # no number of either type
    target[..., :192] = 0.0
    prediction, weight = torch.full_like(target, 0.5, dtype=dtype).requires_grad_(), torch.full_like(target, 64.0)
    value = loss(prediction, target, weight)
    torch.autograd.backward(value)
    expected = loss(torch.full_like(target, 0.5), target, weight)
    assert value.dtype == torch.float32 and value.item() == expected.item() >= 2**16  # past float16's largest number
    assert prediction.grad is not None and prediction.grad.dtype == dtype


@every_loss
def test_a_sample_without_one_valid_pixel_costs_nothing(loss: Twin) -> None:
    prediction, target, weight = fields()
    prediction.requires_grad_()
    value = loss(prediction, target, torch.zeros_like(weight))
    assert value.item() == 0.0 and not torch.autograd.grad(value, prediction)[0].any()


@every_loss
def test_dry_images_and_a_prediction_of_nothing_have_finite_gradients(loss: Twin) -> None:
    _, target, weight = fields()
    target[0] = 0.0
    prediction = torch.zeros_like(target).requires_grad_()
    value = loss(prediction, target, weight)
    gradient = torch.autograd.grad(value, prediction)[0]
    assert value.isfinite() and gradient.isfinite().all()
    assert loss(torch.zeros_like(target[:1]), target[:1], weight[:1]).item() == 0.0, "nothing seen, nothing predicted"


@every_loss
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dry", [False, True])
def test_a_prediction_that_is_not_finite_where_the_radar_saw_shows(loss: Twin, bad: float, dry: bool) -> None:
    prediction, target, weight = fields()
    prediction[tuple(weight.nonzero()[0])] = bad
    assert not loss(prediction, target * (not dry), weight).isfinite()


@every_loss
def test_a_perfect_forecast_costs_nothing_and_moves_nothing(loss: Twin) -> None:
    _, target, weight = fields()
    prediction = target.clone().requires_grad_()
    value = loss(prediction, target, weight)
    gradient = torch.autograd.grad(value, prediction)[0]
    assert abs(value.item()) < 1e-3 and gradient.abs().max() < 1e-3


def test_every_option_is_described() -> None:
    for name in LOSSES:
        for key, field in loss_options(name).model_fields.items():
            assert field.description, f"{name}.{key} is not described"


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({"mes": 1.0}, {}, r"weights: loss 'mes' is not known; did you mean 'mse'\? the losses are mse, mae, huber"),
        ({"qq": 1.0}, {}, "weights: loss 'qq' is not known; choose one of mse, mae, huber"),
        ({"mse": 1.0}, {"hubert": {}}, r"options: loss 'hubert' is not known; did you mean 'huber'\?"),
        ({"mse": 1.0}, {"huber": {"delta": 1.0}}, "options: huber has no weight; give huber in weights too"),
        ({"mse": 1.0}, {"mse": {"delta": 1.0}}, "options: mse has no options; leave mse out"),
        ({"huber": 1.0}, {"huber": {"delt": 1.0}}, r"options.huber: unknown key 'delt'; did you mean 'delta'\?"),
        ({"huber": 1.0}, {"huber": {"delta": 0}}, "options.huber: delta is 0; give more than 0"),
        ({"facl": 1.0}, {"facl": {"alpha": 1.5}}, "options.facl: alpha is 1.5; give at most 1"),
    ],
)
def test_wrong_names_and_options_are_one_sentence(weights: Any, options: Any, message: str) -> None:
    with pytest.raises(UserError, match="^nowcast.loss." + message):
        build_loss(LossKeys(weights=weights, options=options), SETTING)
