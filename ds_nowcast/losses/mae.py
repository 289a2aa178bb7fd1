"""Absolute error."""

from __future__ import annotations

from torch import Tensor

from ds_nowcast.losses.fields import Fields, LossSetting, NoOptions, Part


def mae(fields: Fields) -> Tensor:
    """Sum over pixels of weight * |prediction - target|."""
    return (fields.weight_BTHW * fields.difference_BTHW.abs()).sum()


def build(options: NoOptions, setting: LossSetting) -> Part:
    """The loss."""
    return mae
