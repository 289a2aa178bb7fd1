"""Scores of a model and of persistence over every window of a split, each window once, on any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from data_prep.errors import ExpectedError, SourceError
from data_prep.shards.index import Shards
from ds_nowcast.baselines.persistence import forecast as persistence_of
from ds_nowcast.config.nowcast_keys import DataKeys, Thresholds
from ds_nowcast.model_space import ModelSpace, in_model_space, threshold_labels
from ds_nowcast.ranks import Ranks
from ds_nowcast.scoring.scores import ScoreSums, compute
from ds_nowcast.stream.pipeline import StepCodes, evaluation_stream, padding
from ds_nowcast.stream.windows import Sample

Predict = Callable[[torch.Tensor], torch.Tensor]  # past (B, T_in, H, W) float32 -> (B, T_out, H, W), model space


class StoppedError(Exception):
    """A rank was asked to stop: the evaluation ended half-way on all of them."""


@dataclass(frozen=True)
class Scored:
    """What an evaluation found; the same on every rank."""

    windows: int
    model: dict[str, Any]
    persistence: dict[str, Any]
    errors: dict[int, tuple[float, float]]  # mean squared error of model and persistence by window, for choosing cases
    bad: list[Sample]  # those that could not be read; they count as all missing


class Evaluation:
    """How to score on some shards."""

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
    ) -> None:
        self._shards, self._split, self._data, self._ranks = shards, split, data, ranks
        self._micro_batch, self._max_windows = micro_batch, max_windows
        self._labels = threshold_labels(thresholds)
        self._thresholds = in_model_space(shards.index.codes, thresholds).to(ranks.device)
        self._space = ModelSpace(shards.index.codes, data.input_frames, ranks.device)

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
        leads, device = self._data.output_frames, self._ranks.device
        model = ScoreSums.zero(leads, len(self._labels), device)
        persistence = ScoreSums.zero(leads, len(self._labels), device)
        errors: dict[int, tuple[float, float]] = {}
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
            pinned=device.type == "cuda",
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
                errors |= self._score(predict, batch, model, persistence)
                advance(min(self._micro_batch * self._ranks.world, windows - done))
                done = min(done + self._micro_batch * self._ranks.world, windows)
        return self._merge(windows, model, persistence, errors, bad)

    def _end_for(self, failure: str | None) -> NoReturn:
        """Raises SourceError on all ranks: some rank's samples cannot be had any more."""
        reasons = self._ranks.reasons(failure)
        raise SourceError("; ".join(sorted(set(reasons.values())))).at(min(reasons))

    def _score(
        self, predict: Predict, batch: StepCodes, model: ScoreSums, persistence: ScoreSums
    ) -> dict[int, tuple[float, float]]:
        """Adds a batch to both sums. Only pixels that both can forecast count: seen in the last input frame."""
        positions = torch.tensor(batch.positions)
        w = self._space.windows(batch.codes_BTHW.to(self._ranks.device, non_blocking=True))
        weight_B = (positions >= 0).to(self._ranks.device)
        scored_BTHW = w.valid_BTHW & w.seen_BHW[:, None]
        prediction_BTHW = predict(w.past_BTHW).float().clamp(0.0, 1.0)
        model.update(prediction_BTHW, w.target_BTHW, scored_BTHW, weight_B, self._thresholds)
        last_BTHW = persistence_of(w, self._data.output_frames)
        persistence.update(last_BTHW, w.target_BTHW, scored_BTHW, weight_B, self._thresholds)
        errors = [_errors(forecast, w.target_BTHW, scored_BTHW) for forecast in (prediction_BTHW, last_BTHW)]
        return {p: (e, f) for p, e, f in zip(batch.positions, *errors, strict=True) if p >= 0}

    def _merge(
        self,
        windows: int,
        model: ScoreSums,
        persistence: ScoreSums,
        errors: dict[int, tuple[float, float]],
        bad: list[Sample],
    ) -> Scored:
        scores = []
        for sums in (model, persistence):
            vector = self._ranks.sum_tensor(sums.to_vector())
            scores.append(
                compute(ScoreSums.from_vector(vector, self._data.output_frames, len(self._labels)), self._labels)
            )
        everywhere = self._ranks.gather((errors, bad))
        merged = {position: error for part, _ in everywhere for position, error in part.items()}
        return Scored(
            windows, scores[0], scores[1], merged, [sample for _, samples in everywhere for sample in samples]
        )


def _errors(forecast_BTHW: torch.Tensor, target_BTHW: torch.Tensor, scored_BTHW: torch.Tensor) -> list[float]:
    """(B,) mean squared errors over the scored pixels; 0 where there are none."""
    squared_B = torch.where(scored_BTHW, (forecast_BTHW - target_BTHW).square(), 0.0).sum((1, 2, 3))
    means: list[float] = (squared_B / scored_BTHW.sum((1, 2, 3)).clamp(min=1)).tolist()
    return means


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
