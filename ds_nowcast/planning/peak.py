"""The most memory that a rank needs at once, and what it is made of then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ds_nowcast.planning.gradients import gradients_of
from ds_nowcast.planning.states import Parts, owned, steady
from ds_nowcast.planning.timeline import Moment
from ds_nowcast.planning.training import Training


class Peak(NamedTuple):
    """The parts at the fullest moment of a step."""

    when: str  # "forward and backward", "the end of backward", "the optimizer's step", "gathering parameters"
    parts: Parts


def peak(training: Training, moments: Sequence[Moment], input_bytes: int) -> Peak:
    """The fullest moment of a step whose last micro-batch goes through `moments`; input_bytes: what the step's samples take.

    On a CPU the host's memory is the device's; of a GPU's host the part `host` is the most there is at any moment.
    """
    base = steady(training) + Parts(activations=input_bytes)
    phases = [*_backward(training, moments), _step(training), _gather(training, moments)]
    whole = [Peak(when, base + parts) for when, parts in phases]
    if training.device == "cpu":
        return max(whole, key=lambda found: found.parts.device + found.parts.host)
    fullest = max(whole, key=lambda found: found.parts.device)
    host = max(found.parts.host for found in whole)
    return Peak(fullest.when, replace(fullest.parts, host=host))


def _backward(t: Training, moments: Sequence[Moment]) -> list[tuple[str, Parts]]:
    gradients = gradients_of(t)
    gathered = Parts(weights=t.width * _gathered(t)) if t.zero.stage == 3 else Parts()
    phases = []
    for moment in moments:
        phases.append((gradients.held, moment.peak))
        if moment.parameter >= 0:
            phases.append((gradients.add(moment.parameter), moment.after))
    phases.append((gradients.finish(), moments[-1].after))
    found = [Parts(gradients=held, activations=live) + gathered for held, live in phases]
    return [*(("forward and backward", parts) for parts in found[:-1]), ("the end of backward", found[-1])]


def _step(t: Training) -> tuple[str, Parts]:
    """Gradients become fp32 beside those that were summed, then the optimizer makes what it needs beside them."""
    when = "the optimizer's step"
    if t.zero.offloads_optimizer:
        return when, Parts(host=_temporary(t, t.share))
    if t.zero.stage == 0:
        summed = t.summed_width * t.total
        if t.width == 4:
            return when, Parts(gradients=summed, optimizer=_temporary(t, t.total))
        doubled = 4 * t.total if t.fused else 0  # they are converted one by one, then laid end to end
        return when, Parts(gradients=summed + 4 * t.total, optimizer=max(doubled, _temporary(t, t.total)))
    elements = min(t.share, t.zero.sub_group_size) if t.zero.stage == 3 else t.share
    summed = t.summed_width * owned(t) if t.zero.stage < 3 else 0
    converted = (t.width + 4 if t.width < t.state_width else t.width) * elements
    stepping = t.state_width * elements + _temporary(t, elements)
    if summed + converted > stepping:
        return when, Parts(gradients=summed + converted)
    return when, Parts(gradients=t.state_width * elements, optimizer=stepping - t.state_width * elements)


def _temporary(t: Training, elements: int) -> int:
    """torch's Adam, tensor by tensor: a root and a quotient of one; all together (foreach): a root of each."""
    largest = t.largest if t.zero.stage == 0 else elements  # ZeRO's tensors are a rank's whole part
    return {"none": 0, "tensor": 2 * t.state_width * largest, "all": t.state_width * elements}[t.temporary]


def _gather(t: Training, moments: Sequence[Moment]) -> tuple[str, Parts]:
    """Stage 3 gathers a bucket of parameters into one buffer, then copies each to a tensor of its own."""
    when = "gathering parameters"
    if t.zero.stage != 3:
        return when, Parts()
    flat = min(t.total, max(t.zero.stage3_prefetch_bucket_size, t.largest))
    at_once = flat == t.total  # then it is over before the model has made anything
    live = 0 if at_once else max(moment.peak for moment in moments)
    return when, Parts(weights=t.width * _gathered(t), buffers=t.sent_width * flat, activations=live)


def _gathered(t: Training) -> int:
    """Elements gathered at once: those used again within the reuse distance stay, so half of it before the turning point."""
    ahead = max(min(t.zero.stage3_prefetch_bucket_size, t.zero.stage3_max_live_parameters), t.largest)
    kept = t.zero.stage3_max_reuse_distance // 2
    return min(t.total, kept + ahead)
