"""A comparison for machines (`compare.json`, `compare.csv`) and as a picture (`compare.png`)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.files import write_atomically
from data_prep.pictures.intervals import Dot, Dots, interval_chart
from ds_nowcast.comparing.bootstrap import LEVEL, Estimate
from ds_nowcast.comparing.comparison import Comparison

JSON_NAME, CSV_NAME, PICTURE_NAME = "compare.json", "compare.csv", "compare.png"
_COLUMNS = ("forecast", "kind", "quantity", "reference", "score", "threshold", "value", "low", "high", "excludes_0")


def to_json(found: Comparison) -> dict[str, Any]:
    """All of it; null where undefined."""
    task = found.matched.runs[0].task.model_dump(mode="json", exclude={"model", "data", "frames"})
    return {
        "task": task,
        "level": LEVEL,
        "resamples": found.resamples,
        "seed": found.seed,
        "blocks": {"by": found.blocks.by, "count": found.blocks.count},
        "notes": found.notes,
        "forecasts": [_forecast(found, i) for i in range(len(found.names))],
    }


def _forecast(found: Comparison, i: int) -> dict[str, Any]:
    about: dict[str, Any] = {"name": found.names[i], "kind": "baseline"}
    if i < len(found.matched.runs):
        run = found.matched.runs[i]
        about.update(kind="run", folder=str(run.folder), data=run.task.data, model=run.task.model.model_dump())
    about["scores"] = _scores(found, found.scores_SM, i, False)
    if i > 0:
        about["difference"] = _scores(found, found.difference_SM, i, True)
    skill = {name: _scores(found, by, i, False) for name, by in found.skill_SM.items() if name != found.names[i]}
    return {**about, "skill": skill}


def _scores(found: Comparison, estimates: Estimate, i: int, tested: bool) -> dict[str, Any]:
    """By score, of `csi_pooled` by threshold: value, low, high and, of a difference, whether its interval excludes 0."""
    scores: dict[str, Any] = {}
    for place, column in enumerate(found.columns):
        numbers = _numbers(estimates, i, place)
        if tested:
            numbers["excludes_0"] = None if numbers["low"] is None else bool(estimates.excludes_0[i, place])
        if column.threshold is None:
            scores[column.name] = numbers
        else:
            scores.setdefault(column.name, {})[column.threshold] = numbers
    return scores


def _numbers(estimates: Estimate, i: int, place: int) -> dict[str, Any]:
    numbers = {"value": estimates.value, "low": estimates.low, "high": estimates.high}
    return {name: None if math.isnan(by[i, place]) else float(by[i, place]) for name, by in numbers.items()}


def to_csv(found: Comparison) -> str:
    """A line per forecast, quantity and score; empty where undefined."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for forecast in to_json(found)["forecasts"]:
        about = {"forecast": forecast["name"], "kind": forecast["kind"]}
        difference, skill = forecast.get("difference"), forecast["skill"]
        quantities = [("score", "", forecast["scores"])]
        quantities += [("difference", found.names[0], difference)] if difference else []
        quantities += [("skill", reference, scores) for reference, scores in skill.items()]
        for quantity, reference, scores in quantities:
            for line in _lines(scores):
                writer.writerow({**about, "quantity": quantity, "reference": reference, **line})
    return text.getvalue()


def _lines(scores: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, found in scores.items():
        by_threshold = {"": found} if "value" in found else found
        for threshold, numbers in by_threshold.items():
            yield {"score": name, "threshold": threshold, **numbers}


def write(folder: Path, found: Comparison) -> None:
    """Writes `compare.json` and `compare.csv`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(to_json(found), indent=1, allow_nan=False) + "\n"
    write_atomically(folder / JSON_NAME, content.encode())
    write_atomically(folder / CSV_NAME, to_csv(found).encode())


def write_picture(folder: Path, found: Comparison) -> None:
    """Writes `compare.png`. Raises UserError where matplotlib is not installed."""
    runs = len(found.matched.runs)
    panels = []
    for place, column in enumerate(found.columns[:-1]):  # MAE says what MSE does
        if column.name == "mean_csi_pooled" and place == 1:
            continue  # of one threshold
        dots = [_dot(found, i, place) for i in range(len(found.names))]
        better = "higher is better" if column.perfect else "model space, lower is better"
        panels.append(Dots(column.label, better, dots))
    caption = [f"{found.title}; {found.method}"]
    if _tells(found):
        first = found.names[0]
        caption.append(f"Filled: {first}, and what differs from it (the paired difference's interval excludes 0)")
    title = "Scores of runs and baselines" if found.matched.baselines else "Scores of runs"
    interval_chart(
        folder / PICTURE_NAME, found.names, panels, others=runs, title=title, caption=[*caption, *found.notes]
    )


def _dot(found: Comparison, i: int, place: int) -> Dot:
    value, low, high = (
        float(by[i, place]) for by in (found.scores_SM.value, found.scores_SM.low, found.scores_SM.high)
    )
    return Dot(value, low, high, filled=i == 0 or not _tells(found) or bool(found.difference_SM.excludes_0[i, place]))


def _tells(found: Comparison) -> bool:
    """Whether any difference to the first run has an interval."""
    return not bool(np.isnan(found.difference_SM.low[1:]).all())
