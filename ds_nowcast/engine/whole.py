"""ZeRO 0, where each rank holds everything: what DeepSpeed does otherwise there than at the other stages, set right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch._utils import _unflatten_dense_tensors


def guard(optimizer: Any) -> None:
    """In fp32 DeepSpeed would step on infinite gradients: skip such steps, as the other stages do.

    `overflow`, to be set before each step, is what it asks its own optimizers for: then it counts the step as skipped and
    leaves the schedule.
    """
    step, optimizer.overflow = optimizer.step, False

    def guarded(*args: Any, **kwargs: Any) -> Any:
        return None if optimizer.overflow else step(*args, **kwargs)

    optimizer.step = guarded


def grad_norm(parameters: Iterable[nn.Parameter]) -> float:
    """The norm of all gradients, reduced by now, which DeepSpeed does not tell without half precision."""
    grads = [p.grad for p in parameters if p.grad is not None]
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))) if grads else 0.0


def undo_first_step(optimizer: Any, parameters: Sequence[nn.Parameter]) -> None:
    """Of half precision, where DeepSpeed makes a step on zero gradients, for the optimizer to have its state.

    It decays the weights, and Adam's bias correction would count it: the first steps would be a quarter too short.
    """
    base = optimizer.optimizer
    for counted in (*base.param_groups, *base.state.values()):
        if "step" in counted:
            counted["step"] = counted["step"] * 0  # a number or a tensor
    copies = masters(optimizer)
    for parameter in parameters:
        copies[id(parameter)].detach().copy_(parameter)


def masters(optimizer: Any) -> dict[int, torch.Tensor]:
    """The fp32 copies, by the parameter's id, that half precision keeps and DeepSpeed does not hand out."""
    halves = optimizer.fp16_groups  # of bf16 too
    if hasattr(optimizer, "fp32_groups"):
        copies = optimizer.fp32_groups
    else:  # around a fused optimizer they lie end to end
        copies = [
            _unflatten_dense_tensors(flat, group)  # type: ignore[no-untyped-call]
            for flat, group in zip(optimizer.fp32_groups_flat, halves, strict=True)
        ]
    pairs = [pair for groups in zip(halves, copies, strict=True) for pair in zip(*groups, strict=True)]
    return {id(half): copy for half, copy in pairs}
