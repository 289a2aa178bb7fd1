"""What a loss is given: one micro-batch, and what it may need to know of the training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from data_prep.encoding import Encoding
from ds_nowcast.config.strict import Strict


@dataclass(frozen=True)
class LossSetting:
    """The training that a loss is made for."""

    encoding: Encoding
    steps: int  # of the whole training
    seed: int


class Fields:
    """One micro-batch in model space; what several losses need is computed once.

    All is float32 where the prediction is half precision, and of the prediction's type where that is wider.
    """

    def __init__(self, prediction_BTHW: Tensor, target_BTHW: Tensor, weight_BTHW: Tensor, step: int) -> None:
        dtype = torch.promote_types(prediction_BTHW.dtype, torch.float32)
        self.prediction_BTHW, self.target_BTHW = prediction_BTHW.to(dtype), target_BTHW.to(dtype)
        self.weight_BTHW = weight_BTHW  # 0 where the radar did not see
        self.step = step  # optimizer steps made before this one

    @cached_property
    def _seen_BTHW(self) -> Tensor:
        return self.weight_BTHW > 0

    @cached_property
    def difference_BTHW(self) -> Tensor:
        """Prediction - target, 0 at unseen pixels."""
        # replaced before anything is computed of it: 0 * NaN would be NaN, in the value and in the gradient
        return torch.where(self._seen_BTHW, self.prediction_BTHW - self.target_BTHW, 0.0)

    @cached_property
    def images_BTHW(self) -> tuple[Tensor, Tensor]:
        """Prediction and target times the root of the weight, 0 at unseen pixels: their squares are weighted squares."""
        root_BTHW = self.weight_BTHW.sqrt()
        prediction_BTHW, target_BTHW = (
            torch.where(self._seen_BTHW, image_BTHW, 0.0) * root_BTHW
            for image_BTHW in (self.prediction_BTHW, self.target_BTHW)
        )
        return prediction_BTHW, target_BTHW


Part = Callable[[Fields], Tensor]
"""One loss: the weighted sum over pixels, a scalar."""


class NoOptions(Strict):
    """Of a loss that has none."""
