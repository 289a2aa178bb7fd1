"""Mean squared and absolute errors, in model space and in the archive's unit."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ds_nowcast.scoring.accumulator import Accumulator, Batch, ScoreSetting, lead_counts, lead_sums, total
from ds_nowcast.scoring.exact import LIMB, limbs, ratio, whole

MODEL_UNIT = 2.0**-24  # of errors in model space, per pixel: about float32's own resolution at 1
PHYSICAL_UNIT = 2.0**-20  # in the archive's unit, or its square; dbz8's largest square, 1e9 (mm/h)^2, takes 50 bits


def _means(numerators: list[tuple[str, int]], pixels: int, unit: float, unsound: int) -> dict[str, float | None]:
    """The errors' means, and the root of the squared one's; None where a forecast was not finite."""
    means = {name: None if unsound else ratio(number, pixels, unit) for name, number in numerators}
    squared = means["mse"]
    return means | {"rmse": None if squared is None else math.sqrt(squared)}


class ModelErrors(Accumulator):
    """Sums (T,) of errors in model space, each rounded to a multiple of `MODEL_UNIT`.

    They are exact while a batch's errors at a lead time sum to less than 2^29 and all of them to less than 2^39. unsound:
    batches of which a lead time's sum is no such number, for a forecast was NaN or far out of range: its errors are None.
    """

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        super().__init__(setting, device)
        self.sums = {name: self.zeros(setting.leads) for name in ("squared", "absolute", "unsound", "pixels")}

    def update(self, batch: Batch) -> None:
        """Adds a batch's errors."""
        error_BTHW = torch.where(batch.valid_BTHW, batch.prediction_BTHW - batch.target_BTHW, 0.0)
        self.sums["pixels"].add_(lead_counts(batch.valid_BTHW))
        for name, per_pixel_BTHW in (("squared", error_BTHW.square()), ("absolute", error_BTHW.abs_())):
            numbers, unsound = whole(lead_sums(per_pixel_BTHW.div_(MODEL_UNIT).round_()))
            self.sums[name].add_(numbers)
            self.sums["unsound"].add_(unsound)

    def scores(self, sums: dict[str, Tensor], leads: slice) -> dict[str, Any]:
        """`mse`, `mae`, `rmse`."""
        numerators = [(name, total(sums[key][leads])) for name, key in (("mse", "squared"), ("mae", "absolute"))]
        return _means(numerators, total(sums["pixels"][leads]), MODEL_UNIT, total(sums["unsound"][leads]))


class PhysicalErrors(Accumulator):
    """Sums (T, 2 limbs) of errors in the archive's unit, each rounded to a multiple of `PHYSICAL_UNIT`.

    Values follow from model space as in `Encoding.from_model`. Whatever the fields hold, sums over fewer than 2^27 pixels of
    a lead time in a batch, and 2^36 in all, are exact.
    """

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        super().__init__(setting, device)
        self.sums = {name: self.zeros(setting.leads, 2) for name in ("squared", "absolute")}
        self.sums |= {name: self.zeros(setting.leads) for name in ("unsound", "pixels")}
        values = torch.from_numpy(setting.encoding.values[setting.unit])
        steps = torch.cat([values.diff(), values.new_zeros(1)])
        self._table = torch.stack([values, steps], 1).to(device)

    def physical(self, model: Tensor) -> Tensor:
        """Model space in the archive's unit, float64, same shape, NaN kept."""
        highest = len(self._table) - 1
        code = (model.double() * len(self._table)).clamp_(0.0, highest)
        below = code.nan_to_num(0.0).long()
        value_step = self._table[below]
        return value_step[..., 0] + (code - below) * value_step[..., 1]

    def update(self, batch: Batch) -> None:
        """Adds a batch's errors."""
        self.sums["pixels"].add_(lead_counts(batch.valid_BTHW))
        for (
            lead,
            prediction_BHW,
            target_BHW,
            _,
        ) in batch.leads():  # a lead at a time: less memory, and it stays in the cache
            error_BHW = self.physical(prediction_BHW) - self.physical(target_BHW)
            for name, per_pixel_BHW in (("squared", error_BHW.square()), ("absolute", error_BHW.abs_())):
                parts = limbs(per_pixel_BHW.div_(PHYSICAL_UNIT).round_())
                numbers, unsound = whole(torch.stack([part.sum() for part in parts]))
                self.sums[name][lead] += numbers
                self.sums["unsound"][lead] += unsound.amax()

    def scores(self, sums: dict[str, Tensor], leads: slice) -> dict[str, Any]:
        """`physical`: the unit, `mse`, `mae`, `rmse`."""
        numerators = []
        for name, key in (("mse", "squared"), ("mae", "absolute")):
            high, low = (total(part) for part in sums[key][leads].unbind(-1))
            numerators.append((name, high * LIMB + low))
        pixels, unsound = (total(sums[name][leads]) for name in ("pixels", "unsound"))
        return {"physical": {"unit": self.setting.unit, **_means(numerators, pixels, PHYSICAL_UNIT, unsound)}}
