"""What steps are made of: the engine and a rank's samples, as a config wants them."""

from __future__ import annotations

from collections.abc import Callable

from data_prep.shards.index import Shards
from ds_nowcast.config import Batch, NowcastKeys, RunConfig
from ds_nowcast.engine import Engine, placing
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.pipeline import CodeStream, training_stream
from ds_nowcast.training.start import FirstModel


def start_engine(
    first: FirstModel, config: RunConfig, batch: Batch, ranks: Ranks, kind: Callable[..., Engine] = Engine
) -> Engine:
    """DeepSpeed's engine over the first model, which at ZeRO 3 no rank ever holds whole. Raises UserError.

    kind: what makes it, of Engine's arguments.
    """
    for_deepspeed = config.for_deepspeed(batch)
    model, keys = first.build(placing(for_deepspeed)), config.nowcast
    return kind(model, for_deepspeed, ranks, compute=keys.compute, ema=keys.ema)


def samples_of(shards: Shards, keys: NowcastKeys, batch: Batch, ranks: Ranks, start: int) -> CodeStream:
    """The rank's share of each optimizer step from position `start` of the order."""
    return training_stream(
        shards, keys.data, keys.seed,
        batch=batch.per_rank, rank=ranks.rank, world=ranks.world, start=start,
        threads=keys.data.threads or ranks.threads, pinned=ranks.device.type == "cuda",
    )  # fmt: skip
