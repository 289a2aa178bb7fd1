"""Weights that no rank ever holds whole: at ZeRO 3 each module is cut up over the ranks before the next one is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import deepspeed
import torch
from torch import nn


def placing(config: dict[str, Any]) -> Callable[[nn.Module], None]:
    """What takes a module that has just got its weights, for an engine of that config. Every rank must call it alike.

    At ZeRO 0 to 2 it does nothing: there the engine takes a whole model.
    """
    if config.get("zero_optimization", {}).get("stage", 0) < 3:
        return lambda module: None
    dtype, first = _dtype(config), list[nn.Parameter]()

    def place(module: nn.Module) -> None:
        held = list(module.parameters(recurse=False))
        for parameter in held:
            parameter.data = parameter.data.to(dtype)  # as the engine would, of a whole model
        if not held:
            return
        if first:  # as DeepSpeed's own engine adds to a model that is cut up in part
            first[0].convert_to_zero_parameters(param_list=held)  # type: ignore[attr-defined]
        else:
            deepspeed.init_distributed()  # else it reads the config as one of a single rank, and refuses the batch
            deepspeed.zero.Init(module=module, config_dict_or_path=config)  # no dtype: it would take another one
            first.append(held[0])

    return place


def _dtype(config: dict[str, Any]) -> torch.dtype:
    """That of the model's weights."""
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        if config.get(name, {}).get("enabled"):
            return dtype
    return torch.float32
