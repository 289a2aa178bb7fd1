"""What a measurement found, from all ranks' steps to the document that is written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

from data_prep.shards.index import Shards
from ds_nowcast.config import Batch, RunConfig
from ds_nowcast.measuring.clock import Split
from ds_nowcast.measuring.machine import device_name, sample_bytes, stored_bytes
from ds_nowcast.measuring.traffic import Traffic
from ds_nowcast.memory import host_peak_bytes, peak_bytes
from ds_nowcast.ranks import Ranks

FORMAT_VERSION = 1


class Figures:
    """This rank's, until `gathered` puts all ranks' together."""

    def __init__(
        self, config: RunConfig, shards: Shards, batch: Batch, ranks: Ranks, feed: str, traffic: Traffic
    ) -> None:
        self._config, self._shards, self._batch, self.ranks = config, shards, batch, ranks
        self._feed, self._traffic, self._cpu_s = feed, traffic, 0.0
        self.splits: Sequence[Split] = ()
        self.idle = 0  # steps without an update, those before included
        self.parameters = 0  # none where there is no model
        self.dtype = torch.float32  # that the model computes in, but for autocast

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Around the steps that count."""
        started = time.process_time()
        with self._traffic:
            yield
        self._cpu_s = time.process_time() - started

    def gathered(self) -> dict[str, Any]:
        """The document. Every rank must call, all with as many steps."""
        ranks, keys, batch, steps = self.ranks, self._config.nowcast, self._batch, len(self.splits)
        means = ranks.sum([value / ranks.world for split in self.splits for value in split])
        table = [Split(*means[row * len(Split._fields) :][: len(Split._fields)]) for row in range(steps)]
        cpu_s = ranks.sum([self._cpu_s / steps / ranks.world])[0]
        everywhere = ranks.gather(
            (peak_bytes(ranks.device), host_peak_bytes(), ranks.local_rank == 0, sum(s.step for s in self.splits))
        )
        peaks, host_peaks, firsts, seconds = (list(column) for column in zip(*everywhere, strict=True))
        step_s = [split.step for split in table]
        # batches come out of the stream in bursts: only all of them together are a rate
        rate = steps / max(seconds) if self._feed == "stream" else 1 / median(step_s)
        return {
            "format_version": FORMAT_VERSION,
            "feed": self._feed,
            "ranks": ranks.world,
            "hosts": sum(firsts),
            "device": device_name(ranks.device),
            "threads": ranks.threads,
            "batch": batch._asdict(),
            "zero_stage": self._config.zero_optimization.stage,
            "precision": self._precision,
            "parameters": self.parameters,
            "image": list(self._shards.index.shape),
            "frames": keys.data.window,
            "steps": steps,
            "idle_steps": self.idle,
            "samples_per_s": batch.total * rate,
            "step_s": {"median": median(step_s), "least": min(step_s), "most": max(step_s)},
            "split_s": {name: median(getattr(split, name) for split in table) for name in Split._fields[1:]},
            "cpu_s": cpu_s,
            "memory_bytes": max(peaks),
            "host_memory_bytes": max(host_peaks),
            "collective_bytes": {
                kind: round(count / steps) for kind, count in sorted(self._traffic.bytes.items()) if count
            },
            "sample_bytes": sample_bytes(self._shards, keys),
            "stored_bytes": stored_bytes(self._shards, keys, batch, ranks, steps) if ranks.first else 0.0,
        }

    @property
    def _precision(self) -> str:
        autocast = self._config.torch_autocast
        return f"autocast {autocast.dtype}" if autocast.enabled else str(self.dtype).removeprefix("torch.")

    @staticmethod
    def told(found: dict[str, Any]) -> str:
        """The document in a line."""
        parts = ", ".join(f"{name.replace('_', ' ')} {1e3 * value:.1f}" for name, value in found["split_s"].items())
        return (
            f"{found['samples_per_s']:.2f} samples/s, {1e3 * found['step_s']['median']:.1f} ms a step ({parts}), "
            f"{found['memory_bytes'] / 2**20:.0f} MB"
        )
