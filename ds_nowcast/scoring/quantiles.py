"""Whether a forecast has as much light and heavy rain as was observed, wherever it fell: quantiles of both, side by side."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ds_nowcast.scoring.accumulator import Accumulator, Batch, ScoreSetting

PROBABILITIES = ("0.5", "0.75", "0.9", "0.95", "0.98", "0.99", "0.995", "0.998", "0.999", "0.9999")
_KINDS = ("forecast", "observed")


class Quantiles(Accumulator):
    """Histograms (codes + 1) of the nearest code of every valid pixel, over all lead times; the last bin is of NaN."""

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        super().__init__(setting, device)
        self._codes = setting.encoding.missing
        self.sums = {kind: self.zeros(self._codes + 1) for kind in _KINDS}

    def update(self, batch: Batch) -> None:
        """Adds a batch's pixels."""
        for _, prediction_BHW, target_BHW, valid_BHW in batch.leads():
            for kind, field_BHW in zip(_KINDS, (prediction_BHW, target_BHW), strict=True):
                code_BHW = (field_BHW * self._codes).round_().clamp_(0, self._codes - 1).nan_to_num_(self._codes)
                self.sums[kind] += self._histogram(torch.where(valid_BHW, code_BHW, self._codes + 1.0))

    def _histogram(self, code: Tensor) -> Tensor:
        """Of codes; those that are not valid fall into a bin beyond the last, which is dropped."""
        flat, bins = code.int().flatten(), self._codes + 2
        if self.on_cpu:
            return torch.bincount(flat, minlength=bins)[:-1]
        # bincount would wait for the device
        return torch.zeros(bins, dtype=torch.int64, device=flat.device).index_add_(
            0, flat, torch.ones_like(flat).long()
        )[:-1]

    def scores(self, sums: dict[str, Tensor], leads: slice) -> dict[str, Any]:
        """Nothing: there is one histogram for all lead times."""
        return {}

    def once(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """`quantiles`: the least code that at least this share of the pixels does not exceed, in the archive's unit."""
        values = self.setting.encoding.values[self.setting.unit].tolist()
        quantiles: dict[str, Any] = {"probability": [float(p) for p in PROBABILITIES]}
        for kind in _KINDS:
            codes = _quantile_codes(sums[kind].tolist())
            quantiles[kind] = [None if code is None else values[code] for code in codes]
        return {"quantiles": quantiles}


def _quantile_codes(histogram: list[int]) -> list[int | None]:
    *counts, not_a_number = histogram
    if not_a_number or not sum(counts):
        return [None] * len(PROBABILITIES)
    cumulative = torch.tensor(counts).cumsum(0)
    ranks = [-(-Fraction(p) * sum(counts) // 1) for p in PROBABILITIES]  # rounded up, in whole numbers
    return torch.searchsorted(cumulative, torch.tensor([int(rank) for rank in ranks])).tolist()
