"""What gradients and the buffers of their reduction hold while the backward pass makes them, one parameter after another.

Each class is told of a gradient by `add` and says what it needs while it takes it; `held` is what it keeps then, and
`finish` what it needs at the end of the last backward pass of a step.
"""

from __future__ import annotations

from ds_nowcast.planning.states import owned, parts_of_ranks
from ds_nowcast.planning.training import Training

_BUCKET_OF_STAGE_0 = 500_000_000  # elements, MEMORY_OPT_ALLREDUCE_SIZE of deepspeed/runtime/engine.py


class Whole:
    """Stage 0: gradients stay, and are reduced at the end of the step in flat copies."""

    def __init__(self, training: Training) -> None:
        self._t = training
        self.held = training.summed_width * training.total if training.accumulation > 1 else 0

    def add(self, parameter: int) -> int:
        """Bytes while this gradient is taken."""
        if self._t.accumulation == 1:
            self.held += self._t.width * self._t.parameters[parameter]
        return self.held

    def finish(self) -> int:
        """Bytes while they are reduced."""
        return self.held + self._t.sent_width * min(self._t.total, _BUCKET_OF_STAGE_0)


class Bucketed:
    """Stages 1 and 2: copied into a bucket; a full one is copied again, rank by rank, and summed. A rank keeps what it owns.

    At stage 1 all gradients wait for the end of the backward pass, at stage 2 (or with overlap_comm) none does.
    """

    def __init__(self, training: Training) -> None:
        t = self._t = training
        self._at_once = t.zero.stage == 2 or bool(t.zero.overlap_comm)
        self._offloads = t.zero.offloads_optimizer
        self._converts = t.sent_width != t.width  # then a gradient outlives its copy in the bucket
        most = max(parts_of_ranks(t), key=lambda numbers: sum(t.parameters[number] for number in numbers))
        self._owned = set(most)
        self._waiting = 0  # elements of gradients that are not reduced yet, nor in the bucket
        self._bucket: list[int] = []
        self._filled = self._most_filled = self._kept = 0
        self._before = 0  # bytes summed in earlier micro-batches
        if t.accumulation > 1 and self._at_once and not self._offloads:
            self._before = t.summed_width * owned(t)
        elif t.accumulation > 1 and not self._at_once:
            self._waiting = t.total

    @property
    def held(self) -> int:
        """Bytes of gradients and of the buffers that are in use."""
        t, kept = self._t, self._kept
        bucket = self._most_filled
        if t.device == "cuda":  # memory is taken when a buffer is made, not when it is used
            bucket = t.zero.reduce_bucket_size * (2 if t.zero.overlap_comm else 1) if self._most_filled else 0
            kept = sum(t.parameters[number] for number in self._owned) if kept else 0
        waiting = t.summed_width if not self._at_once and t.accumulation > 1 else t.width
        return self._before + self._waiting * waiting + bucket * t.sent_width + kept * t.width

    def add(self, parameter: int) -> int:
        """Bytes while this gradient is taken."""
        if not self._at_once:
            if self._t.accumulation == 1:
                self._waiting += self._t.parameters[parameter]
            return self.held
        self._waiting += self._t.parameters[parameter]
        return self._reduce(parameter)

    def finish(self) -> int:
        """Bytes while the rest is reduced."""
        most = self.held
        if not self._at_once:
            most = max([most, *(self._reduce(number) for number in range(len(self._t.parameters)))])
        return max(most, self._flush())

    def _reduce(self, parameter: int) -> int:
        size, limit, most = self._t.parameters[parameter], self._t.zero.reduce_bucket_size, self.held
        if self._bucket and self._filled + size > limit:
            most = max(most, self._flush())
        if size > limit:
            most = max(most, self.held + self._copies(size), self._keep([parameter], most))
            self._waiting -= size
            return max(most, self.held)
        self._bucket.append(parameter)
        self._filled += size
        self._most_filled = max(self._most_filled, self._filled)
        most = max(most, self.held)
        if not self._converts:
            self._waiting -= size
        return most

    def _flush(self) -> int:
        most = max(self.held + self._copies(self._filled), self._keep(self._bucket, 0))
        if self._converts:
            self._waiting -= self._filled
        self._bucket, self._filled = [], 0
        return most

    def _copies(self, size: int) -> int:
        """A bucket of several ranks' gradients is cut up and laid end to end anew."""
        return size * self._t.sent_width if self._t.ranks > 1 else 0

    def _keep(self, parameters: list[int], most: int) -> int:
        if not self._offloads:
            self._kept += sum(self._t.parameters[number] for number in parameters if number in self._owned)
        return max(most, self.held)


class Scattered:
    """Stage 3: copied into the bucket, which is there for good; a full one is copied and each rank gets its part."""

    def __init__(self, training: Training) -> None:
        self._t, self._filled, self.held = training, 0, 0

    def add(self, parameter: int) -> int:
        """Bytes while this gradient is taken."""
        t, size = self._t, self._t.parameters[parameter]
        most = t.width * size
        if self._filled and self._filled + size > t.zero.reduce_bucket_size:
            most += self._filled * t.sent_width
            self._filled = 0
        if size > t.zero.reduce_bucket_size:
            return max(most, size * (t.width + t.sent_width))
        self._filled += size
        return most

    def finish(self) -> int:
        """Bytes while the rest is reduced."""
        return self._filled * self._t.sent_width


def gradients_of(training: Training) -> Whole | Bucketed | Scattered:
    """The gradients of the training's ZeRO stage at the start of the last backward pass of a step."""
    if training.zero.stage == 0:
        return Whole(training)
    return Bucketed(training) if training.zero.stage < 3 else Scattered(training)
