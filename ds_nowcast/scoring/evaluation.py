"""Scores of a model and of baselines over every window of a split, each window once, on any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from data_prep.errors import ExpectedError, SourceError
from data_prep.shards.index import Shards
from ds_nowcast.baselines import Baseline, persistence
from ds_nowcast.config.nowcast_keys import DataKeys, Thresholds
from ds_nowcast.model_space import ModelSpace, in_model_space
from ds_nowcast.ranks import Ranks
from ds_nowcast.scoring.records import WindowRecord, WindowSums, window_sums
from ds_nowcast.scoring.scores import Scores, ScoreSetting
from ds_nowcast.stream.pipeline import StepCodes, evaluation_stream, padding
from ds_nowcast.stream.windows import Sample
from ds_nowcast.threads import one_thread

Predict = Callable[[torch.Tensor], torch.Tensor]  # past (B, T_in, H, W) float32 -> (B, T_out, H, W), model space
MODEL = "model"


class StoppedError(Exception):
    """A rank was asked to stop: the evaluation ended half-way on all of them."""


@dataclass(frozen=True)
class Scored:
    """What an evaluation found; the same on every rank."""

    windows: int
    scores: dict[str, dict[str, Any]]  # by forecast: the model and each baseline
    records: list[WindowRecord]  # of each window; none unless the evaluation is full
    bad: list[Sample]  # those that could not be read; they count as all missing

    @property
    def model(self) -> dict[str, Any]:
        """The model's scores."""
        return self.scores[MODEL]

    @property
    def persistence(self) -> dict[str, Any]:
        """Those of the last observed frame."""
        return self.scores["persistence"]


