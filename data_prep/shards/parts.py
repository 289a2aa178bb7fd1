"""The shards of a folder one by one, each small enough to be handed to a worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from data_prep.shards.index import Shard, Shards, ShardsIndex
from data_prep.shards.sources import open_source
from data_prep.workers import Pool, WorkerDiedError

Result = TypeVar("Result")


@dataclass(frozen=True)
class ShardPart:
    """One shard. about: the folder's index without splits and builds. first: its first sample's number in the folder."""

    location: str
    about: ShardsIndex
    split: str
    shard: Shard
    first: int

    def open(self) -> Shards:
        """The folder, to read this shard from."""
        return Shards(open_source(self.location), self.about, "")


def parts_of(shards: Shards) -> list[ShardPart]:
    """The shards of all splits, in the index's order. Raises UserError where they lie elsewhere than on a disk."""
    location, first = str(shards.folder), 0
    about = shards.index.model_copy(update={"splits": {}, "builds": []})
    parts = []
    for name, split in shards.index.splits.items():
        for shard in split.shards:
            parts.append(ShardPart(location, about, name, shard, first))
            first += shard.samples
    return parts


def each_part(
    function: Callable[[ShardPart], Result], parts: Sequence[ShardPart], pool: Pool
) -> Iterator[tuple[ShardPart, Result]]:
    """The results in the order of the parts. Raises what the function raises, DataError where a worker died."""
    ready: dict[int, Result] = {}
    answers = pool.run(function, parts)
    try:
        for part in parts:
            while part.first not in ready:
                other, result = next(answers)
                ready[other.first] = result
            yield part, ready.pop(part.first)
    except WorkerDiedError as error:
        raise error.told(f"{error.task.shard.name} was read") from None
