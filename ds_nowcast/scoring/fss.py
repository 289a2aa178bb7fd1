"""Fractions skill score by threshold and scale (Roberts and Lean 2008, Mon. Wea. Rev. 136, 78-97, eqs. 5-7)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ds_nowcast.scoring.accumulator import Accumulator, ScoreSetting, total
from ds_nowcast.scoring.exact import ratio

SCALES = (1, 5, 17, 33, 65)  # pixels, odd so that a window has a middle
_TOGETHER = 2**27  # pixels: times twice the highest square, 65^4, less than 2^53


class FractionsSkill(Accumulator):
    """Sums (T, K, scales) over pixels: of the squared event counts of both windows, and of their products.

    A window is a square around each pixel; nothing lies outside the image and in unseen pixels, in both fields. With counts in
    place of fractions (the window's area cancels) FSS = 2 sum(f o) / (sum f^2 + sum o^2) is made of whole numbers. Float64
    holds those of `_TOGETHER` pixels exactly, whatever the fields; int64 all sums of up to 2^37 pixels a lead time.
    """

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        super().__init__(setting, device)
        self._scales = [scale for scale in SCALES if scale <= min(setting.shape)]
        shape = (setting.leads, len(setting.labels), len(self._scales))
        self.sums = {"products": self.zeros(*shape), "squares": self.zeros(*shape)}

    def add_events(self, column: int, forecast_BTHW: Tensor, observed_BTHW: Tensor) -> None:
        """Adds the events of one threshold."""
        images = min(self.at_once(forecast_BTHW), max(1, _TOGETHER // math.prod(self.setting.shape)))
        for lead in range(self.setting.leads):
            both_2BHW = torch.stack([forecast_BTHW[:, lead], observed_BTHW[:, lead]])
            for some_2BHW in torch.split(both_2BHW, images, dim=1):
                if not self.on_cpu or some_2BHW.any():
                    self._add(lead, column, some_2BHW)

    def _add(self, lead: int, column: int, both_2BHW: Tensor) -> None:
        for number, counts_2BHW in enumerate(_window_counts(both_2BHW, self._scales)):
            both = counts_2BHW.flatten()
            self.sums["products"][lead, column, number] += torch.dot(*both.chunk(2)).long()
            self.sums["squares"][lead, column, number] += torch.dot(both, both).long()

    def scores(self, sums: dict[str, Tensor], leads: slice) -> dict[str, Any]:
        """`fss`: by threshold, then by scale in pixels."""
        by_threshold = {}
        for k, label in enumerate(self.setting.labels):
            products, squares = (sums[name][leads, k] for name in ("products", "squares"))
            by_threshold[label] = {
                str(scale): ratio(2 * total(products[:, n]), total(squares[:, n]))
                for n, scale in enumerate(self._scales)
            }
        return {"fss": by_threshold}


def _window_counts(events_2BHW: Tensor, scales: list[int]) -> list[Tensor]:
    """Events in the window around each pixel, float64, same shape, by scale: differences of a summed-area table."""
    rows, columns = events_2BHW.shape[-2:]
    reach = max(scales) // 2
    table = pad(events_2BHW, (reach + 1, reach, reach + 1, reach)).cumsum(-1, dtype=torch.float64).cumsum_(-2)
    counts = []
    for scale in scales:
        first = reach - scale // 2
        last = first + scale
        bands = table[..., last : last + rows, :] - table[..., first : first + rows, :]
        counts.append(bands[..., last : last + columns] - bands[..., first : first + columns])
    return counts
