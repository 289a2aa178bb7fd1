"""Measured points: what each number of ranks does in a second, how well it scales, and what holds it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ds_nowcast.projecting.collectives import Sample
from ds_nowcast.projecting.projection import Mode

FED = 0.95  # of the rate without reading: from there on data count as no hindrance
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

    @property
    def per_host(self) -> int:
        """Ranks on the fullest host, when they are dealt out evenly."""
        return -(-self.ranks // self.hosts)

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

    @property
    def fed(self) -> float | None:
        """Rate of full steps against those that read nothing."""
        return None if self.full is None or self.synthetic is None else self.full / self.synthetic


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

    Where full steps come to less than FED of those that read nothing, it is the data: `stream` where the stream alone is
    slower than steps that read nothing, `sharing` where it is fast enough by itself and both want the same cores. Else it is
    what a step spends longest on. Without the rates that this takes, only the step is looked at, its wait for data too.
    """
    fed = rates.fed
    if fed is not None and fed < FED:
        assert rates.synthetic is not None
        if rates.stream is not None and rates.stream < rates.synthetic:
            return "stream", f"full steps reach {fed:.0%} of synthetic ones, and the stream alone is slower than those"
        return "sharing", f"full steps reach {fed:.0%} of synthetic ones, though the stream alone is faster than those"
    known = {part: split_s[part] for part in PARTS if part != "data_wait" or fed is None}
    longest = max(known, key=lambda part: known[part])
    return longest.replace("_", " "), f"{known[longest] / sum(split_s.values()):.0%} of a step"
