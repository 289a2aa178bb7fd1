"""Speed and state between two log lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from ds_nowcast.config import Batch
from ds_nowcast.memory import peak_bytes
from ds_nowcast.ranks import Ranks
from ds_nowcast.training.step import StepResult

T = TypeVar("T")


class Meters:
    """Collects steps; `take` gives their means over all ranks and begins anew."""

    def __init__(self, batch: Batch, ranks: Ranks) -> None:
        self._batch, self._ranks = batch, ranks
        self._begin()

    def _begin(self) -> None:
        self._started, self._waited, self._steps, self._valid = time.monotonic(), 0.0, 0, 0
        self._made = 0  # steps that had a valid pixel
        self._loss = torch.zeros((), device=self._ranks.device)
        self._last: StepResult | None = None

    def waiting(self, fetch: Callable[[], T]) -> T:
        """Counts the time of `fetch` as waiting for data."""
        before = time.monotonic()
        result = fetch()
        self._waited += time.monotonic() - before
        return result

    def pause(self, work: Callable[[], None]) -> None:
        """Work beside training (an evaluation, a save) that does not count."""
        before = time.monotonic()
        work()
        self._started += time.monotonic() - before

    def add(self, result: StepResult) -> None:
        """A finished step."""
        self._loss += result.loss_sum
        self._made += result.stepped is not None
        self._steps, self._valid, self._last = self._steps + 1, self._valid + result.valid, result

    def take(self, step: int, samples: int, skipped: int) -> dict[str, float]:
        """The line for metrics.jsonl: loss is the mean of the steps' global means, NaN where no step had a valid pixel.

        skipped: optimizer steps that overflowed since the start of training. Every rank must call.
        """
        if self._ranks.device.type == "cuda":
            torch.cuda.synchronize()
        loss, waited = self._ranks.sum([float(self._loss), self._waited])
        seconds = time.monotonic() - self._started
        values: dict[str, float] = {
            "step": step,
            "samples": samples,
            "loss": loss / self._made if self._made else math.nan,
            "samples_per_s": self._steps * self._batch.total / seconds,
            "data_wait": waited / self._ranks.world / seconds,  # share of the time
            "valid": self._valid / max(self._steps, 1),  # target pixels of a step
            "memory_mb": peak_bytes(self._ranks.device) / 2**20,
            "skipped": skipped,
            "time": time.time(),
        }
        stepped = self._last.stepped if self._last else None
        if stepped is not None:
            values |= {"lr": stepped.lr, "loss_scale": stepped.loss_scale}
            if stepped.grad_norm is not None:
                values["grad_norm"] = stepped.grad_norm
        self._begin()
        return values

    @staticmethod
    def shown(values: dict[str, float]) -> dict[str, str]:
        """For the display."""
        text = {
            "loss": f"{values['loss']:.5f}",
            "samples/s": f"{values['samples_per_s']:.1f}",
            "data wait": f"{values['data_wait']:.1%}",
            "lr": f"{values.get('lr', 0.0):.2e}",
            "grad norm": f"{values['grad_norm']:.3g}" if "grad_norm" in values else "-",
            "memory": f"{values['memory_mb']:.0f} MB",
        }
        return text | ({"skipped": f"{values['skipped']:.0f}"} if values["skipped"] else {})
