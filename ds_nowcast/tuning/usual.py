"""What is tried where no --space is given: only what makes sense for the config, the ranks and the device."""

from __future__ import annotations

import math
import os
from typing import Any

from ds_nowcast.config import Batch, RunConfig
from ds_nowcast.models import checked_options
from ds_nowcast.tuning.space import MICRO, Objective

_MICROS = 8  # most micro-batches, those nearest to the start's
_CPU = {"device": "cpu"}


def usual_space(
    config: RunConfig, batch: Batch, device: str, ranks_here: int, objective: Objective
) -> dict[str, list[Any]]:
    """Values by key. device: "cpu" or "cuda". ranks_here: of one host, which share its cores."""
    return _of_speed(config, batch, device, ranks_here) if objective == "samples_per_s" else _of_score(config)


def _of_speed(config: RunConfig, batch: Batch, device: str, ranks_here: int) -> dict[str, list[Any]]:
    zero = config.zero_optimization
    near = sorted(batch.micros, key=lambda micro: (abs(math.log(micro / batch.micro)), micro))[:_MICROS]
    space: dict[str, list[Any]] = {
        MICRO: sorted(near),
        "zero_optimization.stage": [0, 1, 2, 3] if batch.ranks > 1 else [0],  # alone there is nothing to divide
        "nowcast.compute.activation_checkpointing": [False, True],
        "nowcast.data.threads": _threads(ranks_here),
    }
    if device == "cuda":
        space["nowcast.compute.compile"] = [False, True]
        space["nowcast.compute.channels_last"] = [False, True]
        space["zero_optimization.offload_optimizer"] = [None, _CPU]
        if batch.ranks > 1:
            space["zero_optimization.offload_param"] = [None, _CPU]
    else:  # the host's memory is the device's: offloading gains nothing, and may be given up
        if zero.offload_optimizer is not None:
            space["zero_optimization.offload_optimizer"] = [None]
        if zero.offload_param is not None:
            space["zero_optimization.offload_param"] = [None]
    return space


def _threads(ranks_here: int) -> list[int]:
    """Fewer than a rank's cores, which are what is taken where none are given."""
    cores = max(1, len(os.sched_getaffinity(0)) // ranks_here)
    return sorted({1, 2, cores // 2, 2 * cores} - {0, cores})


def _of_score(config: RunConfig) -> dict[str, list[Any]]:
    """The learning rate; with several losses their weights, of which the first is the measure; the model's width."""
    space: dict[str, list[Any]] = {}
    rate = getattr(config.optimizer.params, "lr", None)
    if rate:
        space["optimizer.params.lr"] = [_rounded(rate * factor) for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]
    for name, weight in list(config.nowcast.loss.weights.items())[1:]:
        space[f"nowcast.loss.weights.{name}"] = [_rounded(weight * factor) for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]
    model = config.nowcast.model
    width = getattr(checked_options(model.name, model.options), "width", None)
    if width is not None:
        space["nowcast.model.width"] = sorted({max(8, width // 2 // 8 * 8), width, -(-width * 3 // 2 // 8) * 8})
    return space


def _rounded(number: float) -> float:
    return float(f"{number:.3g}")
