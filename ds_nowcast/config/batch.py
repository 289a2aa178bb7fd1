"""Batch arithmetic: global batch = micro-batch x accumulation x ranks."""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from data_prep.errors import UserError


class Batch(NamedTuple):
    """How one optimizer step's samples are cut up."""

    total: int  # samples of an optimizer step over all ranks (train_batch_size)
    micro: int  # samples of one forward pass of a rank (train_micro_batch_size_per_gpu)
    accumulation: int  # forward passes of a rank per optimizer step (gradient_accumulation_steps)
    ranks: int

    @property
    def per_rank(self) -> int:
        """Samples of an optimizer step that one rank takes."""
        return self.micro * self.accumulation

    @property
    def micros(self) -> list[int]:
        """The micro-batches that cut a rank's samples evenly, ascending."""
        return _divisors(self.per_rank)

    def at(self, ranks: int) -> Batch:
        """The same samples a step at another number of ranks: the largest micro-batch not above this one that fits.

        Raises UserError where the total does not divide over the ranks.
        """
        if self.total % ranks:
            raise UserError(
                f"the run has {self.total} samples a step, which do not divide over {ranks} ranks; {_fitting_ranks(self.total)}"
            )
        share = self.total // ranks
        micro = max(n for n in _divisors(share) if n <= self.micro)
        return Batch(self.total, micro, share // micro, ranks)

    def __str__(self) -> str:
        return f"{self.total} samples a step = micro-batch {self.micro} x accumulation {self.accumulation} x {self.ranks} ranks"


def solve_batch(ranks: int, total: int | None, micro: int | None, accumulation: int | None) -> Batch:
    """Solves the third of the three from any two. Raises UserError where they contradict or do not divide."""
    if [total, micro, accumulation].count(None) > 1:
        raise UserError(
            "give two of train_batch_size, train_micro_batch_size_per_gpu and gradient_accumulation_steps; "
            f"given: train_batch_size={total}, train_micro_batch_size_per_gpu={micro}, gradient_accumulation_steps={accumulation}"
        )
    if total is None:
        assert micro is not None and accumulation is not None
        return Batch(micro * accumulation * ranks, micro, accumulation, ranks)
    if total % ranks:
        raise UserError(f"train_batch_size={total} does not divide over {ranks} ranks; {_fitting_ranks(total)}")
    share = total // ranks
    if micro is None:
        assert accumulation is not None
        micro = _quotient(share, accumulation, "gradient_accumulation_steps", total, ranks)
    elif accumulation is None:
        accumulation = _quotient(share, micro, "train_micro_batch_size_per_gpu", total, ranks)
    elif micro * accumulation != share:
        raise UserError(
            f"train_batch_size={total} is not train_micro_batch_size_per_gpu={micro} x gradient_accumulation_steps={accumulation} "
            f"x {ranks} ranks = {micro * accumulation * ranks}; leave one of the three out and it is solved"
        )
    return Batch(total, micro, accumulation, ranks)


def _quotient(share: int, divisor: int, name: str, total: int, ranks: int) -> int:
    if share % divisor:
        fitting = ", ".join(str(n) for n in _divisors(share))
        raise UserError(
            f"train_batch_size={total} gives each of {ranks} ranks {share} samples, "
            f"which {name}={divisor} does not divide; give --set {name}= one of {fitting}"
        )
    return share // divisor


def _fitting_ranks(total: int) -> str:
    return "give a number of ranks that divides it: " + ", ".join(str(n) for n in _divisors(total))


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
