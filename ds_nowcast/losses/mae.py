"""Absolute error."""

from __future__ import annotations

import torch
from torch import Tensor


def mae(prediction_BTHW: Tensor, target_BTHW: Tensor, weight_BTHW: Tensor) -> Tensor:
    """Sum over pixels of weight * |prediction - target|, a float32 scalar; see `ds_nowcast.losses`."""
    difference = prediction_BTHW.float() - target_BTHW.float()
    # replaced before it is weighted: 0 * NaN would be NaN, in the value and in the gradient
    difference = torch.where(weight_BTHW > 0, difference, 0.0)
    return (weight_BTHW * difference.abs()).sum()
