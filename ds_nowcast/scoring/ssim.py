"""Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004, IEEE Trans. Image Process. 13, 600-612, eq. 13)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ds_nowcast.scoring.accumulator import Accumulator, Batch, ScoreSetting, total
from ds_nowcast.scoring.exact import ratio, whole

SIDE, SIGMA = 11, 1.5  # of the Gaussian window, in pixels
C1, C2 = 0.01**2, 0.03**2  # (K L)^2 of a range L of 1
SSIM_UNIT = 2.0**-24


def gaussian() -> list[float]:
    """The window along one axis; it sums to 1."""
    bell = [math.exp(-((i - SIDE // 2) ** 2) / (2.0 * SIGMA**2)) for i in range(SIDE)]
    return [weight / math.fsum(bell) for weight in bell]


_WEIGHTS = gaussian()


class Similarity(Accumulator):
    """Sums (T,) of the index over windows, each rounded to a multiple of `SSIM_UNIT`, and the number of windows.

    Only windows all of whose pixels are valid count; unsound: images where one of them has a forecast that is not finite.
    """

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        super().__init__(setting, device)
        self.sums = {name: self.zeros(setting.leads) for name in ("index", "windows", "unsound")}

    def update(self, batch: Batch) -> None:
        """Adds a batch's windows."""
        if min(self.setting.shape) < SIDE:
            return
        for lead, prediction_BHW, target_BHW, valid_BHW in batch.leads():
            size = self.at_once(valid_BHW)
            parts = (torch.split(field, size) for field in (prediction_BHW, target_BHW, valid_BHW))
            for prediction, target, valid in zip(*parts, strict=True):
                windows = all_valid(valid)
                index = torch.where(windows, ssim_map(prediction, target), 0.0).div_(SSIM_UNIT).round_()
                numbers, unsound = whole(index.sum(dtype=torch.float64))
                for name, number in (("index", numbers), ("windows", windows.sum()), ("unsound", unsound)):
                    self.sums[name][lead] += number

    def scores(self, sums: dict[str, Tensor], leads: slice) -> dict[str, Any]:
        """`ssim`: the mean over windows."""
        index, windows, unsound = (total(sums[name][leads]) for name in ("index", "windows", "unsound"))
        return {"ssim": None if unsound else ratio(index, windows, SSIM_UNIT)}


def ssim_map(x_BHW: Tensor, y_BHW: Tensor) -> Tensor:
    """The index of each window that lies inside the image, (B, H - 10, W - 10)."""
    maps = torch.stack([x_BHW, y_BHW, x_BHW.square().add_(y_BHW.square()), x_BHW * y_BHW])
    mean_x, mean_y, squares, products = _smoothed(_smoothed(maps, -2), -1)
    across = mean_x * mean_y
    means = mean_x.square_().add_(mean_y.square_())
    variances = squares - means  # of x and y together: the formula needs no more
    covariance = products - across
    index: Tensor = (2.0 * across + C1) * (2.0 * covariance + C2) / ((means + C1) * (variances + C2))
    return index


def _smoothed(maps: Tensor, axis: int) -> Tensor:
    """Weighted sums of SIDE neighbours along an axis, one product after another: the same whatever the batch."""
    size = maps.shape[axis] - SIDE + 1
    smoothed = maps.narrow(axis, SIDE // 2, size) * _WEIGHTS[SIDE // 2]
    for step in range(SIDE // 2):
        pair = maps.narrow(axis, step, size) + maps.narrow(axis, SIDE - 1 - step, size)
        smoothed.add_(pair, alpha=_WEIGHTS[step])
    return smoothed


def all_valid(valid_BHW: Tensor) -> Tensor:
    """Whether all pixels of each window inside the image are valid, (B, H - 10, W - 10)."""
    for axis in (-2, -1):
        for shift in (1, 2, 4, 3):  # windows of 2, 4, 8, then 11
            size = valid_BHW.shape[axis] - shift
            valid_BHW = valid_BHW.narrow(axis, 0, size) & valid_BHW.narrow(axis, shift, size)
    return valid_BHW
