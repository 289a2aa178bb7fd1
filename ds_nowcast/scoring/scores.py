"""Scores of forecasts as sums that add up over batches and ranks and are divided once, at the end.

Names: B samples, T lead times, H, W pixels, K thresholds. A pixel is an event when its value is `>=` the threshold;
predictions and targets are in model space [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

ERROR_UNIT = 2.0**-24  # of squared and absolute errors, per pixel: about float32's own resolution at 1
COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")


@dataclass(frozen=True)
class ScoreSums:
    """Sums over the pixels seen so far, by lead time (T,) and threshold (K,).

    Counts are int64. Each pixel's error is rounded to a multiple of `ERROR_UNIT` before it is added in float64: such
    sums are exact below 2^29, so, like the counts, they do not depend on the order of batches or the number of ranks.
    Beyond (a diverged model) they agree to float64's resolution. A prediction that is NaN is no event, and makes the
    errors NaN.
    """

    hits: Tensor  # (T, K)
    misses: Tensor  # (T, K)
    false_alarms: Tensor  # (T, K)
    correct_negatives: Tensor  # (T, K)
    pixels: Tensor  # (T,) valid pixels
    squared_error: Tensor  # (T,) float64
    absolute_error: Tensor  # (T,) float64

    @classmethod
    def zero(cls, leads: int, thresholds: int, device: torch.device | str = "cpu") -> ScoreSums:
        """Nothing seen yet."""
        per_lead = {"pixels": torch.int64, "squared_error": torch.float64, "absolute_error": torch.float64}
        return cls(
            **{name: torch.zeros(leads, thresholds, dtype=torch.int64, device=device) for name in COUNTS},
            **{name: torch.zeros(leads, dtype=dtype, device=device) for name, dtype in per_lead.items()},
        )

    @torch.no_grad()
    def update(
        self,
        prediction_BTHW: Tensor,
        target_BTHW: Tensor,
        valid_BTHW: Tensor,
        weight_B: Tensor,
        threshold_model: Tensor,
    ) -> None:
        """Adds a batch, in place, without waiting for the device.

        valid_BTHW: bool, False where the radar did not see (whatever the target holds there).
        weight_B: bool or 0/1, 0 for samples that only pad a rank's share. threshold_model: (K,) float32.
        """
        assert prediction_BTHW.shape == target_BTHW.shape == valid_BTHW.shape
        assert threshold_model.shape == self.hits.shape[1:] and prediction_BTHW.shape[1:2] == self.pixels.shape
        valid_BTHW = valid_BTHW & weight_B.bool()[:, None, None, None]
        prediction_BTHW, target_BTHW = prediction_BTHW.float(), target_BTHW.float()
        self.pixels.add_(_lead_counts(valid_BTHW))
        self._add_errors(torch.where(valid_BTHW, prediction_BTHW - target_BTHW, 0.0))
        # minus infinity reaches no threshold: one comparison then asks "valid and an event"
        prediction_BTHW = torch.where(valid_BTHW, prediction_BTHW, -math.inf)
        target_BTHW = torch.where(valid_BTHW, target_BTHW, -math.inf)
        for column, threshold in enumerate(threshold_model):
            self._add_events(column, prediction_BTHW >= threshold, target_BTHW >= threshold)
        torch.sub(self.pixels[:, None], self.hits + self.misses + self.false_alarms, out=self.correct_negatives)

    def _add_errors(self, error_BTHW: Tensor) -> None:
        for total, per_pixel in ((self.squared_error, error_BTHW.square()), (self.absolute_error, error_BTHW.abs())):
            total.add_(_lead_sums(per_pixel.div_(ERROR_UNIT).round_().mul_(ERROR_UNIT)))

    def _add_events(self, column: int, forecast_BTHW: Tensor, observed_BTHW: Tensor) -> None:
        hits = _lead_counts(forecast_BTHW & observed_BTHW)
        self.hits[:, column] += hits
        self.misses[:, column] += _lead_counts(observed_BTHW) - hits
        self.false_alarms[:, column] += _lead_counts(forecast_BTHW) - hits

    def merge(self, other: ScoreSums) -> None:
        """Adds another's sums (of other batches), in place."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine.add_(theirs)

    def tensors(self) -> tuple[Tensor, ...]:
        """All sums, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def to_vector(self) -> Tensor:
        """All sums in one float64 vector, so that one all-reduce (sum) merges ranks; counts are exact below 2^53."""
        return torch.cat([tensor.reshape(-1).double() for tensor in self.tensors()])

    @classmethod
    def from_vector(cls, vector: Tensor, leads: int, thresholds: int) -> ScoreSums:
        """The sums that `to_vector` packed, on the vector's device."""
        sums = cls.zero(leads, thresholds, vector.device)
        parts = torch.split(vector, [tensor.numel() for tensor in sums.tensors()])
        for tensor, part in zip(sums.tensors(), parts, strict=True):
            tensor.copy_(part.view(tensor.shape))
        return sums


