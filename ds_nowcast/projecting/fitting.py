"""A projection's figures out of measured points, and how far off they are at points that were held back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

from ds_nowcast.projecting.collectives import Link
from ds_nowcast.projecting.points import Point, Rates, of_mode
from ds_nowcast.projecting.projection import Batch, Figures, Mode, batch_at, step
from ds_nowcast.projecting.traffic import Traffic

_REACH = 2  # times the ranks on a host that were measured: so far the line of `_compute` is followed beyond them


@dataclass(frozen=True)
class Given:
    """What is not fitted to points."""

    traffic: Traffic
    link: Link
    ranks_per_host: int
    stored_bytes: float
    file_system_bytes_per_s: float = math.inf


class Checked(NamedTuple):
    """A prediction of a point that the figures were not fitted to."""

    mode: Mode
    ranks: int
    fitted_to: tuple[int, ...]  # ranks of the points that the figures are from
    predicted: float  # samples a second
    measured: float

    @property
    def error(self) -> float:
        """Relative, of the prediction."""
        return self.predicted / self.measured - 1.0


def fit(points: Sequence[Point], rates: Iterable[Rates], given: Given) -> Figures:
    """Figures of least squares; at least one point. See docs/scaling.md for what each is found from."""
    neighbours = [min(point.ranks, given.ranks_per_host) - 1 for point in points]
    compute, crowding = _compute(points, neighbours)
    exposed, waiting = _communication(points, given)
    few = [point for point in points if point.ranks == min(point.ranks for point in points)]
    shared = [point.split_s["optimizer"] * (point.ranks if given.traffic.stage else 1) for point in few]
    figures = Figures(
        compute_s=compute,
        optimizer_s=fmean(shared),
        other_s=0.0,
        traffic=given.traffic,
        link=given.link,
        ranks_per_host=given.ranks_per_host,
        crowding=crowding,
        crowded_to=_REACH * (1 + max(neighbours)),
        exposed=exposed,
        waiting_s=waiting,
        stream_per_s=_stream(rates),
        stored_bytes=given.stored_bytes,
        file_system_bytes_per_s=given.file_system_bytes_per_s,
    )
    return _with_rest(figures, points)


def _compute(points: Sequence[Point], neighbours: Sequence[int]) -> tuple[float, float]:
    """Seconds a sample of a rank alone, and how much they grow with each neighbour: a line through the points, never falling."""
    seconds = [point.split_s["compute"] / point.per_rank for point in points]
    middle, mean = fmean(neighbours), fmean(seconds)
    spread = sum((n - middle) ** 2 for n in neighbours)
    slope = sum((n - middle) * (s - mean) for n, s in zip(neighbours, seconds, strict=True)) / spread if spread else 0.0
    alone = mean - slope * middle
    if slope <= 0.0 or alone <= 0.0:
        return mean, 0.0
    return alone, slope / alone


def _communication(points: Sequence[Point], given: Given) -> tuple[float, float]:
    """Share of the predicted time of collectives that is seen, 0 to 1, and what is seen beyond it.

    More than the collectives' own time is no communication: ranks come to a collective one after the other, and the first
    waits. Without a point of two ranks nothing is hidden and nobody waits.
    """
    pairs = [
        (given.traffic.seconds(point.accumulation, point.ranks, given.link), point.split_s["communication"])
        for point in points
        if point.ranks > 1
    ]
    if not pairs:
        return 1.0, 0.0
    weight = sum(predicted**2 for predicted, _ in pairs)
    seen = sum(predicted * measured for predicted, measured in pairs) / weight if weight else 1.0
    share = min(1.0, seen)
    return share, max(0.0, fmean(measured - share * predicted for predicted, measured in pairs))


def _stream(rates: Iterable[Rates]) -> float:
    """Of a host, where most ranks shared it."""
    known = [(rate.ranks / rate.hosts, rate.stream / rate.hosts) for rate in rates if rate.stream is not None]
    return max(known, default=(0.0, math.inf))[1]


def _with_rest(figures: Figures, points: Sequence[Point]) -> Figures:
    """`other_s`: what is left of the points' steps, waits for data included that the stream's rate does not explain."""
    rests = []
    for point in points:
        found = step(figures, point.ranks, Batch(point.per_rank, point.accumulation))
        split = point.split_s
        work = split["compute"] + split["communication"] + split["optimizer"]
        rests.append(point.step_s - work - min(split["data_wait"], found.data_wait))
    return replace(figures, other_s=max(0.0, fmean(rests)))


def held_back(points: Sequence[Point], rates: Sequence[Rates], given: Given) -> list[Checked]:
    """Predictions of the points of most ranks from those of fewer; none where all have as many."""
    most = max((point.ranks for point in points), default=0)
    fewer = [point for point in points if point.ranks < most]
    base = of_mode(points, "weak")
    if not fewer or not base:
        return []
    figures = fit(fewer, [rate for rate in rates if rate.ranks < most], given)
    counts = tuple(sorted({point.ranks for point in fewer}))
    found = []
    for point in (point for point in points if point.ranks == most):
        batch = batch_at(point.mode, most, Batch(base[0].per_rank, base[0].accumulation), point.total)
        assert batch is not None
        found.append(Checked(point.mode, most, counts, step(figures, most, batch).samples_per_s, point.samples_per_s))
    return found
