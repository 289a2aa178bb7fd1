"""Reading `scores.json` where anything may be absent or undefined, and writing numbers for people."""

from __future__ import annotations

import math
from typing import Any

from data_prep.errors import printable
from ds_nowcast.baselines import BASELINES

TILES = "tiles"  # the model again, in tiles, where images are larger than it was trained on
FORECASTS = ("model", *BASELINES, TILES)  # in the order of their looks in charts
DASH = "\N{EN DASH}"  # what is undefined


def at(scores: Any, *path: str | int) -> Any:
    """What lies there, None where any step of the way is absent."""
    for step in path:
        if isinstance(scores, dict):
            scores = scores.get(str(step))
        elif isinstance(scores, list) and isinstance(step, int) and step < len(scores):
            scores = scores[step]
        else:
            return None
    return scores


def value_at(scores: Any, *path: str | int) -> float | None:
    """The finite number that lies there, or None."""
    value = at(scores, *path)
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def values_at(scores: Any, *path: str | int) -> list[float]:
    """The list of numbers that lies there, NaN where one is undefined; empty where there is none."""
    values = at(scores, *path)
    if not isinstance(values, list):
        return []
    found = (value_at(values, i) for i in range(len(values)))
    return [math.nan if value is None else value for value in found]


def scored(scores: dict[str, Any]) -> list[str]:
    """The forecasts that have scores, the model first."""
    return [name for name in FORECASTS if isinstance(scores.get(name), dict) and "absent" not in scores[name]]


def absent(scores: dict[str, Any]) -> dict[str, str]:
    """The baselines that have none, and why; nothing where it is not said."""
    return {name: str(at(scores, name, "absent") or "") for name in BASELINES if name not in scored(scores)}


def labels(scores: dict[str, Any]) -> list[str]:
    """The thresholds as the scores name them."""
    return list(at(scores, "model", "csi_pooled") or {})


def number(value: float | None, digits: int = 4) -> str:
    """With as many digits; a dash where it is undefined."""
    return DASH if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def short(value: float | None, digits: int = 4) -> str:
    """With about as many digits in all, as errors in some unit are."""
    return DASH if value is None else f"{value:#.{digits}g}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None, digits: int = 3) -> str:
    """With its sign."""
    return DASH if value is None else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def unit_text(unit: str) -> str:
    """A unit as it is printed."""
    return printable(unit).replace("m2", "m²")


def threshold_text(scores: dict[str, Any], label: str) -> str:
    """'≥ 2 mm/h'; '≥ code 74' where thresholds are integer codes."""
    unit = str(at(scores, "task", "thresholds", "unit") or "")
    return f"≥ code {label}" if unit == "code" else f"≥ {label} {unit_text(unit)}".rstrip()


def minutes(scores: dict[str, Any]) -> list[float]:
    """The lead times."""
    cadence_s = value_at(scores, "task", "cadence_s") or 0.0
    return [lead * cadence_s / 60 for lead in range(1, int(value_at(scores, "task", "leads") or 0) + 1)]