class Evaluation:
    """How to score on some shards.

    full: every kind of score, and records, not those scores alone by which a training is followed. baselines: by name,
    what else is scored on the same windows and pixels.
    """

    def __init__(
        self,
        shards: Shards,
        split: str,
        data: DataKeys,
        thresholds: Thresholds,
        ranks: Ranks,
        *,
        micro_batch: int,
        max_windows: int | None = None,
        full: bool = False,
        baselines: Mapping[str, Baseline] = {"persistence": persistence.forecast},
    ) -> None:
        self._shards, self._split, self._data, self._ranks = shards, split, data, ranks
        self._micro_batch, self._max_windows, self._baselines = micro_batch, max_windows, baselines
        index = shards.index
        self._setting = ScoreSetting(
            index.codes, index.unit, thresholds, data.output_frames, index.shape, index.pixel, index.pixel_unit, full
        )
        self._thresholds = in_model_space(index.codes, thresholds).to(ranks.device)
        self._space = ModelSpace(index.codes, data.input_frames, ranks.device)

    @torch.no_grad()
    def run(
        self,
        predict: Predict,
        advance: Callable[[int], None] = lambda windows: None,
        stops: Callable[[], bool] = lambda: False,
    ) -> Scored:
        """Scores `predict`, which every rank calls equally often. `advance` hears how many windows were done by all.

        stops: asked before each batch whether this rank wants to stop; where one does, StoppedError is raised on all.
        Raises SourceError on all ranks where one of them cannot get at its samples any more.
        """
        scores = {name: Scores(self._setting, self._ranks.device) for name in (MODEL, *self._baselines)}
        records: list[WindowRecord] = []
        bad: list[Sample] = []
        stream, steps, windows = evaluation_stream(
            self._shards,
            self._split,
            self._data,
            batch=self._micro_batch,
            rank=self._ranks.rank,
            world=self._ranks.world,
            threads=self._data.threads or self._ranks.threads,
            max_windows=self._max_windows,
            pinned=self._ranks.device.type == "cuda",
        )
        done = 0
        with stream:
            for _ in range(steps):
                batch, failure = None, None
                try:
                    batch = next(stream, None) or padding(self._shards, self._data, self._micro_batch)
                except ExpectedError as error:
                    failure = str(error)
                stopping, failing = self._ranks.sum([stops(), batch is None])
                if failing or batch is None:
                    self._end_for(failure)
                if stopping:
                    raise StoppedError
                bad += batch.bad
                records += self._score(predict, batch, scores)
                advance(min(self._micro_batch * self._ranks.world, windows - done))
                done = min(done + self._micro_batch * self._ranks.world, windows)
        return self._merge(windows, scores, records, bad)

    def _end_for(self, failure: str | None) -> NoReturn:
        """Raises SourceError on all ranks: some rank's samples cannot be had any more."""
        reasons = self._ranks.reasons(failure)
        raise SourceError("; ".join(sorted(set(reasons.values())))).at(min(reasons))

    def _score(self, predict: Predict, batch: StepCodes, scores: dict[str, Scores]) -> list[WindowRecord]:
        """Adds a batch to all sums. Only pixels that every forecast can know count: seen in the last input frame."""
        w = self._space.windows(batch.codes_BTHW.to(self._ranks.device, non_blocking=True))
        weight_B = (torch.tensor(batch.positions) >= 0).to(self._ranks.device)
        scored_BTHW = w.valid_BTHW & w.seen_BHW[:, None]
        forecasts = {MODEL: predict(w.past_BTHW).float().clamp(0.0, 1.0)}
        forecasts |= {name: baseline(w, self._data.output_frames) for name, baseline in self._baselines.items()}
        with one_thread():
            for name, forecast_BTHW in forecasts.items():
                scores[name].update(forecast_BTHW, w.target_BTHW, scored_BTHW, weight_B)
            if not self._setting.full:
                return []
            sums = [window_sums(f, w.target_BTHW, scored_BTHW, self._thresholds) for f in forecasts.values()]
        pixels: list[int] = scored_BTHW.sum((1, 2, 3)).tolist()
        return [
            self._record(sample, pixels[row], dict(zip(forecasts, (of[row] for of in sums), strict=True)))
            for row, sample in enumerate(batch.samples)
            if sample.position >= 0
        ]

    def _record(self, sample: Sample, pixels: int, forecasts: dict[str, WindowSums]) -> WindowRecord:
        times = sample.times.split()
        time = times[sample.start + self._data.input_frames - 1] if times else ""
        return WindowRecord(sample.position, sample.key, sample.start, time, pixels, forecasts)

    def _merge(self, windows: int, scores: dict[str, Scores], records: list[WindowRecord], bad: list[Sample]) -> Scored:
        """One reduction for the sums of all forecasts."""
        parts = [one.to_vector() for one in scores.values()]
        merged = torch.split(self._ranks.sum_tensor(torch.cat(parts)), [len(part) for part in parts])
        for one, vector in zip(scores.values(), merged, strict=True):
            one.load_vector(vector)
        everywhere = self._ranks.gather((records, bad))
        return Scored(
            windows,
            {name: one.compute() for name, one in scores.items()},
            [record for part, _ in everywhere for record in part],
            [sample for _, samples in everywhere for sample in samples],
        )


def selected(scores: dict[str, Any], select: str) -> float:
    """A number that is larger the better, for choosing the best step; undefined is worst."""
    value = scores["mean"][select] if select in scores["mean"] else scores[select]
    if value is None or math.isnan(value):
        return float("-inf")
    return float(-value if select in ("mse", "mae") else value)


def headline(scores: dict[str, Any]) -> dict[str, Any]:
    """The few scores told while training: means over thresholds, and errors; None where not finite."""
    told = {name: scores["mean"][name] for name in ("csi_pooled", "csi_lead_mean")} | {
        name: scores[name] for name in ("mse", "mae")
    }
    return {name: value if value is not None and math.isfinite(value) else None for name, value in told.items()}


def comparison(model: dict[str, Any], persistence: dict[str, Any]) -> str:
    """The same in one line beside persistence."""
    ours, theirs = headline(model), headline(persistence)

    def number(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.4f}"

    names = {"csi_pooled": "CSI", "mse": "MSE"}
    return ", ".join(
        f"{shown} {number(ours[name])} (persistence {number(theirs[name])})" for name, shown in names.items()
    )
