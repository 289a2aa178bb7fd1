"""How a training went, from the `metrics.jsonl` and `config.json` of its run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_prep.pictures import Axis, Chart, Panel
from ds_nowcast.scoring.report.numbers import value_at
from ds_nowcast.scoring.report.told import FROM_ZERO, NAMES, Series, Told, or_nan, told

_EVALUATED = (("csi_pooled", "mean CSI", "mean CSI, pooled"), ("mse", "MSE", "MSE of codes in [0, 1]"))


def metric_lines(run: Path | None) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` that hold a step; half a line, as a killed training leaves, is passed over."""
    if run is None or not (run / "metrics.jsonl").is_file():
        return []
    lines = []
    for line in (run / "metrics.jsonl").read_text("utf-8", "replace").splitlines():
        try:
            read = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if value_at(read, "step") is not None:
            lines.append(read)
    return lines


def config_text(run: Path | None) -> str | None:
    """The resolved config, None where there is no run."""
    if run is None or not (run / "config.json").is_file():
        return None
    return (run / "config.json").read_text("utf-8", "replace")


def training(lines: list[dict[str, Any]]) -> Told | None:
    """Loss and learning rate by step, and the scores of the evaluations on the way."""
    steps = [line for line in lines if "loss" in line]
    panels = [
        Panel("training loss", {"loss": _line(steps, "loss")}, Axis("loss", log=_spans(steps, "loss"))),
        Panel("learning rate", {"learning rate": _line(steps, "lr")}, Axis("learning rate", limits=FROM_ZERO)),
    ]
    evaluations = [line for line in lines if value_at(line, "evaluation", "windows") is not None]
    for split in sorted({str(line["evaluation"].get("split")) for line in evaluations}):
        of_split = [line for line in evaluations if str(line["evaluation"].get("split")) == split]
        for key, label, axis in _EVALUATED:
            series: Series = {
                name: _line(of_split, "evaluation", name, key) for name in ("model", "persistence", "extrapolation")
            }
            panels.append(Panel(f"{label} on {split}", series, Axis(axis)))
    words = (
        "The loss is the mean over the steps since the point before, on the training split; how it is made stands in the "
        "config. Evaluations are of whole windows; the best of them chose the weights that are scored here."
    )
    chart = Chart(
        "Loss, learning rate and evaluations", panels, Axis("optimizer step"), Axis(), NAMES, ("loss", "learning rate")
    )
    return told("training", chart, words)


def _line(lines: list[dict[str, Any]], *path: str) -> tuple[list[float], list[float]]:
    return [float(line["step"]) for line in lines], [or_nan(value_at(line, *path)) for line in lines]


def _spans(lines: list[dict[str, Any]], key: str) -> bool:
    """Whether the values span so much that only a logarithm shows their end."""
    values = [value for line in lines if (value := value_at(line, key)) is not None]
    return bool(values) and min(values) > 0 and max(values) > 20 * min(values)
