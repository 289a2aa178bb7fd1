"""Absolute error."""

from __future__ import annotations

from torch import Tensor

from ds_nowcast.losses.fields import Fields, NoOptions, Part, Training


def mae(fields: Fields) -> Tensor:
    """Sum over pixels of weight * |prediction - target|."""
    return (fields.weight_BTHW * fields.difference_BTHW.abs()).sum()


def build(options: NoOptions, training: Training) -> Part:
    """The loss."""
    return mae
