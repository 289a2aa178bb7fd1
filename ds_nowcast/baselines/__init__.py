"""Forecasts that a model must beat. One baseline is one file and one line of the table below.

A baseline's file offers `forecast(windows, leads, ...) -> (B, leads, H, W)`: model space, float32 in [0, 1], on the windows'
device. A window's forecast is the same to the bit whatever batch it is in. docs/baselines.md says how good they are.
"""

from __future__ import annotations

from types import ModuleType

from ds_nowcast.baselines import climatology, extrapolation, persistence

BASELINES: dict[str, ModuleType] = {
    "persistence": persistence,
    "extrapolation": extrapolation,
    "climatology": climatology,
}
