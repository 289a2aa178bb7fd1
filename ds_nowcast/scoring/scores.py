"""All scores of forecasts as sums that add up over batches and ranks and are divided once, at the end.

docs/scores.md defines each. A kind of score is an accumulator in a file of its own; adding one touches its file and the table.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ds_nowcast.scoring.accumulator import Accumulator, Batch
from ds_nowcast.scoring.accumulator import ScoreSetting as ScoreSetting
from ds_nowcast.scoring.contingency import ContingencyCounts
from ds_nowcast.scoring.errors import ModelErrors, PhysicalErrors
from ds_nowcast.scoring.exact import mean, packed, unpack
from ds_nowcast.scoring.fss import FractionsSkill
from ds_nowcast.scoring.pooled import PooledCounts
from ds_nowcast.scoring.quantiles import Quantiles
from ds_nowcast.scoring.spectrum import Spectrum
from ds_nowcast.scoring.ssim import Similarity

ALWAYS: tuple[type[Accumulator], ...] = (ContingencyCounts, ModelErrors)
IN_FULL: tuple[type[Accumulator], ...] = (PhysicalErrors, PooledCounts, Similarity, FractionsSkill, Spectrum, Quantiles)
MEANS = ("csi_pooled", "csi_lead_mean", "csi_pool4", "csi_pool16")  # over thresholds
SEVIR_CODES = (16, 74, 133, 160, 181, 219)  # thresholds of the published tables, vil255


class Scores:
    """The sums of every kind of score, on a device."""

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        self._setting = setting
        self._kinds = [kind(setting, device) for kind in (ALWAYS + IN_FULL if setting.full else ALWAYS)]

    @torch.no_grad()
    def update(self, prediction_BTHW: Tensor, target_BTHW: Tensor, valid_BTHW: Tensor, weight_B: Tensor) -> None:
        """Adds a batch, in place, without waiting for the device.

        valid_BTHW: bool, False where the radar did not see (whatever the others hold there). weight_B: bool or 0/1, 0 for
        samples that only pad a rank's share.
        """
        assert prediction_BTHW.shape == target_BTHW.shape == valid_BTHW.shape
        assert prediction_BTHW.shape[1:] == (self._setting.leads, *self._setting.shape)
        if not len(weight_B):
            return
        valid_BTHW = valid_BTHW & weight_B.bool()[:, None, None, None]
        batch = Batch(prediction_BTHW.float(), target_BTHW.float(), valid_BTHW)
        for kind in self._kinds:
            kind.update(batch)
        # minus infinity reaches no threshold: one comparison then asks "valid and an event"
        forecast_BTHW = torch.where(valid_BTHW, batch.prediction_BTHW, -math.inf)
        observed_BTHW = torch.where(valid_BTHW, batch.target_BTHW, -math.inf)
        for column, threshold in enumerate(self._setting.thresholds_model):
            events = forecast_BTHW >= threshold, observed_BTHW >= threshold
            for kind in self._kinds:
                kind.add_events(column, *events)

    def merge(self, other: Scores) -> None:
        """Adds another's sums (of other batches), in place."""
        for mine, theirs in zip(self._kinds, other._kinds, strict=True):
            mine.merge(theirs)

    def to_vector(self) -> Tensor:
        """All sums in one float64 vector on the device, so that one all-reduce (sum) merges ranks, exactly."""
        return packed(self._tensors())

    def load_vector(self, vector: Tensor) -> None:
        """Takes the sums of all ranks, in place of its own."""
        unpack(vector, self._tensors())

    def _tensors(self) -> list[Tensor]:
        return [total for kind in self._kinds for total in kind.sums.values()]

    def compute(self) -> dict[str, Any]:
        """The scores as `scores.json` holds them: over all lead times, and by_lead: the same for each alone.

        What is undefined (0/0, or errors of a forecast that was not finite) is None and left out of means.
        """
        held = [(kind, kind.fetched()) for kind in self._kinds]
        scores = self._of_leads(held, slice(None))
        scores["by_lead"] = [self._of_leads(held, slice(lead, lead + 1)) for lead in range(self._setting.leads)]
        for kind, sums in held:
            scores |= kind.once(sums)
        return scores

    def _of_leads(self, held: list[tuple[Accumulator, dict[str, Tensor]]], leads: slice) -> dict[str, Any]:
        scores: dict[str, Any] = {}
        for kind, sums in held:
            scores |= kind.scores(sums, leads)
        by_threshold = {name: scores[name] for name in MEANS if name in scores}
        scores["mean"] = {name: mean(list(values.values())) for name, values in by_threshold.items()}
        six = sevir_labels(self._setting)
        if six is not None:
            scores["csi_m"] = {name: mean([values[label] for label in six]) for name, values in by_threshold.items()}
        return scores


def sevir_labels(setting: ScoreSetting) -> list[str] | None:
    """Those of the thresholds that are SEVIR's six; None unless all are there, in codes or kg/m2 of SEVIR's encoding."""
    if setting.encoding.name != "vil255":
        return None
    labels = dict(zip(setting.thresholds_model, setting.labels, strict=True))
    codes = [setting.encoding.to_model(code, "code") for code in SEVIR_CODES]
    return [labels[code] for code in codes] if all(code in labels for code in codes) else None
