"""CSI of events max-pooled in blocks of 4 x 4 and 16 x 16 pixels: hits need not be to the pixel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ds_nowcast.scoring.accumulator import Accumulator, ScoreSetting, total
from ds_nowcast.scoring.contingency import COUNTS, add_pairs
from ds_nowcast.scoring.exact import ratio

BLOCKS = (4, 16)


def any_of_4x4(events_BTHW: Tensor) -> Tensor:
    """Whether there is an event in each block of 4 x 4 pixels from the upper left on, bool; the last may reach outside."""
    rows, columns = events_BTHW.shape[-2:]
    whole_BTHW = pad(events_BTHW, (0, -columns % 4, 0, -rows % 4))
    fours = whole_BTHW.contiguous().view(torch.int32) != 0  # four bytes of a row at once
    return (fours[..., 0::4, :] | fours[..., 1::4, :]) | (fours[..., 2::4, :] | fours[..., 3::4, :])


class PooledCounts(Accumulator):
    """Hits, misses and false alarms (T, K) of blocks. An event is pooled over the valid pixels; a block without any has none."""

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        super().__init__(setting, device)
        by_threshold = (setting.leads, len(setting.labels))
        self._of = {block: {name: self.zeros(*by_threshold) for name in COUNTS[:3]} for block in BLOCKS}
        self.sums = {f"{name}_{block}": counts for block in BLOCKS for name, counts in self._of[block].items()}

    def add_events(self, column: int, forecast_BTHW: Tensor, observed_BTHW: Tensor) -> None:
        """Adds the events of one threshold."""
        for block in BLOCKS:  # each pools the one before by 4
            forecast_BTHW, observed_BTHW = any_of_4x4(forecast_BTHW), any_of_4x4(observed_BTHW)
            add_pairs(self._of[block], column, forecast_BTHW, observed_BTHW)

    def scores(self, sums: dict[str, Tensor], leads: slice) -> dict[str, Any]:
        """`csi_pool4`, `csi_pool16`, from counts pooled over the lead times."""
        scores: dict[str, Any] = {}
        for block in BLOCKS:
            hits, misses, false_alarms = (sums[f"{name}_{block}"][leads] for name in COUNTS[:3])
            scores[f"csi_pool{block}"] = {
                label: ratio(total(hits[:, k]), total((hits + misses + false_alarms)[:, k]))
                for k, label in enumerate(self.setting.labels)
            }
        return scores
