"""Trainings of a few parameters, whose bytes can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ds_nowcast.config.zero_keys import ZeroOptimization
from ds_nowcast.planning.training import Training

FP32 = Training(
    parameters=(10, 30, 20),
    buffer_bytes=0,
    width=4,
    sent_width=4,
    summed_width=4,
    state_width=4,
    moments=2,
    temporary="tensor",
    fused=False,
    ema=False,
    zero=ZeroOptimization(),
    ranks=2,
    accumulation=1,
    device="cpu",
)
BF16 = replace(FP32, width=2, sent_width=2, summed_width=2)


def at(training: Training, stage: int, **zero: Any) -> Training:
    """The training at a ZeRO stage with further keys of its section."""
    return replace(training, zero=ZeroOptimization.model_validate({"stage": stage, **zero}))
