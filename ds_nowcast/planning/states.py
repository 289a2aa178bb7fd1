"""What a rank holds between two steps: weights, gradients, optimizer and buffers, by ZeRO stage (DeepSpeed 0.19.8).

Read in deepspeed/runtime (zero/stage_1_and_2.py, zero/stage3.py, fp16/unfused_optimizer.py, fp16/fused_optimizer.py) and
held against measured memory by tests/ds_nowcast/planning/test_measured.py. With P parameters, p = P / ranks, b bytes a
weight, L the largest parameter and m moments, in bytes:
    0, fp32    weights 4P, moments 4mP
    0, 16 bit  weights 2P, fp32 copy 4P, moments 4mP
    1, 2       weights bP in one flat buffer; fp32 copy 4p (of fp32 weights, too), moments 4mp
    3          weights bp and what is gathered; fp32 copy 4p, moments 4mp, summed gradients bp, the reduce bucket
With bf16 throughout (bf16_master_weights_and_grads, bf16_optimizer_states) copy and moments have 2 bytes instead of 4.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from ds_nowcast.planning.training import Training


@dataclass(frozen=True)
class Parts:
    """Bytes of one rank, by what they hold; all but `host` are on its device."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0  # fp32 copies of the weights, moments, EMA, and what a step makes for itself
    buffers: int = 0  # of reducing gradients and of gathering parameters
    activations: int = 0  # of the model and the loss, the input, temporaries of operations
    host: int = 0  # offloaded, in this host's memory

    def __add__(self, other: Parts) -> Parts:
        return Parts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def device(self) -> int:
        """Bytes on the device."""
        return self.weights + self.gradients + self.optimizer + self.buffers + self.activations


def steady(training: Training) -> Parts:
    """What a rank holds from the end of its first step on, between steps."""
    stage = training.zero.stage
    parts = _whole(training) if stage == 0 else _split(training) if stage < 3 else _all_split(training)
    ema = 4 * (training.share if stage else training.total) * training.ema
    return parts + Parts(weights=training.buffer_bytes, optimizer=ema)


def _whole(t: Training) -> Parts:
    copy = 4 if t.width == 2 else 0
    return Parts(weights=t.width * t.total, optimizer=(copy + 4 * t.moments) * t.total)


def _split(t: Training) -> Parts:
    """Stages 1 and 2; where the optimizer is on the CPU, two buffers as long as the largest parameter carry gradients."""
    state = t.state_width * (1 + t.moments) * t.share
    if not t.zero.offloads_optimizer:
        return Parts(weights=t.width * t.total, optimizer=state)
    gradients = (t.state_width + t.width) * t.share + t.width * t.largest
    if t.accumulation > 1:
        gradients += t.width * owned(t)
    return Parts(weights=t.width * t.total, buffers=t.width * t.largest, host=_beside(t, state + gradients))


def _all_split(t: Training) -> Parts:
    """Stage 3. The reduce bucket is made once and stays; on a CPU only the part of it that was used takes memory."""
    state, summed, weights = t.state_width * (1 + t.moments) * t.share, t.summed_width * t.share, t.width * t.share
    bucket = t.zero.reduce_bucket_size if t.device == "cuda" else min(t.zero.reduce_bucket_size, t.total)
    buffers = bucket * t.sent_width if t.zero.contiguous_gradients else 0
    host = 0
    if t.zero.offloads_optimizer:
        host, state, summed = state + t.state_width * t.share + summed, 0, 0
    if offloads_parameters(t):
        host, weights = host + weights, 0
    return Parts(
        weights=weights,
        gradients=summed,
        optimizer=state,
        buffers=buffers,
        host=_beside(t, host),
    )


def _beside(t: Training, host: int) -> int:
    """Of what is offloaded to NVMe, the host holds the buffers through which it comes and goes alone: not counted."""
    optimizer = t.zero.offload_optimizer
    return 0 if optimizer is not None and optimizer.device == "nvme" else host


def offloads_parameters(t: Training) -> bool:
    """Whether parameters lie in the host's memory or on NVMe."""
    return t.zero.offload_param is not None and t.zero.offload_param.device != "none"


def owned(t: Training) -> int:
    """Elements of the parameters that lie in a rank's part of the flat buffer, wholly or partly; of the most loaded rank."""
    return max(sum(t.parameters[number] for number in numbers) for numbers in parts_of_ranks(t))


def parts_of_ranks(t: Training) -> list[list[int]]:
    """The numbers of the parameters in each rank's part, laid end to end."""
    parts: list[list[int]] = [[] for _ in range(t.ranks)]
    begin = 0
    for number, size in enumerate(t.parameters):
        for rank in range(begin // t.share, min((begin + size - 1) // t.share, t.ranks - 1) + 1):
            parts[rank].append(number)
        begin += size
    return parts
