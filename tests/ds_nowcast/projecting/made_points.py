"""Results of `ds_nowcast.measure` as a machine of known figures would give them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ds_nowcast.projecting.collectives import Operation
from ds_nowcast.projecting.outlook import split
from ds_nowcast.projecting.projection import Batch, Figures, step


def made_result(
    figures: Figures,
    total: int,
    micro: int,
    accumulation: int,
    *,
    feed: str = "full",
    noise: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """What is measured at total / (micro x accumulation) ranks, each part of a step off by about `noise`."""
    ranks = total // (micro * accumulation)
    rng = np.random.default_rng((seed, ranks, total))
    parts = split(step(figures, ranks, Batch(total / ranks, accumulation)))
    if feed == "synthetic":
        parts["data_wait"] = 0.0
    hosts = math.ceil(ranks / figures.ranks_per_host)
    parts = {name: value * math.exp(noise * rng.normal()) for name, value in parts.items()}
    seconds = total / (figures.stream_per_s * hosts) if feed == "stream" else sum(parts.values())
    return {
        "format_version": 1, "feed": feed, "ranks": ranks, "hosts": hosts, "device": "cpu", "threads": 1,
        "batch": {"total": total, "micro": micro, "accumulation": accumulation, "ranks": ranks},
        "zero_stage": figures.traffic.stage, "precision": "float32", "parameters": figures.traffic.parameters,
        "samples_per_s": total / seconds, "step_s": {"median": seconds, "least": seconds, "most": seconds},
        "split_s": parts, "stored_bytes": figures.stored_bytes,
        "collective_bytes": {s.operation: s.bytes for s in figures.traffic.of_step(accumulation)} if ranks > 1 else {},
        "collectives": made_collectives(figures, ranks, noise, rng),
    }  # fmt: skip


def made_collectives(figures: Figures, ranks: int, noise: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    operations: tuple[Operation, ...] = ("all_reduce", "reduce_scatter", "all_gather")
    return [
        {
            "op": op,
            "bytes": size,
            "ranks": ranks,
            "seconds": figures.link.seconds(op, size, ranks) * math.exp(noise * rng.normal()),
        }
        for op in operations
        for size in (4e3, 6.4e4, 1e6, 1.6e7, 6.4e7)
        if ranks > 1
    ]
