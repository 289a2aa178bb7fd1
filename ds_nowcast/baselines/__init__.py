"""Forecasts that a model must beat. One baseline is one file and one line of `BASELINES`.

A baseline's file offers `forecast(windows, leads, ...) -> (B, leads, H, W)`: model space, float32 in [0, 1], on the windows'
device. A window's forecast is the same to the bit whatever batch it is in. docs/baselines.md says how good they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from data_prep.shards.index import ShardsIndex
from ds_nowcast.baselines import climatology, extrapolation, persistence
from ds_nowcast.baselines.climatology import Absent
from ds_nowcast.model_space import Windows

Baseline = Callable[[Windows, int], Tensor]  # windows, leads -> (B, leads, H, W)


def _climatology(index: ShardsIndex, split: str) -> Baseline | Absent:
    mean = climatology.training_mean(index, split)
    return mean if isinstance(mean, Absent) else partial(climatology.forecast, mean=mean)


BASELINES: dict[str, Callable[[ShardsIndex, str], Baseline | Absent]] = {
    "persistence": lambda index, split: persistence.forecast,
    "extrapolation": lambda index, split: extrapolation.forecast,
    "climatology": _climatology,
}
"""By name: of shards' index and the split that was trained on, the baseline or why there is none."""


def baselines_for(index: ShardsIndex, split: str) -> tuple[dict[str, Baseline], dict[str, str]]:
    """By name the baselines that can be had, and why the others cannot. split: the one that was trained on."""
    made = {name: make(index, split) for name, make in BASELINES.items()}
    return (
        {name: baseline for name, baseline in made.items() if not isinstance(baseline, Absent)},
        {name: baseline.reason for name, baseline in made.items() if isinstance(baseline, Absent)},
    )
