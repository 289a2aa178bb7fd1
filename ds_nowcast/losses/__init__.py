"""What is minimised. One loss is one file and one line of the table below.

A loss is `f(prediction_BTHW, target_BTHW, weight_BTHW) -> Tensor`: model-space tensors of one shape, weights float32,
0 where the radar did not see. It returns the weighted SUM over pixels in float32 whatever the prediction's type: the
trainer divides by the weights' sum over all ranks and micro-batches, which makes the mean true on unequal masks.
Nothing of a pixel with weight 0, not even NaN or infinity, reaches the value or a gradient.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from data_prep.errors import UserError
from ds_nowcast.losses.mae import mae
from ds_nowcast.losses.mse import mse

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {"mse": mse, "mae": mae}


def loss_named(name: str) -> Loss:
    """The loss of that name. Raises UserError naming those there are."""
    if name not in LOSSES:
        raise UserError(f"loss {name!r} is not known; choose one of {', '.join(LOSSES)}")
    return LOSSES[name]
