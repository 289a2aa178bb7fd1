"""All that a study found, for machines: `scaling.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ds_nowcast.projecting.collectives import Fit, Link
from ds_nowcast.projecting.fitting import Checked
from ds_nowcast.projecting.outlook import Outlook
from ds_nowcast.projecting.points import Point, Rates, bottleneck, of_mode
from ds_nowcast.projecting.projection import Figures

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Report:
    """What was measured, what was made of it, and how right that is."""

    title: str  # model, ZeRO stage, device
    points: Sequence[Point]
    rates: Sequence[Rates]
    failed: Mapping[str, str]
    figures: Figures | None = None  # None where nothing could be fitted
    link: Fit | None = None  # to timed collectives; None where there are none
    checked: Sequence[Checked] = ()
    outlooks: Sequence[Outlook] = ()
    notes: Sequence[str] = ()
    sent_bytes: float = 0.0  # that a rank was seen to hand to collectives in a step, at the most ranks
    expected_bytes: float = 0.0  # that its ZeRO stage says

    def rates_at(self, ranks: int) -> Rates:
        """Of a number of ranks; nothing known where nothing was measured."""
        return next((rate for rate in self.rates if rate.ranks == ranks), Rates(ranks, 1, None, None, None))

    def first(self, point: Point) -> Point:
        """The point that efficiency is against."""
        return of_mode(self.points, point.mode)[0]

    @property
    def error(self) -> float:
        """The largest relative error at the points that were held back; 0 where none were."""
        return max((abs(one.error) for one in self.checked), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """`scaling.json`; numbers that are not known, or not bounded, are null."""
        return {
            "format_version": FORMAT_VERSION,
            "title": self.title,
            "points": [self._point(point) for point in self.points],
            "rates": [vars(rate) for rate in self.rates],
            "failed": dict(self.failed),
            "figures": None if self.figures is None else figures_json(self.figures),
            "link_timed": None if self.link is None else link_json(self.link.link) | {"error": self.link.error},
            "traffic": {"measured_bytes": self.sent_bytes, "expected_bytes": self.expected_bytes},
            "held_back": [{**one._asdict(), "error": one.error} for one in self.checked],
            "projection": [one.to_json() for one in self.outlooks],
            "notes": list(self.notes),
        }

    def _point(self, point: Point) -> dict[str, Any]:
        name, why = bottleneck(point.split_s, self.rates_at(point.ranks))
        return {
            "mode": point.mode,
            "ranks": point.ranks,
            "hosts": point.hosts,
            "samples_per_step": point.total,
            "samples_per_s": point.samples_per_s,
            "efficiency": point.efficiency(self.first(point)),
            "step_s": point.step_s,
            "split_s": dict(point.split_s),
            "bottleneck": name,
            "because": why,
        }


def figures_json(figures: Figures) -> dict[str, Any]:
    """What a projection was made from."""
    bounded = {name: value for name, value in vars(figures).items() if isinstance(value, int | float)}
    return {
        **{name: value if math.isfinite(value) else None for name, value in bounded.items()},
        "link": link_json(figures.link),
        "traffic": vars(figures.traffic),
    }


def link_json(link: Link) -> dict[str, Any]:
    """A link; null where its bandwidth has no bound."""
    return {name: value if math.isfinite(value) else None for name, value in vars(link).items()}
