"""Chosen windows forecast once more, to be looked at: only sums are kept of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import torch
from numpy.typing import NDArray

from data_prep.frames import Grid
from data_prep.shards.index import Shards
from data_prep.shards.stored import read_sample
from ds_nowcast.exported import ModelCard
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.scoring.evaluation import MODEL, Baseline, Predict
from ds_nowcast.scoring.records import WindowRecord
from ds_nowcast.scoring.report import Case, chosen_cases
from ds_nowcast.stream.order import window_starts


def cases_of(
    records: Sequence[WindowRecord],
    predict: Predict,
    baselines: Mapping[str, Baseline],
    card: ModelCard,
    shards: Shards,
    split: str,
    device: torch.device,
) -> list[Case]:
    """The model's best, median and worst window, with every baseline's forecast. Raises DataError where one is damaged."""
    errors = {
        record.window: (record.mean_squared_error(MODEL), record.mean_squared_error("persistence"))
        for record in records
    }
    by_window = {record.window: record for record in records}
    return [
        _case(name, by_window[window], predict, baselines, card, shards, split, device)
        for name, window in chosen_cases(errors).items()
    ]


@torch.no_grad()
def _case(
    name: str,
    record: WindowRecord,
    predict: Predict,
    baselines: Mapping[str, Baseline],
    card: ModelCard,
    shards: Shards,
    split: str,
    device: torch.device,
) -> Case:
    number = record.window // len(window_starts(shards.index.frames, card.data(split)))
    meta, codes_THW = read_sample(shards, split, number)
    codes_THW = codes_THW[record.start : record.start + card.input_frames + card.output_frames]
    codes, unit = card.codes, shards.index.unit
    w = ModelSpace(codes, card.input_frames, device).windows(torch.from_numpy(codes_THW)[None].to(device))
    seen_HW = codes_THW[card.input_frames - 1] < codes.missing

    def in_unit(forecast_BTHW: torch.Tensor) -> NDArray[np.float32]:
        values_THW = codes.from_model(forecast_BTHW[0].float().cpu().clamp(0.0, 1.0).numpy(), unit)
        return np.where(seen_HW, values_THW, np.float32(np.nan))

    decoded_THW = codes.decode(codes_THW, unit)
    times = meta["times"][record.start : record.start + len(codes_THW)]
    return Case(
        name=name,
        key=meta["key"],
        times=[datetime.fromisoformat(time) for time in times],
        unit=unit,
        grid=Grid.from_dict(meta["grid"]),
        past_THW=decoded_THW[: card.input_frames],
        observed_THW=decoded_THW[card.input_frames :],
        forecast_THW=in_unit(predict(w.past_BTHW)),
        baselines={name: in_unit(baseline(w, card.output_frames)) for name, baseline in baselines.items()},
        errors={name: record.mean_squared_error(name) for name in record.forecasts},
    )
