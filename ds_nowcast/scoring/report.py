"""What an evaluation shows a person: a table, scores by lead time, and cases as film strips."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.frames import Grid
from data_prep.pictures import Panel, Strip, film_strip, line_charts
from data_prep.shards.index import Shards
from data_prep.shards.stored import read_sample
from ds_nowcast.exported import ModelCard
from ds_nowcast.models import NowcastModel
from ds_nowcast.scoring.evaluation import Scored
from ds_nowcast.stream.order import window_starts

_FORECASTS = ("model", "persistence")


def score_table(scores: dict[str, Any]) -> str:
    """The scores as text: a line per threshold, then the means and errors."""
    task, unit = scores["task"], scores["task"]["thresholds"]["unit"]
    model, persistence = (scores[name] for name in _FORECASTS)
    lines = [
        f"{task['windows']} windows of split {task['split']} ({task['data']}), {task['leads']} leads of {task['cadence_s'] / 60:g} min",
        f"{'threshold ' + unit:>16}  {'CSI':>7} {'persist.':>8}  {'POD':>6} {'FAR':>6} {'bias':>6}",
    ]
    for label in model["csi_pooled"]:
        row = [
            model["csi_pooled"][label],
            persistence["csi_pooled"][label],
            *(model[k][label] for k in ("pod", "far", "bias")),
        ]
        lines.append("{:>16}  {:>7} {:>8}  {:>6} {:>6} {:>6}".format(label, *(_number(value, 3) for value in row)))
    for name, what in (("csi_pooled", "mean CSI, pooled"), ("csi_lead_mean", "mean CSI, by lead")):
        lines.append(f"{what:>17} {_number(model['mean'][name], 4):>7} {_number(persistence['mean'][name], 4):>8}")
    for name in ("mse", "mae"):
        lines.append(
            f"{name.upper() + ' in [0, 1]':>17} {_number(model[name], 4):>7} {_number(persistence[name], 4):>8}"
        )
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def write_pictures(
    folder: Path,
    scores: dict[str, Any],
    scored: Scored,
    model: NowcastModel,
    card: ModelCard,
    shards: Shards,
    split: str,
) -> None:
    """Writes `csi_by_lead.png`, `error_by_lead.png` and `case_best.png`, `case_median.png`, `case_worst.png`.

    Raises UserError where matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_charts(folder, scores)
    for name, window in chosen_cases(scored.errors).items():
        _write_case(folder / f"case_{name}.png", name, window, model, card, shards, split)


def _write_charts(folder: Path, scores: dict[str, Any]) -> None:
    task = scores["task"]
    unit = "(code)" if task["thresholds"]["unit"] == "code" else task["thresholds"]["unit"]
    where = f"{task['split']}: {task['windows']} windows, {task['data']}"
    labels = list(scores["model"]["csi_pooled"])
    csi = [Panel(f"at or above {label} {unit}", _by_lead(scores, "csi_pooled", label)) for label in labels]
    title = f"Critical success index by lead time, {where}"
    line_charts(folder / "csi_by_lead.png", csi, x_label="lead time (min)", y_label="CSI", title=title, from_zero=True)
    errors = [
        Panel("mean squared error", _by_lead(scores, "mse")),
        Panel("mean absolute error", _by_lead(scores, "mae")),
    ]
    title, y_label = f"Errors by lead time, {where}", "error in model space [0, 1]"
    line_charts(
        folder / "error_by_lead.png", errors, x_label="lead time (min)", y_label=y_label, title=title, from_zero=True
    )


def _by_lead(
    scores: dict[str, Any], score: str, label: str | None = None
) -> dict[str, tuple[list[float], list[float]]]:
    """Minutes and a score of each forecast; NaN where it is undefined."""
    task, series = scores["task"], {}
    minutes = [lead * task["cadence_s"] / 60 for lead in range(1, task["leads"] + 1)]
    for name in _FORECASTS:
        values = [lead[score] if label is None else lead[score][label] for lead in scores[name]["by_lead"]]
        series[name] = (minutes, [float("nan") if value is None else value for value in values])
    return series


def chosen_cases(errors: dict[int, tuple[float, float]]) -> dict[str, int]:
    """Windows with the model's best, median and worst error relative to persistence's.

    Only among the half where persistence errs most: a dry or still window shows nothing.
    """
    eventful = sorted(errors, key=lambda window: (-errors[window][1], window))[: max(1, (len(errors) + 1) // 2)]
    ranked = sorted(eventful, key=lambda window: (errors[window][0] / max(errors[window][1], 1e-12), window))
    return {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}


def _write_case(
    path: Path,
    name: str,
    window: int,
    model: NowcastModel,
    card: ModelCard,
    shards: Shards,
    split: str,
) -> None:
    starts = window_starts(shards.index.frames, card.data(split))
    number, which = divmod(window, len(starts))
    meta, codes_THW = read_sample(shards, split, number)
    first, issued, last = (
        starts[which],
        starts[which] + card.input_frames,
        starts[which] + card.input_frames + card.output_frames,
    )
    times = [datetime.fromisoformat(time) for time in meta["times"]]
    codes, unit = card.codes, shards.index.unit
    with torch.no_grad():
        past_BTHW = torch.from_numpy(codes.model_table()[codes_THW[first:issued]])[None]
        device = next(model.parameters()).device
        forecast_THW = model(past_BTHW.to(device))[0].float().cpu().clamp(0.0, 1.0).numpy()
    observed_THW = codes.decode(codes_THW[first:last], unit)
    seen_HW = codes_THW[issued - 1] < codes.missing
    persistence_THW = np.repeat(observed_THW[card.input_frames - 1 : card.input_frames], card.output_frames, 0)
    rows = [
        Strip("Past", observed_THW[: card.input_frames], times[first:issued]),
        Strip("Observed", observed_THW[card.input_frames :], times[issued:last]),
        Strip(
            "Forecast", np.where(seen_HW, codes.from_model(forecast_THW, unit), np.float32(np.nan)), times[issued:last]
        ),
        Strip("Persistence", persistence_THW, times[issued:last]),
    ]
    title = f"{name.capitalize()} case: {meta['key']}, split {split}"
    film_strip(path, rows, unit=unit, grid=Grid.from_dict(meta["grid"]), title=title, lead_from=times[issued - 1])
