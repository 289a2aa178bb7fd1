"""An evaluation's scores as a table for the terminal."""

from __future__ import annotations

from typing import Any

from ds_nowcast.baselines import BASELINES
from ds_nowcast.scoring.report.numbers import TILES, at, scored, value_at

_HEADS = {"persistence": "persist.", "extrapolation": "extrap.", "climatology": "climat.", TILES: "in tiles"}


def score_table(scores: dict[str, Any]) -> str:
    """A line per threshold, then the means and errors, of the model and of each baseline that was scored."""
    task, unit = scores["task"], scores["task"]["thresholds"]["unit"]
    beside = [name for name in (*BASELINES, TILES) if name in scored(scores)]
    heads = "".join(f" {_HEADS[name]:>8}" for name in beside)
    lines = [
        f"{task['windows']} windows of split {task['split']} ({task['data']}), {task['leads']} leads of {task['cadence_s'] / 60:g} min",
        f"{'threshold ' + unit:>16}  {'CSI':>7}{heads}  {'POD':>6} {'FAR':>6} {'bias':>6}",
    ]
    for label in at(scores, "model", "csi_pooled"):
        more = "".join(f" {_number(value_at(scores, 'model', key, label), 3):>6}" for key in ("pod", "far", "bias"))
        lines.append(f"{label:>16}  {_row(scores, beside, 3, 'csi_pooled', label)} {more}")
    for key, what in (("csi_pooled", "mean CSI, pooled"), ("csi_lead_mean", "mean CSI, by lead")):
        lines.append(f"{what:>17} {_row(scores, beside, 4, 'mean', key)}")
    for key in ("mse", "mae"):
        lines.append(f"{key.upper() + ' in [0, 1]':>17} {_row(scores, beside, 4, key)}")
    return "\n".join(lines)


def _row(scores: dict[str, Any], beside: list[str], digits: int, *path: str) -> str:
    baselines = "".join(f" {_number(value_at(scores, name, *path), digits):>8}" for name in beside)
    return f"{_number(value_at(scores, 'model', *path), digits):>7}{baselines}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
