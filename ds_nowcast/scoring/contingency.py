"""Counts of forecast against observed events by lead time and threshold, and the scores of 2 x 2 tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ds_nowcast.scoring.accumulator import Accumulator, Batch, ScoreSetting, lead_counts
from ds_nowcast.scoring.exact import mean, ratio

COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")
SCORES = ("pod", "far", "sucr", "bias", "hss", "ets")


@dataclass(frozen=True)
class Contingency:
    """One 2 x 2 table of forecast against observed events, and the scores made from it (Wilks 2011, chapter 8).

    A score whose denominator is zero is None: undefined, neither 0 nor 1.
    """

    hits: int
    misses: int
    false_alarms: int
    correct_negatives: int

    @property
    def csi(self) -> float | None:
        """Critical success index, hits / (hits + misses + false alarms)."""
        return ratio(self.hits, self.hits + self.misses + self.false_alarms)

    @property
    def pod(self) -> float | None:
        """Probability of detection, hits / (hits + misses)."""
        return ratio(self.hits, self.hits + self.misses)

    @property
    def far(self) -> float | None:
        """False alarm ratio, false alarms / (hits + false alarms)."""
        return ratio(self.false_alarms, self.hits + self.false_alarms)

    @property
    def sucr(self) -> float | None:
        """Success ratio, 1 - FAR."""
        return ratio(self.hits, self.hits + self.false_alarms)

    @property
    def bias(self) -> float | None:
        """Frequency bias, forecast events / observed events."""
        return ratio(self.hits + self.false_alarms, self.hits + self.misses)

    @property
    def hss(self) -> float | None:
        """Heidke skill score, 2 (ad - bc) / ((a + c)(c + d) + (a + b)(b + d))."""
        a, b, c, d = self.hits, self.false_alarms, self.misses, self.correct_negatives
        return ratio(2 * (a * d - b * c), (a + c) * (c + d) + (a + b) * (b + d))

    @property
    def ets(self) -> float | None:
        """Equitable threat score, (a - r) / (a + b + c - r) with r = (a + b)(a + c) / n hits by chance."""
        a, b, c = self.hits, self.false_alarms, self.misses
        n, by_chance = a + b + c + self.correct_negatives, (a + b) * (a + c)  # the latter n times r
        return ratio(n * a - by_chance, n * (a + b + c) - by_chance)


def add_pairs(sums: dict[str, Tensor], column: int, forecast: Tensor, observed: Tensor) -> None:
    """Adds hits, misses and false alarms, in place, of event masks whose axes are B, T and two of space."""
    hits = lead_counts(forecast & observed)
    sums["hits"][:, column] += hits
    sums["misses"][:, column] += lead_counts(observed) - hits
    sums["false_alarms"][:, column] += lead_counts(forecast) - hits


class ContingencyCounts(Accumulator):
    """Hits, misses and false alarms (T, K), valid pixels (T,). A prediction that is NaN is no event."""

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        super().__init__(setting, device)
        by_threshold = (setting.leads, len(setting.labels))
        self.sums = {name: self.zeros(*by_threshold) for name in COUNTS[:3]} | {"pixels": self.zeros(setting.leads)}

    def update(self, batch: Batch) -> None:
        """Adds the valid pixels."""
        self.sums["pixels"].add_(lead_counts(batch.valid_BTHW))

    def add_events(self, column: int, forecast_BTHW: Tensor, observed_BTHW: Tensor) -> None:
        """Adds the events of one threshold."""
        add_pairs(self.sums, column, forecast_BTHW, observed_BTHW)

    def scores(self, sums: dict[str, Tensor], leads: slice) -> dict[str, Any]:
        """From counts pooled over the lead times, but `csi_lead_mean`: the mean of each lead time's CSI."""
        counts = self._counts(sums)
        pooled, lead_mean = {}, {}
        for column, label in enumerate(self.setting.labels):
            by_lead = [[int(n) for n in lead] for lead in counts[leads, column].tolist()]
            pooled[label] = Contingency(*map(sum, zip(*by_lead, strict=True)))
            lead_mean[label] = mean([Contingency(*lead).csi for lead in by_lead])
        by_name = {name: {label: getattr(table, name) for label, table in pooled.items()} for name in ("csi", *SCORES)}
        return {"csi_pooled": by_name.pop("csi"), "csi_lead_mean": lead_mean, **by_name}

    def once(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """The integers behind the scores, by lead time and threshold."""
        counts = dict(zip(COUNTS, self._counts(sums).unbind(-1), strict=True)) | {"pixels": sums["pixels"]}
        return {"counts": {name: numbers.tolist() for name, numbers in counts.items()}}

    def _counts(self, sums: dict[str, Tensor]) -> Tensor:
        """(T, K, 4), in the order of COUNTS."""
        events = [sums[name] for name in COUNTS[:3]]
        return torch.stack([*events, sums["pixels"][:, None] - sum(events)], dim=-1)
