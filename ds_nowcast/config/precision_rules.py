"""Pairs of precision and ZeRO that DeepSpeed 0.19 does not take, or computes wrongly: refused before anything starts.

What DeepSpeed refuses by itself it refuses after all ranks have met; what it computes wrongly it does not refuse.
`tests/ds_nowcast/test_precision.py` runs what is left against plain PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ds_nowcast.config.deepspeed_keys import DeepSpeedKeys


def precision_problems(keys: DeepSpeedKeys) -> list[str]:
    """A line for each pair of settings that does not go together."""
    switches = {"bf16": keys.bf16.enabled, "fp16": keys.fp16.enabled, "torch_autocast": keys.torch_autocast.enabled}
    on = [name for name, enabled in switches.items() if enabled]
    if len(on) > 1:
        return [f"{' and '.join(f'{name}.enabled' for name in on)} are both true; enable one kind of precision"]
    return [*_autocast_problems(keys), *_type_problems(keys), *_master_problems(keys)]


def _autocast_problems(keys: DeepSpeedKeys) -> list[str]:
    """DeepSpeed's ZeRO clips, and tells the norm of, gradients that still hold the loss scale, and after an overflow
    returns before it would lower the scale: every further step is skipped."""
    autocast, stage = keys.torch_autocast, keys.zero_optimization.stage
    wrong = {
        f"torch_autocast.dtype '{autocast.dtype}' needs zero_optimization.stage 0, stage is {stage}: DeepSpeed's ZeRO clips "
        "the gradients before it takes the loss scale out of them, and never lowers that scale; use 'bfloat16', or fp16 "
        "instead of torch_autocast": autocast.dtype in ("float16", "fp16") and stage > 0,
        "torch_autocast cannot be used with zero_optimization.zero_quantized_weights; disable one of them": (
            keys.zero_optimization.zero_quantized_weights
        ),
    }
    return [message for message, holds in wrong.items() if holds and autocast.enabled]


def _type_problems(keys: DeepSpeedKeys) -> list[str]:
    zero, types = keys.zero_optimization, keys.data_types
    model = "bf16" if keys.bf16.enabled else "fp16" if keys.fp16.enabled else "fp32"
    summed = types.grad_accum_dtype or model
    wrong = {
        f"data_types.param_dtype is '{types.param_dtype}' and the model is trained in '{model}'; leave it out": (
            types.param_dtype not in (None, model)
        ),
        f"data_types.grad_accum_dtype '{summed}' with a model in '{model}' needs zero_optimization.stage 1, 2 or 3, stage is 0": (
            zero.stage == 0 and summed != model
        ),
        "zero_optimization.compute_grad_norm false cannot be used with bf16 and data_types.grad_accum_dtype 'fp32' at stage 1; "
        "remove one of them": (
            not zero.compute_grad_norm and (model, summed, zero.stage) == ("bf16", "fp32", 1)
        ),
    }  # fmt: skip
    return [message for message, holds in wrong.items() if holds]


def _master_problems(keys: DeepSpeedKeys) -> list[str]:
    """Of weights that are held in bf16 alone: off the device only DeepSpeed's CPU Adam takes them."""
    zero, optimizer = keys.zero_optimization, keys.optimizer
    on_cpu_adam = optimizer.type in ("Adam", "AdamW") and not getattr(optimizer.params, "torch_adam", True)
    wrong = {
        f"bf16.bf16_master_weights_and_grads needs zero_optimization.stage 1, 2 or 3, stage is {zero.stage}": zero.stage
        == 0,
        "bf16.bf16_master_weights_and_grads with offload_optimizer needs optimizer.type Adam or AdamW with torch_adam false": (
            zero.offloads_optimizer and not on_cpu_adam
        ),
    }
    return [message for message, holds in wrong.items() if holds and keys.bf16.bf16_master_weights_and_grads]
