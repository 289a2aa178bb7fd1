"""What a config says of a training that decides its memory: sizes of parameters, precision, ZeRO, optimizer, ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from ds_nowcast.config import RunConfig
from ds_nowcast.config.optimizer_keys import AdamParams, SGDParams
from ds_nowcast.config.zero_keys import ZeroOptimization
from ds_nowcast.models import NowcastModel

Device = Literal["cuda", "cpu"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_AUTOCAST = {"bfloat16": torch.bfloat16, "bf16": torch.bfloat16, "float16": torch.float16, "fp16": torch.float16}
_MOMENTS = {"Adam": 2, "AdamW": 2, "Lamb": 2, "Adagrad": 1, "Lion": 1}


def precision(config: RunConfig) -> str:
    """`fp32`, `bf16` or `fp16` of the weights, or `autocast` where fp32 weights are cast operation by operation."""
    if config.torch_autocast.enabled:
        return "autocast"
    return "bf16" if config.bf16.enabled else "fp16" if config.fp16.enabled else "fp32"


def weight_dtype(config: RunConfig) -> torch.dtype:
    """The type that the model's weights have on the device."""
    return _DTYPES.get(precision(config), torch.float32)


def autocast_dtype(config: RunConfig) -> torch.dtype | None:
    """The type that `torch_autocast` casts to; None where it is off."""
    return (
        _AUTOCAST[config.torch_autocast.dtype]
        if config.torch_autocast.dtype and config.torch_autocast.enabled
        else None
    )


@dataclass(frozen=True)
class Training:
    """What the arithmetic of memory needs to know. Sizes in elements, widths in bytes per element."""

    parameters: tuple[int, ...]  # elements of each trainable parameter, in the model's order
    buffer_bytes: int  # of the model's buffers (running statistics of BatchNorm)
    width: int  # of weights and gradients on the device
    sent_width: int  # of gradients as they are reduced, and of parameters as they are gathered
    summed_width: int  # of gradients as they are summed over micro-batches
    state_width: int  # of the optimizer's copies of the weights and of its moments
    moments: int  # numbers that it keeps for each parameter
    temporary: Literal[
        "none", "tensor", "all"
    ]  # of what it makes copies while it steps: nothing, a tensor, all tensors
    fused: bool  # whether DeepSpeed's own fused operator steps
    ema: bool
    zero: ZeroOptimization
    ranks: int
    accumulation: int
    device: Device

    @property
    def total(self) -> int:
        """Elements of all parameters."""
        return sum(self.parameters)

    @property
    def largest(self) -> int:
        """Elements of the largest parameter."""
        return max(self.parameters)

    @property
    def share(self) -> int:
        """Elements of a rank's part of all parameters."""
        return -(-self.total // self.ranks)


def training_of(config: RunConfig, model: NowcastModel, ranks: int, accumulation: int, device: Device) -> Training:
    """What `config` says of `model`'s training on so many ranks."""
    wide, autocast = weight_dtype(config).itemsize, autocast_dtype(config)
    kind = config.communication_data_type
    summed = config.data_types.grad_accum_dtype
    sent = _DTYPES[kind].itemsize if kind else autocast.itemsize if autocast else wide
    return Training(
        parameters=tuple(p.numel() for p in model.parameters() if p.requires_grad),
        buffer_bytes=sum(b.numel() * b.element_size() for b in model.buffers()),
        width=wide,
        sent_width=sent,
        summed_width=_DTYPES[summed].itemsize if summed else wide,
        state_width=2 if config.bf16.bf16_optimizer_states else 4,
        moments=_moments(config),
        temporary=_temporary(config, device),
        fused=_fused(config),
        ema=config.nowcast.ema is not None,
        zero=config.zero_optimization,
        ranks=ranks,
        accumulation=accumulation,
        device=device,
    )


def _moments(config: RunConfig) -> int:
    params = config.optimizer.params
    if isinstance(params, SGDParams):
        return int(params.momentum > 0)
    return _MOMENTS[config.optimizer.type] + (isinstance(params, AdamParams) and params.amsgrad)


def _fused(config: RunConfig) -> bool:
    params = config.optimizer.params
    return isinstance(params, AdamParams) and not params.torch_adam


def _temporary(config: RunConfig, device: Device) -> Literal["none", "tensor", "all"]:
    """torch's Adam makes a copy of all tensors it steps (foreach, its choice on a GPU), or two of one at a time."""
    params = config.optimizer.params
    if not isinstance(params, AdamParams):
        return "all"  # not measured: at most a copy
    if _fused(config) or params.fused:
        return "none"
    if "foreach" in params.model_fields_set:
        return "all" if params.foreach else "tensor"
    on_gpu = device == "cuda" and not config.zero_optimization.offloads_optimizer
    return "all" if on_gpu else "tensor"
