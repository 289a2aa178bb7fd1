"""What a training writes: checkpoints by ZeRO stage and precision, exported weights, and the room a run needs."""

from __future__ import annotations

from typing import NamedTuple

from ds_nowcast.config import RunConfig
from ds_nowcast.planning.training import Training


class Disk(NamedTuple):
    """Bytes on the disk of the run folder, all ranks together."""

    checkpoint: int  # one of DeepSpeed's
    exported: int  # one model.safetensors
    run: int  # the most at once: those kept, the best step's, the one being written, both exported models


def disk(config: RunConfig, training: Training) -> Disk:
    """The room a run takes, metrics and pictures not counted."""
    t = training
    state = t.state_width * (1 + t.moments)  # the copy of the weights and the moments
    if t.zero.stage == 0:
        per_parameter = t.width + (state if t.width == 2 else 4 * t.moments)
    else:
        per_parameter = state + (t.width if t.zero.stage < 3 else 0)  # the stages below 3 write the model, too
    checkpoint = (per_parameter + 4 * t.ema) * t.total + t.buffer_bytes
    exported = 4 * t.total + t.buffer_bytes
    return Disk(checkpoint, exported, (config.nowcast.checkpoint.keep + 2) * checkpoint + 2 * exported)
