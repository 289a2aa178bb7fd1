"""The one door to DeepSpeed: an engine that steps, saves, loads and gives its weights out, at every ZeRO stage."""

from __future__ import annotations

from ds_nowcast.engine.engine import Engine, Stepped
from ds_nowcast.engine.moving import WORKPLACE
from ds_nowcast.engine.placing import placing

__all__ = ["WORKPLACE", "Engine", "Stepped", "placing"]
