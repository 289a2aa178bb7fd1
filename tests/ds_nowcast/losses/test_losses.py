from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_prep.errors import UserError
from ds_nowcast.losses import LOSSES, Loss, loss_named

WORLD, ACCUMULATION = 2, 3
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))


def fields(seed: int = 0, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prediction, target = (torch.rand(batch, 3, 8, 8, generator=generator) for _ in range(2))
    weight = (torch.rand(batch, 3, 8, 8, generator=generator) < 0.1 + 0.7 * torch.rand(1, generator=generator)).float()
    return prediction, target, weight


@pytest.mark.parametrize(("name", "expected"), [("mse", 2 * 0.25 + 0.01), ("mae", 2 * 0.5 + 0.1)])
def test_a_loss_is_the_weighted_sum_over_pixels(name: str, expected: float) -> None:
    prediction, target = torch.tensor([1.0, 0.3, 0.9]), torch.tensor([0.5, 0.4, 0.1])
    loss = loss_named(name)(*(x.view(1, 1, 1, 3) for x in (prediction, target, torch.tensor([2.0, 1.0, 0.0]))))
    assert loss.item() == pytest.approx(expected) and loss.shape == ()


@every_loss
def test_unequal_masks_over_ranks_and_micro_batches_give_the_plain_global_mean(loss: Loss) -> None:
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
    plain = (loss((prediction + bias)[weight > 0], target[weight > 0], torch.ones(int(count)))) / count
    torch.testing.assert_close(averaged, torch.autograd.grad(plain, bias)[0])


@every_loss
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nothing_unseen_reaches_value_or_gradient(loss: Loss, bad: float) -> None:
    prediction, target, weight = fields()
    unseen = weight == 0
    clean = loss(prediction, target, weight)
    spoiled = torch.where(unseen, bad, prediction).requires_grad_()
    value = loss(spoiled, torch.where(unseen, bad, target), weight)
    torch.autograd.backward(value)
    assert spoiled.grad is not None
    torch.testing.assert_close(value, clean)
    assert not spoiled.grad[unseen].any() and spoiled.grad[~unseen].isfinite().all() and spoiled.grad[~unseen].any()


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_predictions_are_summed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    target = torch.full((1, 1, 768, 768), 0.1)  # no number of either type
    prediction = torch.full_like(target, 0.5, dtype=dtype).requires_grad_()
    value = loss(prediction, target, torch.ones_like(target))
    torch.autograd.backward(value)
    expected = loss(torch.full_like(target, 0.5), target, torch.ones_like(target))
    assert value.dtype == torch.float32 and value.item() == expected.item() >= 2**16  # past float16's largest number
    assert prediction.grad is not None and prediction.grad.dtype == dtype


@every_loss
def test_a_sample_without_one_valid_pixel_costs_nothing(loss: Loss) -> None:
    prediction, target, weight = fields()
    assert loss(prediction, target, torch.zeros_like(weight)).item() == 0.0


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="'mes' is not known; choose one of mse, mae"):
        loss_named("mes")
