"""Makes the cases of a report: reads a window again, forecasts it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import torch
from numpy.typing import NDArray

from data_prep.frames import Grid
from data_prep.shards.index import Shards
from data_prep.shards.stored import read_sample
from ds_nowcast.baselines import Baseline
from ds_nowcast.exported import ModelCard
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.models import NowcastModel
from ds_nowcast.scoring.records import WindowRecord
from ds_nowcast.scoring.report.cases import Case, chosen_cases
from ds_nowcast.stream.order import window_starts


def cases_of(
    records: Sequence[WindowRecord],
    model: NowcastModel,
    card: ModelCard,
    shards: Shards,
    split: str,
    baselines: Mapping[str, Baseline],
) -> list[Case]:
    """The best, median and worst case of the windows scored, see `chosen_cases`, with the baselines' forecasts."""
    by_window = {record.window: record for record in records}
    errors = {
        window: (record.mean_squared_error("model"), record.mean_squared_error("persistence"))
        for window, record in by_window.items()
    }
    return [
        _case(name, by_window[window], model, card, shards, split, baselines)
        for name, window in chosen_cases(errors).items()
    ]


@torch.no_grad()
def _case(
    name: str,
    record: WindowRecord,
    model: NowcastModel,
    card: ModelCard,
    shards: Shards,
    split: str,
    baselines: Mapping[str, Baseline],
) -> Case:
    """Where the last input frame saw nothing no forecast claims anything."""
    number = record.window // len(window_starts(shards.index.frames, card.data(split)))
    meta, codes_THW = read_sample(shards, split, number)
    frames = slice(record.start, record.start + card.input_frames + card.output_frames)
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
        {name: record.mean_squared_error(name) for name in record.forecasts},
    )
