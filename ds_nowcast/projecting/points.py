"""Measured points: what each number of ranks does in a second, how well it scales, and what holds it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ds_nowcast.projecting.collectives import Sample
from ds_nowcast.projecting.projection import Mode

WAITS = 0.05  # of a step, for data: more of it counts as a hindrance
FED = 0.95  # of the rate without reading: less of it counts as one
PARTS = ("compute", "communication", "data_wait", "optimizer", "other")


@dataclass(frozen=True)
class Point:
    """Full steps at so many ranks, as `ds_nowcast.measure` found them."""

    mode: Mode
    ranks: int
    hosts: int
    total: int  # samples of a step
    accumulation: int
    samples_per_s: float
    step_s: float
    split_s: Mapping[str, float]  # PARTS

    @property
    def per_rank(self) -> float:
        """Samples of a step that a rank works on."""
        return self.total / self.ranks

    def efficiency(self, first: Point) -> float:
        """Samples a second for each rank against those of `first`, the point of fewest ranks."""
        return (self.samples_per_s / self.ranks) / (first.samples_per_s / first.ranks)


@dataclass(frozen=True)
class Rates:
    """Samples a second at so many ranks, of what makes up a training one by one. None where it was not measured."""

    ranks: int
    hosts: int
    stream: float | None  # reading, decoding and copying, with no model
    synthetic: float | None  # steps on samples that lie in memory
    full: float | None
    full_at_best: float | None = None  # as if every full step were as fast as the fastest of them


def point_of(mode: Mode, result: Mapping[str, Any]) -> Point:
    """From what `ds_nowcast.measure --feed full` wrote."""
    batch = result["batch"]
    return Point(
        mode=mode,
        ranks=result["ranks"],
        hosts=result["hosts"],
        total=batch["total"],
        accumulation=batch["accumulation"],
        samples_per_s=result["samples_per_s"],
        step_s=result["step_s"]["median"],
        split_s={part: result["split_s"][part] for part in PARTS},
    )


def samples_of(result: Mapping[str, Any]) -> list[Sample]:
    """The timed collectives of a result, if it has any."""
    return [Sample(one["op"], one["bytes"], one["ranks"], one["seconds"]) for one in result.get("collectives", ())]


def of_mode(points: Iterable[Point], mode: Mode) -> list[Point]:
    """Those points by number of ranks."""
    return sorted((point for point in points if point.mode == mode), key=lambda point: point.ranks)


def bottleneck(split_s: Mapping[str, float], rates: Rates) -> tuple[str, str]:
    """What holds a number of ranks back, by name, and why.

    Where a step waits for data for more than WAITS of it, that is `stream`, if the stream alone is slower than steps that
    read nothing or either was not measured, else `sharing`: the stream is fast enough by itself, but not beside computation. Where
    a step does not wait and even the fastest is slower than FED of those that read nothing, it is `sharing` too: reading
    takes cores that computation wants. Else it is what a step spends longest on.
    """
    waits = split_s["data_wait"] / sum(split_s.values())
    if waits > WAITS:
        why = f"a step waits {waits:.0%} for data"
        if rates.stream is None or rates.synthetic is None:
            return "stream", why
        slower = rates.stream < rates.synthetic
        alone = "slower" if slower else "faster"
        return "stream" if slower else "sharing", f"{why}; alone the stream is {alone} than synthetic steps"
    if rates.full_at_best is not None and rates.synthetic is not None and rates.full_at_best < FED * rates.synthetic:
        share = rates.full_at_best / rates.synthetic
        return "sharing", f"without waiting for data, the fastest full step has {share:.0%} of synthetic ones' rate"
    longest = max(PARTS, key=lambda part: split_s[part])
    return longest.replace("_", " "), f"{split_s[longest] / sum(split_s.values()):.0%} of a step"
