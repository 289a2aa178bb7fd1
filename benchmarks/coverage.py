"""Whether every item of an epoch is seen exactly once, over ranks and launches of changing number: by counting, not by argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from ds_nowcast.config import Batch, solve_batch
from ds_nowcast.stream.order import SampleOrder, rank_positions

PositionsOf = Callable[[int, int, int, int], Iterable[int]]  # start, rank, world, stop
_AT_ONCE = 2**20  # items counted together


@dataclass(frozen=True)
class Launch:
    """One launch of a training, from its resume to its stop."""

    batch: Batch
    first: int  # step
    stop: int  # step, not made any more


@dataclass(frozen=True)
class Coverage:
    """What was counted over whole epochs."""

    items: int  # that should be seen
    missing: int
    repeated: int  # seen twice or more
    uneven: int  # ranks of launches with another number of samples than their batch arithmetic says
    launches: int
    worlds: int  # different numbers of ranks
    refused: int  # numbers of ranks that do not divide the batch, tried and refused

    @property
    def exact(self) -> bool:
        """Every item once, and equally many for each rank."""
        return not (self.missing or self.repeated or self.uneven)


def launches(total: int, most: int, steps: int, count: int, rng: np.random.Generator) -> tuple[list[Launch], int]:
    """`count` launches that make `steps` steps of `total` samples, each at a number of ranks up to `most` drawn anew.

    Numbers are drawn from all: those that the batch arithmetic refuses are counted, and others drawn.
    """
    cuts = np.sort(rng.choice(np.arange(1, steps), min(count, steps) - 1, replace=False))
    asked, made, refused = solve_batch(most, total, None, 1), list[Launch](), 0
    for first, stop in pairwise([0, *cuts.tolist(), steps]):
        while True:
            ranks = 2 ** int(rng.integers(most.bit_length())) if rng.random() < 0.5 else int(rng.integers(1, most + 1))
            try:
                made.append(Launch(asked.at(ranks), first, stop))
                break
            except UserError:
                refused += 1
    return made, refused


def positions_of(launch: Launch, rank_positions_of: PositionsOf) -> tuple[NDArray[np.int64], int]:
    """The positions of all ranks of a launch, and how many ranks have another number of them than their batch says."""
    batch, start, stop = launch.batch, launch.first * launch.batch.total, launch.stop * launch.batch.total
    shares = [np.fromiter(rank_positions_of(start, rank, batch.ranks, stop), np.int64) for rank in range(batch.ranks)]
    expected = (launch.stop - launch.first) * batch.per_rank
    return np.concatenate(shares), sum(len(share) != expected for share in shares)


def covered(
    order: SampleOrder,
    samples_per_shard: NDArray[np.int64],
    starts: list[int],
    made: list[Launch],
    *,
    epochs: int = 1,
    refused: int = 0,
    rank_positions_of: PositionsOf = rank_positions,
) -> Coverage:
    """Goes through the launches and counts each item of each of the first `epochs` epochs: a byte an item is held.

    made: launches that reach the end of those epochs. What the last one sees beyond is not counted.
    """
    first_of = np.concatenate([[0], np.cumsum(samples_per_shard)])
    window_of = np.full(max(starts) + 1, -1)
    window_of[starts] = np.arange(len(starts))
    seen, uneven = np.zeros((epochs, order.length), np.uint8), 0
    for launch in made:
        positions, wrong = positions_of(launch, rank_positions_of)
        uneven += wrong
        for part in _parts(positions[positions < epochs * order.length]):
            shard, sample, start = order.table(part).T
            inside = (sample >= 0) & (sample < samples_per_shard[shard]) & (window_of[start] >= 0)
            assert inside.all(), "an item that there is not"
            number = (first_of[shard] + sample) * len(starts) + window_of[start]
            np.add.at(seen, (part // order.length, number), 1)
    return Coverage(
        items=seen.size,
        missing=int((seen == 0).sum()),
        repeated=int((seen > 1).sum()),
        uneven=uneven,
        launches=len(made),
        worlds=len({launch.batch.ranks for launch in made}),
        refused=refused,
    )


def _parts(positions: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for begin in range(0, len(positions), _AT_ONCE):
        yield positions[begin : begin + _AT_ONCE]
