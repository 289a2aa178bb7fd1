"""Heavier weights for heavier rain, by classes of the target (Shi et al., NeurIPS 2017, arXiv 1706.03458).

The classes of HKO-7 are 1 below 2 mm/h, 2 from 2, 5 from 5, 10 from 10 and 30 from 30 mm/h, as in the authors' code
(sxjscience/HKO-7, nowcasting/config.py: thresholds 0.5, 2, 5, 10, 30, weights 1, 1, 2, 5, 10, 30). A rate becomes a code by the
encoding's own Z-R relation. For VIL nothing is published that we know of; the default takes four of SEVIR's customary
thresholds, 74, 133, 160 and 181, which span a factor of 16 in VIL (0.78 to 12 kg/m2), as HKO-7's span 15 in rain rate.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from data_prep.encoding import Encoding
from data_prep.errors import UserError
from ds_nowcast.config.nowcast_keys import Thresholds
from ds_nowcast.config.strict import Strict
from ds_nowcast.losses.fields import Fields, LossSetting
from ds_nowcast.model_space import in_model_space

HKO7_WEIGHTS = [1.0, 2.0, 5.0, 10.0, 30.0]
_DEFAULTS = {"mm/h": [2.0, 5.0, 10.0, 30.0]}  # by unit, for every encoding that knows it
_DEFAULTS_OF_ENCODING = {"vil255": Thresholds(unit="code", values=[74.0, 133.0, 160.0, 181.0])}


class Options(Strict):
    """Settings of `balanced_mse` and `balanced_mae`; both or neither."""

    thresholds: Thresholds | None = Field(
        None, description="where the target's next class begins (None: 2, 5, 10, 30 mm/h; VIL: codes 74, 133, 160, 181)"
    )
    weights: list[Annotated[float, Field(ge=0)]] | None = Field(
        None,
        description="weight below the first threshold, then from each threshold on (None: 1, 2, 5, 10, 30)",
    )

    @model_validator(mode="after")
    def _one_weight_more(self) -> Options:
        if (self.thresholds is None) != (self.weights is None):
            raise ValueError("thresholds and weights belong together; give both or neither")
        if self.weights and not any(self.weights):
            raise ValueError("weights are all 0, and so would be the loss; give at least one above 0")
        if self.thresholds and self.weights and len(self.weights) != len(self.thresholds.values) + 1:
            raise ValueError(
                f"weights are {len(self.weights)}; give {len(self.thresholds.values) + 1}, one below the first threshold "
                "and one from each on"
            )
        return self


class ClassWeights:
    """The weight of each pixel by its target."""

    def __init__(self, options: Options, setting: LossSetting, loss: str) -> None:
        thresholds = options.thresholds or _default(setting.encoding, loss)
        units = (*setting.encoding.units, "code")
        if thresholds.unit not in units:
            raise UserError(
                f"nowcast.loss.options.{loss}.thresholds.unit is {thresholds.unit!r}; "
                f"shards of encoding {setting.encoding.name} have {', '.join(units)}"
            )
        weights = options.weights or HKO7_WEIGHTS
        self._lowest = weights[0]
        lower = in_model_space(setting.encoding, thresholds).tolist()
        self._steps = [(at, after - before) for at, (before, after) in zip(lower, pairwise(weights), strict=True)]

    def of(self, fields: Fields) -> Tensor:
        """The fields' weights times the classes'; a target at a threshold belongs to the class above."""
        factor_BTHW = torch.full_like(fields.target_BTHW, self._lowest)
        for threshold, step in self._steps:
            factor_BTHW.add_(fields.target_BTHW >= threshold, alpha=step)
        return factor_BTHW.mul_(fields.weight_BTHW)


def _default(encoding: Encoding, loss: str) -> Thresholds:
    if encoding.name in _DEFAULTS_OF_ENCODING:
        return _DEFAULTS_OF_ENCODING[encoding.name]
    for unit, values in _DEFAULTS.items():
        if unit in encoding.units:
            return Thresholds(unit=unit, values=values)
    raise UserError(
        f"loss {loss} has no default classes for encoding {encoding.name}, which holds {', '.join(encoding.units)}; "
        f"give nowcast.loss.options.{loss}.thresholds and weights"
    )
