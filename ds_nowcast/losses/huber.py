"""Huber's loss (1964): squared error of small differences, absolute error of large ones."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ds_nowcast.config.strict import Strict
from ds_nowcast.losses.fields import Fields, LossSetting, Part


class Options(Strict):
    """Settings of `huber`."""

    delta: float = Field(
        0.05,
        gt=0,
        description="difference in model space [0, 1] from which on the loss is linear (0.05: 12.7 codes of 255)",
    )


def build(options: Options, setting: LossSetting) -> Part:
    """The loss: d^2 / 2 where |d| = |prediction - target| <= delta, else delta (|d| - delta / 2), summed with weights.

    That is half of `mse` for small differences and delta times `mae` for large ones (`torch.nn.HuberLoss`; not
    `SmoothL1Loss`, which divides by delta).
    """

    def huber(fields: Fields) -> Tensor:
        size_BTHW = fields.difference_BTHW.abs()
        bounded_BTHW = size_BTHW.clamp(max=options.delta)
        return (fields.weight_BTHW * bounded_BTHW * (size_BTHW - bounded_BTHW / 2)).sum()

    return huber
