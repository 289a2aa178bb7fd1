"""Which ZeRO stage, offload and checkpointing of activations let a model be trained, and at which micro-batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from data_prep.errors import UserError
from ds_nowcast.config import Batch, RunConfig, changed
from ds_nowcast.models import outline_of
from ds_nowcast.planning.activations import Activations
from ds_nowcast.planning.peak import Peak, peak
from ds_nowcast.planning.training import Device, training_of

MARGIN = 0.08
"""Share of a GPU's memory that is left alone, for what the allocator cannot use."""
CONTEXT = 1_000_000_000
"""Bytes of a GPU that CUDA, NCCL and the libraries take for themselves; an allowance, as the margin is."""
_OFFLOADS = {
    "": (),
    "optimizer": ("zero_optimization.offload_optimizer.device=cpu",),
    "optimizer and parameters": (
        "zero_optimization.offload_optimizer.device=cpu",
        "zero_optimization.offload_param.device=cpu",
    ),
}


class Choice(NamedTuple):
    """A way to train the same model."""

    stage: int
    offload: str  # what lies on the CPU, in words
    checkpointing: bool

    @property
    def settings(self) -> list[str]:
        """The words after --set that give it."""
        offload = _OFFLOADS[self.offload] or ("zero_optimization.offload_optimizer=null",)
        if self.offload != "optimizer and parameters":
            offload += ("zero_optimization.offload_param=null",)
        checkpointing = f"nowcast.compute.activation_checkpointing={str(self.checkpointing).lower()}"
        return [f"zero_optimization.stage={self.stage}", *offload, checkpointing]


CHOICES = [
    Choice(stage, offload, checkpointing)
    for offload, stages in (("", (0, 1, 2, 3)), ("optimizer", (1, 2, 3)), ("optimizer and parameters", (3,)))
    for stage in stages
    for checkpointing in (False, True)
]


def choice_of(config: RunConfig) -> Choice:
    """The config's own."""
    zero = config.zero_optimization
    parameters = zero.offload_param is not None and zero.offload_param.device != "none"
    offload = "optimizer and parameters" if parameters else "optimizer" if zero.offloads_optimizer else ""
    return Choice(zero.stage, offload, config.nowcast.compute.activation_checkpointing)


@dataclass(frozen=True)
class Option:
    """What one choice needs."""

    choice: Choice
    refused: str  # why the config does not allow it; "" where it does
    peak: Peak | None  # at the config's micro-batch; None where refused
    micro: (
        int | None
    )  # the largest that fits and divides the step's samples; None where none does, or nothing was asked


def usable(gpu_memory: int) -> int:
    """Bytes of a GPU's memory that a training may count on."""
    return max(0, int(gpu_memory * (1 - MARGIN)) - CONTEXT)


def options(given: RunConfig, ranks: int, own: Activations, device: Device, memory: int | None) -> list[Option]:
    """Every choice, for the config given.

    own: of the config as it is. memory: usable bytes of each GPU; None leaves open what fits.
    """
    measured = {own.checkpointing: own}
    found = []
    for choice in CHOICES:
        try:
            config = changed(given, choice.settings)
            config.batch(ranks)
        except UserError as error:
            found.append(Option(choice, str(error).splitlines()[0], None, None))
            continue
        activations = measured.setdefault(choice.checkpointing, Activations(config, own.shape, device, own.encoding))
        found.append(_option(choice, config, activations, ranks, device, memory))
    return found


def _option(
    choice: Choice, config: RunConfig, activations: Activations, ranks: int, device: Device, memory: int | None
) -> Option:
    batch, model = config.batch(ranks), outline_of(config.nowcast)

    def at(micro: int) -> Peak:
        training = training_of(config, model, ranks, batch.per_rank // micro, device)
        return peak(training, activations.at(micro), activations.input_bytes(batch.per_rank))

    fitting = None
    if memory is not None:
        fitting = max((size for size in batch.micros if at(size).parts.device <= memory), default=None)
    return Option(choice, "", at(batch.micro), fitting)


def recommended(found: Sequence[Option], batch: Batch, stage: int) -> Option | None:
    """The cheapest at which the asked micro-batch fits, else the cheapest at which any does; None where none does.

    stage: the config's own, kept among those that cost alike; else 1, which needs the least memory of them.
    """

    def cost(option: Option) -> tuple[object, ...]:
        choice = option.choice
        smaller = (option.micro or 0) < batch.micro
        return (
            smaller,
            choice.offload,
            choice.stage == 3,
            choice.checkpointing,
            choice.stage != stage,
            choice.stage != 1,
            choice.stage,
        )

    return min((option for option in found if option.micro is not None), key=cost, default=None)


def settings(option: Option, batch: Batch, config: RunConfig) -> list[str]:
    """The words after --set that change `config` to an option, at the asked micro-batch or the largest below it that fits."""
    micro = max(size for size in batch.micros if size <= min(option.micro or 1, batch.micro))
    words = [
        *option.choice.settings,
        f"train_micro_batch_size_per_gpu={micro}",
        f"gradient_accumulation_steps={batch.per_rank // micro}",
    ]
    if micro == batch.micro:
        words = words[:-2]
    else:
        words.append(f"train_batch_size={batch.total}")
    given = config.model_dump(mode="json")
    return [
        word for word in words if word.partition("=")[2] != json.dumps(_value(given, word.partition("=")[0])).strip('"')
    ]


def _value(given: Any, name: str) -> Any:
    for key in name.split("."):
        given = given.get(key) if isinstance(given, dict) else None
    return given


def reason(option: Option, batch: Batch, given: Choice) -> str:
    """Why it was recommended, in words. given: the config's own choice."""
    choice = option.choice
    spared = []
    if given.offload and not choice.offload:
        spared.append("it fits without offloading, which costs copies over the host's bus at each step")
    if given.checkpointing and not choice.checkpointing:
        spared.append("it fits without computing activations again, one forward pass less")
    if spared:
        why = "; ".join(spared)
    elif choice.offload:
        why = (
            "what is left on the GPU would not fit otherwise; offloading costs copies over the host's bus at each step"
        )
    elif choice.stage == 3:
        why = "no lower stage fits; stage 3 sends half as much again as stages 0 to 2"
    else:
        why = "the least communication that fits (stages 0 to 2 send alike, stage 3 half as much again)"
    if choice.checkpointing:
        why += "; computing activations again costs one more forward pass"
    return why + ("" if (option.micro or 0) >= batch.micro else f"; micro-batch {batch.micro} fits nowhere")
