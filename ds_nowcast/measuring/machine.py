"""What a rank takes of its machine, and what its samples weigh."""

from __future__ import annotations

from contextlib import suppress

import torch

from data_prep.errors import ExpectedError
from data_prep.shards.index import Shards
from ds_nowcast.config import Batch, NowcastKeys
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.order import rank_positions, training_order
from ds_nowcast.stream.windows import Windows

_WEIGHED = 256  # samples whose compressed sizes are looked up


def device_name(device: torch.device) -> str:
    """The GPU's, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def sample_bytes(shards: Shards, keys: NowcastKeys) -> int:
    """Codes of a window."""
    rows, columns = shards.index.shape
    return keys.data.window * rows * columns * shards.index.codes.dtype.itemsize


def stored_bytes(shards: Shards, keys: NowcastKeys, batch: Batch, ranks: Ranks, steps: int) -> float:
    """Mean of the compressed bytes that this rank's first steps read for a sample's frames; 0 where none can be read."""
    windows, order = Windows(shards, keys.data.split), training_order(shards, keys.data, keys.seed)
    positions = rank_positions(0, ranks.rank, ranks.world, steps * batch.total)
    sizes = list[int]()
    for item in order.items(list(positions)[:_WEIGHED]):
        with suppress(OSError, ValueError, ExpectedError):  # a damaged sample, which reading has told of
            sizes.append(windows.stored_bytes(item, keys.data.window))
    return sum(sizes) / max(len(sizes), 1)
