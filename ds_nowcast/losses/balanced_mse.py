"""Squared error with heavier weights for heavier rain; see `ds_nowcast.losses.balanced`."""

from __future__ import annotations

from torch import Tensor

from ds_nowcast.losses.balanced import ClassWeights, Options
from ds_nowcast.losses.fields import Fields, LossSetting, Part

__all__ = ["Options", "build"]


def build(options: Options, setting: LossSetting) -> Part:
    """The loss: sum over pixels of weight * class weight of the target * (prediction - target)^2.

    Raises UserError where the thresholds' unit is not the encoding's.
    """
    classes = ClassWeights(options, setting, "balanced_mse")

    def balanced_mse(fields: Fields) -> Tensor:
        return (classes.of(fields) * fields.difference_BTHW.square()).sum()

    return balanced_mse