def _lead_counts(mask_BTHW: Tensor) -> Tensor:
    """True pixels by lead time, (T,) int64."""
    if mask_BTHW.is_cuda:
        return mask_BTHW.sum(dim=(0, 2, 3))
    # on a CPU one sum over several axes is some 14 times slower than counting lead by lead
    return torch.stack([torch.count_nonzero(mask_BHW) for mask_BHW in mask_BTHW.unbind(1)])


def _lead_sums(values_BTHW: Tensor) -> Tensor:
    """Sums by lead time, (T,) float64."""
    if values_BTHW.is_cuda:
        return values_BTHW.sum(dim=(0, 2, 3), dtype=torch.float64)
    return torch.stack([values_BHW.sum(dtype=torch.float64) for values_BHW in values_BTHW.unbind(1)])


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
        return _ratio(self.hits, self.hits + self.misses + self.false_alarms)

    @property
    def pod(self) -> float | None:
        """Probability of detection, hits / (hits + misses)."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def far(self) -> float | None:
        """False alarm ratio, false alarms / (hits + false alarms)."""
        return _ratio(self.false_alarms, self.hits + self.false_alarms)

    @property
    def sucr(self) -> float | None:
        """Success ratio, 1 - FAR."""
        return _ratio(self.hits, self.hits + self.false_alarms)

    @property
    def bias(self) -> float | None:
        """Frequency bias, forecast events / observed events."""
        return _ratio(self.hits + self.false_alarms, self.hits + self.misses)

    @property
    def hss(self) -> float | None:
        """Heidke skill score, 2 (ad - bc) / ((a + c)(c + d) + (a + b)(b + d))."""
        a, b, c, d = self.hits, self.false_alarms, self.misses, self.correct_negatives
        return _ratio(2 * (a * d - b * c), (a + c) * (c + d) + (a + b) * (b + d))


def compute(sums: ScoreSums, labels: list[str]) -> dict[str, Any]:
    """The scores as `scores.json` holds them; `labels` names the K thresholds.

    `csi_pooled`, `csi_lead_mean`, `pod`, `far`, `sucr`, `bias`, `hss`: {label: score}, from counts pooled over lead
    times, but for `csi_lead_mean`: the mean of each lead time's CSI. `mean`: both CSI's means over thresholds. `mse`,
    `mae`: in model space. `by_lead`: the same for each lead time alone. `counts`: the integers behind it, by lead time
    and threshold. What is undefined (0/0, or errors of a prediction that was not finite) is None and left out of means.
    """
    leads, thresholds = sums.hits.shape
    if len(labels) != thresholds or len(set(labels)) != thresholds:
        raise ValueError(f"{thresholds} thresholds need as many different labels, given {labels}")
    sums = ScoreSums(*(tensor.cpu() for tensor in sums.tensors()))
    by_lead = [_scores(_leads(sums, slice(lead, lead + 1)), labels) for lead in range(leads)]
    counts = {name: getattr(sums, name).tolist() for name in (*COUNTS, "pixels")}
    return {**_scores(sums, labels), "by_lead": by_lead, "counts": counts}


def _leads(sums: ScoreSums, which: slice) -> ScoreSums:
    return ScoreSums(*(tensor[which] for tensor in sums.tensors()))


def _scores(sums: ScoreSums, labels: list[str]) -> dict[str, Any]:
    pooled = [_table(sums, slice(None), column) for column in range(len(labels))]
    leads = range(len(sums.pixels))
    csi_pooled = {label: table.csi for label, table in zip(labels, pooled, strict=True)}
    csi_lead_mean = {
        label: _mean([_table(sums, slice(lead, lead + 1), column).csi for lead in leads])
        for column, label in enumerate(labels)
    }
    pixels = int(sums.pixels.sum())
    return {
        "csi_pooled": csi_pooled,
        "csi_lead_mean": csi_lead_mean,
        **{
            name: {label: getattr(table, name) for label, table in zip(labels, pooled, strict=True)}
            for name in ("pod", "far", "sucr", "bias", "hss")
        },
        "mean": {"csi_pooled": _mean(list(csi_pooled.values())), "csi_lead_mean": _mean(list(csi_lead_mean.values()))},
        "mse": _ratio(float(sums.squared_error.sum()), pixels),
        "mae": _ratio(float(sums.absolute_error.sum()), pixels),
    }


def _table(sums: ScoreSums, leads: slice, column: int) -> Contingency:
    return Contingency(*(int(getattr(sums, name)[leads, column].sum()) for name in COUNTS))


def _ratio(numerator: float, denominator: int) -> float | None:
    return numerator / denominator if denominator and math.isfinite(numerator) else None


def _mean(values: list[float | None]) -> float | None:
    """The mean of those that are defined."""
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None
