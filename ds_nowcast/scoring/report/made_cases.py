"""Makes the cases of a report: reads a window again, forecasts it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import numpy as np
import torch
from numpy.typing import NDArray

from data_prep.frames import Grid
from data_prep.shards.index import Shards
from data_prep.shards.stored import read_sample
from ds_nowcast.exported import ModelCard
from ds_nowcast.model_space import ModelSpace, Windows
from ds_nowcast.models import NowcastModel
from ds_nowcast.scoring.evaluation import persistence_of
from ds_nowcast.scoring.report.cases import Case, chosen_cases
from ds_nowcast.stream.order import window_starts

Baseline = Callable[[Windows, int], torch.Tensor]  # windows, leads -> (B, leads, H, W), model space


def cases_of(
    errors: dict[int, tuple[float, float]],
    model: NowcastModel,
    card: ModelCard,
    shards: Shards,
    split: str,
    baselines: Mapping[str, Baseline] | None = None,
) -> list[Case]:
    """The best, median and worst case, see `chosen_cases`. baselines: by name, persistence alone where not given."""
    shown = {"persistence": persistence_of} if baselines is None else baselines
    return [
        _case(name, window, errors[window], model, card, shards, split, shown)
        for name, window in chosen_cases(errors).items()
    ]


@torch.no_grad()
def _case(
    name: str,
    window: int,
    errors: tuple[float, float],
    model: NowcastModel,
    card: ModelCard,
    shards: Shards,
    split: str,
    baselines: Mapping[str, Baseline],
) -> Case:
    """Where the last input frame saw nothing no forecast claims anything."""
    starts = window_starts(shards.index.frames, card.data(split))
    number, which = divmod(window, len(starts))
    meta, codes_THW = read_sample(shards, split, number)
    frames = slice(starts[which], starts[which] + card.input_frames + card.output_frames)
    codes, unit, device = card.codes, shards.index.unit, next(model.parameters()).device
    windows = ModelSpace(codes, card.input_frames, device).windows(torch.from_numpy(codes_THW[frames])[None].to(device))
    seen_HW = windows.seen_BHW[0].cpu().numpy()
    values_THW = codes.decode(codes_THW[frames], unit)

    def shown(forecast_BTHW: torch.Tensor) -> NDArray[np.float32]:
        forecast_THW = forecast_BTHW[0].float().cpu().clamp(0.0, 1.0).numpy()
        return np.where(seen_HW, codes.from_model(forecast_THW, unit), np.float32(np.nan))

    return Case(
        name,
        meta["key"],
        [datetime.fromisoformat(time) for time in meta["times"][frames]],
        unit,
        Grid.from_dict(meta["grid"]),
        values_THW[: card.input_frames],
        values_THW[card.input_frames :],
        shown(model(windows.past_BTHW)),
        {name: shown(baseline(windows, card.output_frames)) for name, baseline in baselines.items()},
        dict(zip(("model", "persistence"), errors, strict=True)),
    )
