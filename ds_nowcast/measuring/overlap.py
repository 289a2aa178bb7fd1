"""On a GPU, where collectives run beside the computation: how long a step waits for them, out of a profile of a few steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from ds_nowcast.measuring.clock import OPTIMIZER, RUNNING

STEPS = 3  # that are profiled, beside those measured: a profile costs time

Times = tuple[float, float]  # start and end, seconds


class Exposed(NamedTuple):
    """Seconds of a step in which collectives ran and nothing else did."""

    running: float  # from the first forward pass to the end of the update
    optimizer: float  # the part of it within the update


def profiled(make: Callable[[], object], steps: int = STEPS) -> Exposed:
    """Makes so many steps under torch's profiler. Every rank must call."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        for _ in range(steps):
            make()
        torch.cuda.synchronize()
    return exposed(found.events(), steps)


def exposed(events: Iterable[Any], steps: int) -> Exposed:
    """events: of torch's profiler, times in microseconds."""
    collectives, others = list[Times](), list[Times]()
    spans: dict[str, list[Times]] = {RUNNING: [], OPTIMIZER: []}
    for event in events:
        times = event.time_range.start / 1e6, event.time_range.end / 1e6
        if event.device_type != DeviceType.CUDA:
            spans.get(event.name, []).append(times)
        elif not event.is_user_annotation:  # the shadow of a span, no kernel
            (collectives if event.name.startswith("nccl") else others).append(times)
    alone = without(merged(collectives), merged(others))
    return Exposed(*(common(alone, merged(spans[name])) / steps for name in (RUNNING, OPTIMIZER)))


def merged(spans: Iterable[Times]) -> list[Times]:
    """Their union, in order, without overlap."""
    union = list[Times]()
    for start, end in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], end)
        else:
            union.append((start, end))
    return union


def without(spans: Sequence[Times], taken: Sequence[Times]) -> list[Times]:
    """What is left of `spans`; both as `merged` gives them."""
    left = list[Times]()
    for start, end in spans:
        for begin, finish in taken:
            if finish <= start or begin >= end:
                continue
            if begin > start:
                left.append((start, begin))
            start = finish
        if start < end:
            left.append((start, end))
    return left


def common(first: Sequence[Times], second: Sequence[Times]) -> float:
    """Length of what both cover; both as `merged` gives them."""
    return sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in first for b in second)
