"""What collectives cost: the model of a latency and a bandwidth (Hockney 1994), for rings and for trees.

A message of n bytes takes latency + n / bandwidth. `size` is the bytes of the whole tensor: what an all-reduce sums, what a
reduce-scatter takes in, what an all-gather gives out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Operation = Literal["all_reduce", "reduce_scatter", "all_gather"]
_ROUNDS: dict[Operation, int] = {"all_reduce": 2, "reduce_scatter": 1, "all_gather": 1}  # times round the ring


class Sample(NamedTuple):
    """One measured collective."""

    operation: Operation
    size: float
    ranks: int
    seconds: float


class Terms(NamedTuple):
    """A collective's cost before a link is known: messages after each other, and bytes that pass a rank's link."""

    messages: float
    bytes: float


@dataclass(frozen=True)
class Link:
    """What lies between two neighbours of the ring.

    trees: whether the library also sums along two binary trees, as NCCL does and gloo does not.
    """

    latency_s: float
    bytes_per_s: float
    trees: bool = False

    def seconds(self, operation: Operation, size: float, ranks: int) -> float:
        """Of one collective, by the faster of the algorithms there are."""
        costs = [self._cost(ring(operation, size, ranks))]
        if self.trees and operation == "all_reduce":
            costs.append(self._cost(tree(size, ranks)))
        return min(costs)

    def _cost(self, terms: Terms) -> float:
        return terms.messages * self.latency_s + terms.bytes / self.bytes_per_s


def ring(operation: Operation, size: float, ranks: int) -> Terms:
    """W ranks in a ring (Patarasuk and Yuan 2009): W - 1 messages of n / W bytes a round; an all-reduce has two rounds."""
    rounds = _ROUNDS[operation] * (ranks - 1)
    return Terms(rounds, rounds * size / ranks)


def tree(size: float, ranks: int) -> Terms:
    """An all-reduce along two binary trees, pipelined (Sanders, Speck and Traeff 2009): up and down again."""
    return Terms(2 * math.ceil(math.log2(ranks)), 2.0 * size if ranks > 1 else 0.0)


class Fit(NamedTuple):
    """A link and how well it describes the samples."""

    link: Link
    error: float  # root of the mean squared relative difference of the seconds
    samples: int


def fit_link(samples: Sequence[Sample], *, trees: bool = False) -> Fit | None:
    """The latency and bandwidth of least squared relative error, as of rings; None where no sample has two ranks.

    Neither is negative: where one would be, it is left out. Small messages decide the latency, large ones the bandwidth.
    """
    used = [sample for sample in samples if sample.ranks > 1 and sample.seconds > 0.0]
    if not used:
        return None
    seconds = np.array([sample.seconds for sample in used])
    terms = np.array([ring(sample.operation, sample.size, sample.ranks) for sample in used]) / seconds[:, None]
    found = _not_negative(terms)
    error = float(np.sqrt(np.mean((terms @ found - 1.0) ** 2)))
    per_byte = float(found[1])
    return Fit(Link(float(found[0]), 1.0 / per_byte if per_byte > 0.0 else math.inf, trees), error, len(used))


def _not_negative(
    terms: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Least squares of `terms @ x = 1` with both of x at least 0."""
    scale = np.abs(terms).max(axis=0)
    scale[scale == 0.0] = 1.0
    scaled, ones = terms / scale, np.ones(len(terms))
    both = np.linalg.lstsq(scaled, ones, rcond=None)[0]
    if (both >= 0.0).all():
        return np.asarray(both / scale)
    alone = []
    for column in range(2):
        one = np.zeros(2)
        one[column] = np.linalg.lstsq(scaled[:, [column]], ones, rcond=None)[0][0]
        alone.append(one)
    return np.asarray(min(alone, key=lambda x: float(np.sum((scaled @ x - 1.0) ** 2))) / scale)
