"""Squared error."""

from __future__ import annotations

from torch import Tensor

from ds_nowcast.losses.fields import Fields, LossSetting, NoOptions, Part


def mse(fields: Fields) -> Tensor:
    """Sum over pixels of weight * (prediction - target)^2."""
    return (fields.weight_BTHW * fields.difference_BTHW.square()).sum()


def build(options: NoOptions, setting: LossSetting) -> Part:
    """The loss."""
    return mse
