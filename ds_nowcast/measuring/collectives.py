"""How long collectives take by size: latency and bandwidth of a process group."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from ds_nowcast.ranks import Ranks

SIZES = tuple(4**n * 2**10 for n in range(1, 9))  # bytes: 4 KB to 64 MB
_SMALL = 2**20  # sizes up to here are repeated more often
_WARM = 2
_MAKE: dict[str, Callable[[torch.Tensor, torch.Tensor], object]] = {  # of the whole and a rank's part of it
    "all_reduce": lambda whole, part: dist.all_reduce(whole),
    "reduce_scatter": lambda whole, part: dist.reduce_scatter_tensor(part, whole),
    "all_gather": lambda whole, part: dist.all_gather_into_tensor(whole, part),
}


def collectives(ranks: Ranks, sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    """Median seconds of each collective at each size, float32, on the run's device; nothing at one rank.

    bytes: of the whole, which is the input of all_reduce and reduce_scatter and the output of all_gather. Every rank must call.
    """
    if ranks.world == 1:
        return []
    return [_timed(op, size, ranks) for op in _MAKE for size in sizes]


def _timed(op: str, size: int, ranks: Ranks) -> dict[str, Any]:
    share = max(1, round(size / 4 / ranks.world))
    whole = torch.zeros(share * ranks.world, dtype=torch.float32, device=ranks.device)
    part, seconds = whole[:share].clone(), list[float]()
    for _ in range(_WARM + (20 if size <= _SMALL else 5)):
        ranks.barrier()
        started = _now(ranks)
        _MAKE[op](whole, part)
        seconds.append(_now(ranks) - started)
    mean = ranks.sum(seconds[_WARM:])
    return {
        "op": op, "bytes": whole.numel() * 4, "seconds": statistics.median(mean) / ranks.world, "ranks": ranks.world,
    }  # fmt: skip


def _now(ranks: Ranks) -> float:
    if ranks.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
