"""What a rank hands to collectives in an optimizer step, by ZeRO stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from ds_nowcast.projecting.collectives import Link, Operation


class Sent(NamedTuple):
    """Collectives of one kind in a step."""

    operation: Operation
    bytes: float  # of all of them together, whole tensors
    calls: int


@dataclass(frozen=True)
class Traffic:
    """What decides it.

    width: bytes of a gradient as it is sent, and of a weight as it is gathered. buckets: elements that go at once when
    gradients are summed, and when weights are gathered. scatters: whether gradients of stages 1 and 2 are summed by
    reduce-scatter, as the ZeRO paper has it, instead of DeepSpeed's all-reduce of which a rank keeps its part.
    """

    parameters: int
    width: int
    stage: int
    buckets: tuple[int, int] = (500_000_000, 500_000_000)
    scatters: bool = False

    def of_step(self, accumulation: int) -> list[Sent]:
        """All collectives of a step that carry gradients or weights.

        Rajbhandari et al., ZeRO (2020), section 7: with P the bytes of the parameters, data parallelism and stages 1 and 2
        send 2 P a step and stage 3 sends 3 P; an all-reduce counts twice. DeepSpeed sums gradients once a step at stages 0
        and 1, after every micro-batch at 2 and 3; at stage 3 weights are gathered for each forward and backward pass.
        """
        if self.stage == 0:
            return [self._sent("all_reduce", 1, 0)]
        if self.stage == 3:
            return [self._sent("all_gather", 2 * accumulation, 1), self._sent("reduce_scatter", accumulation, 0)]
        times = accumulation if self.stage == 2 else 1
        return [
            self._sent("reduce_scatter" if self.scatters else "all_reduce", times, 0),
            self._sent("all_gather", 1, 1),
        ]

    def _sent(self, operation: Operation, times: int, bucket: int) -> Sent:
        calls = max(1, math.ceil(self.parameters / self.buckets[bucket]))
        return Sent(operation, float(times * self.parameters * self.width), times * calls)

    def seconds(self, accumulation: int, ranks: int, link: Link) -> float:
        """Of a step's collectives one after the other, with nothing hidden behind computation."""
        return sum(
            sent.calls * link.seconds(sent.operation, sent.bytes / sent.calls, ranks)
            for sent in self.of_step(accumulation)
        )
