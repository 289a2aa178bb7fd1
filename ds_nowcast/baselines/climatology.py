"""The same everywhere and always: the mean of the training data, in model space.

Of all constant forecasts it has the least squared error on data like those.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from data_prep.shards.index import ShardsIndex
from ds_nowcast.model_space import Windows


class Absent(NamedTuple):
    """A baseline that cannot be had."""

    reason: str


def training_mean(index: ShardsIndex, split: str = "train") -> float | Absent:
    """The mean over all observed pixels of the split that was trained on, in model space, as the shards' index has it."""
    if split not in index.splits:
        there = ", ".join(index.splits)
        return Absent(f"the shards have no split {split!r} to take the mean of; they have {there}")
    mean = index.splits[split].statistics.model_mean
    return Absent(f"no pixel of split {split!r} was observed") if mean is None else mean


def forecast(windows: Windows, leads: int, mean: float) -> Tensor:
    """`mean` at every pixel and lead time, (B, leads, H, W)."""
    batch, _, rows, columns = windows.past_BTHW.shape
    value = torch.tensor(mean, dtype=torch.float32, device=windows.past_BTHW.device)
    return value.expand(batch, leads, rows, columns)
