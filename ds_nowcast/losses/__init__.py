"""What is minimised. One loss is one file and one line of the table below.

A loss's file offers `build(options, setting) -> Part` and, where it has settings, `Options` (every field described). A part is
`f(fields) -> Tensor`: it returns the weighted SUM over pixels in float32 whatever the prediction's type: the trainer
divides by the weights' sum over all ranks and micro-batches, which makes the mean true on unequal masks. What is defined for
whole images is weighted so that this division gives the mean over pixels, or over images by their valid pixels.
Nothing of a pixel with weight 0, not even NaN or infinity, reaches the value or a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from types import ModuleType
from typing import cast

import torch
from torch import Tensor

from data_prep.errors import UserError
from ds_nowcast.config.nowcast_keys import LossKeys
from ds_nowcast.config.strict import Strict, parse
from ds_nowcast.losses import (
    balanced_mae,
    balanced_mse,
    facl,
    fourier_amplitude,
    fourier_correlation,
    huber,
    mae,
    mse,
)
from ds_nowcast.losses.fields import Fields, LossSetting, NoOptions, Part

__all__ = ["LOSSES", "Fields", "Loss", "LossSetting", "Part", "build_loss", "checked_options", "loss_options"]

Loss = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(prediction_BTHW, target_BTHW, weight_BTHW, optimizer steps made before) -> the weighted sum, a float32 scalar.

Model-space tensors of one shape; weights float32, 0 where the radar did not see.
"""

LOSSES: dict[str, ModuleType] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "balanced_mse": balanced_mse,
    "balanced_mae": balanced_mae,
    "fourier_amplitude": fourier_amplitude,
    "fourier_correlation": fourier_correlation,
    "facl": facl,
}


def build_loss(keys: LossKeys, setting: LossSetting) -> Loss:
    """The weighted sum of a config's losses.

    Raises UserError for what `checked_options` refuses, and for options that do not fit the training's encoding.
    """
    options = checked_options(keys, where="nowcast.loss")
    parts = [(weight, _part(name, options[name], setting)) for name, weight in keys.weights.items()]

    def loss(prediction_BTHW: Tensor, target_BTHW: Tensor, weight_BTHW: Tensor, step: int) -> Tensor:
        fields = Fields(prediction_BTHW, target_BTHW, weight_BTHW, step)
        return torch.stack([weight * part(fields) for weight, part in parts]).sum()

    return loss


def checked_options(keys: LossKeys, where: str) -> dict[str, Strict]:
    """The options of each loss that has a weight: those given, then the defaults.

    Raises UserError, each of its lines begun by `where`, for an unknown loss or option and for options that nothing reads.
    """
    for key, names in (("weights", keys.weights), ("options", keys.options)):
        for name in names:
            if name not in LOSSES:
                raise UserError(f"{where}.{key}: {_unknown(name)}")
    for name in keys.options:
        if name not in keys.weights:
            raise UserError(
                f"{where}.options: {name} has no weight; give {name} in weights too, or leave its options out"
            )
        if keys.options[name] and loss_options(name) is NoOptions:
            raise UserError(f"{where}.options: {name} has no options; leave {name} out")
    return {
        name: parse(loss_options(name), keys.options.get(name, {}), where=f"{where}.options.{name}")
        for name in keys.weights
    }


def loss_options(name: str) -> type[Strict]:
    """The class that checks a loss's options."""
    return cast(type[Strict], getattr(LOSSES[name], "Options", NoOptions))


def _part(name: str, options: Strict, setting: LossSetting) -> Part:
    return cast(Part, LOSSES[name].build(options, setting))


def _unknown(name: str) -> str:
    near = get_close_matches(name, LOSSES, n=1)
    meant = f"did you mean {near[0]!r}? the losses are" if near else "choose one of"
    return f"loss {name!r} is not known; {meant} {', '.join(LOSSES)}"
