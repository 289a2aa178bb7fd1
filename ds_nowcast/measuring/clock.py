"""Where the time of a step goes: data wait, communication, optimizer, compute, and what is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.profiler import record_function

from ds_nowcast.engine import Engine, Stepped
from ds_nowcast.measuring.traffic import Traffic

RUNNING, OPTIMIZER = "nowcast.running", "nowcast.optimizer"  # in a profile


class Split(NamedTuple):
    """Seconds of one step on one rank. All but the first add up to it."""

    step: float
    compute: float  # forward, loss and backward pass, less communication within
    communication: float  # that the step waited for
    data_wait: float  # for the stream
    optimizer: float  # the update, less communication within
    other: float  # copy to the device, augmentation, counting of pixels


class _Span:
    """Time between two marks, and how much of it went to collectives."""

    def __init__(self) -> None:
        self.seconds = self.communication = 0.0


class StepClock:
    """Times the parts of a step. Between parts a GPU is waited for, as a training's step does there anyway."""

    def __init__(self, device: torch.device, traffic: Traffic) -> None:
        self._cuda, self._traffic = device.type == "cuda", traffic
        self._begin()

    def _begin(self) -> None:
        self._step, self._waiting, self._running, self._optimizer = _Span(), _Span(), _Span(), _Span()

    @contextmanager
    def _timing(self, span: _Span) -> Iterator[None]:
        started, before = self._now(), self._traffic.seconds
        try:
            yield
        finally:
            span.seconds += self._now() - started
            span.communication += self._traffic.seconds - before

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a whole step; afterwards `split` tells of it."""
        self._begin()
        with self._timing(self._step):
            yield

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for data."""
        with self._timing(self._waiting):
            yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around forward and backward passes and the update."""
        with record_function(RUNNING), self._timing(self._running):
            yield

    @contextmanager
    def optimizer(self) -> Iterator[None]:
        """Around the update, within `running`."""
        with record_function(OPTIMIZER), self._timing(self._optimizer):
            yield

    @property
    def split(self) -> Split:
        """Of the last step."""
        step, waiting, running, optimizer = self._step, self._waiting, self._running, self._optimizer
        update = optimizer.seconds - optimizer.communication
        compute = running.seconds - running.communication - update
        known = compute + update + waiting.seconds + step.communication
        return Split(step.seconds, compute, step.communication, waiting.seconds, update, step.seconds - known)


class TimedEngine(Engine):
    """An engine whose updates are timed; what it computes is the same."""

    def __init__(self, clock: StepClock, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock = clock

    def step(self) -> Stepped | None:
        """As the engine's."""
        with self._clock.optimizer():
            return super().step()
