"""The top of the report: what was scored, and how well against each baseline."""

from __future__ import annotations

from typing import Any, NamedTuple

from ds_nowcast.baselines import BASELINES
from ds_nowcast.scoring.report.html import Html, facts, joined, tag
from ds_nowcast.scoring.report.numbers import (
    TILES,
    absent,
    at,
    labels,
    number,
    scored,
    signed,
    unit_text,
    value_at,
)
from ds_nowcast.scoring.skill import skill

_WARNINGS = {  # of the relation of the scored data to those trained on
    "training data": "These windows were trained on: the scores say nothing about other weather.",
    "used to choose the best step": "The best step was chosen by these windows: the scores are a little too good.",
}
_EVEN = 0.0005  # of skill: less than is shown


class Headline(NamedTuple):
    """A score that is told first, where it lies, and where it is perfect."""

    name: str
    explained: str
    path: tuple[str, ...]
    perfect: float


HEADLINES = (
    Headline("CSI", "mean over thresholds, counts pooled over lead times; higher is better", ("mean", "csi_pooled"), 1.0),
    Headline("CSI-M", "mean over SEVIR's six thresholds, pooled; higher is better", ("csi_m", "csi_pooled"), 1.0),
    Headline("MSE", "of codes in [0, 1]; lower is better", ("mse",), 0.0),
    Headline("MAE", "of codes in [0, 1]; lower is better", ("mae",), 0.0),
    Headline("SSIM", "likeness of structures; higher is better", ("ssim",), 1.0),
)  # fmt: skip


def head(scores: dict[str, Any]) -> Html:
    """Title, and what was scored on what."""
    model, task = at(scores, "task", "model"), at(scores, "task") or {}
    name, split = str(at(model, "name") or "model"), str(task.get("split", "?"))
    relation = str(task.get("data", "relation to the training data not known"))
    held_out = relation == "held out"
    return tag(
        "header",
        tag("p", "DS-Nowcast evaluation", class_="kicker"),
        tag("h1", f"{name} on {split}"),
        tag(
            "p",
            tag("span", relation, class_="badge good" if held_out else "badge care"),
            " ",
            _WARNINGS.get(relation, "No window of this split was trained on." if held_out else ""),
        ),
        facts(_facts(scores)),
    )


def _facts(scores: dict[str, Any]) -> list[tuple[str, str]]:
    task = at(scores, "task") or {}
    parameters, step = value_at(task, "model", "parameters"), value_at(task, "model", "step")
    minutes = (value_at(task, "cadence_s") or 0.0) / 60
    frames, leads = (int(value_at(task, key) or 0) for key in ("frames", "leads"))
    pixel = [value_at(task, "pixel", side) for side in (0, 1)]
    km = at(task, "pixel_unit") == "m"
    sides = " \N{MULTIPLICATION SIGN} ".join(f"{(side or 0.0) / (1000 if km else 1):g}" for side in pixel)
    known = {
        "Windows": f"{int(value_at(task, 'windows') or 0):,}",
        "Parameters": None if parameters is None else f"{int(parameters):,}",
        "Optimizer step": None if step is None else f"{int(step):,}",
        "Forecasts": "mean over four quarter turns" if at(task, "model", "turned") else None,
        "Task": f"{frames} frames → {leads} leads of {minutes:g} min",
        "Furthest lead": f"{leads * minutes:g} min",
        "Pixel": None if None in pixel else f"{sides} {'km' if km else 'degrees'}",
        "Unit of the archive": unit_text(str(task["unit"])) if "unit" in task else None,
        "Thresholds": _thresholds(scores),
        "Data split hash": str(task.get("index_hash", ""))[:12] or None,
    }
    return [(name, value) for name, value in known.items() if value]


def _thresholds(scores: dict[str, Any]) -> str:
    unit = str(at(scores, "task", "thresholds", "unit") or "")
    values = ", ".join(labels(scores))
    return f"codes {values}" if unit == "code" else f"{values} {unit_text(unit)}"


def headlines(scores: dict[str, Any]) -> Html:
    """A card per headline score with each baseline and the skill against it; then a sentence per baseline."""
    known = [line for line in HEADLINES if value_at(scores, "model", *line.path) is not None]
    if at(scores, "model", "csi_m", "csi_pooled") == at(scores, "model", "mean", "csi_pooled"):
        known = [line for line in known if line.name != "CSI"]  # the thresholds are SEVIR's: both are the same
    cards = [_card(scores, line) for line in known]
    missing = [
        tag("li", f"{name.capitalize()} was not scored{': ' if reason else ''}{reason}.")
        for name, reason in absent(scores).items()
    ]
    verdicts = [tag("li", _verdict(scores, name)) for name in _beside(scores)]
    if TILES in scored(scores):
        verdicts.append(tag("li", _in_tiles(scores)))
    note = (
        "Skill is (score - baseline) / (perfect - baseline): 1 is perfect, 0 is no better than the baseline, below 0 is "
        "worse. Every forecast was scored on the same windows and pixels: those seen in the last input frame and in the "
        "frame forecast."
    )
    return joined(
        [
            tag("div", *cards, class_="cards"),
            tag("ul", *verdicts, *missing, class_="verdicts"),
            tag("p", note, class_="note"),
        ]
    )


def _beside(scores: dict[str, Any]) -> list[str]:
    """The baselines that were scored."""
    return [name for name in BASELINES if name in scored(scores)]


def _in_tiles(scores: dict[str, Any]) -> str:
    found = {line.name: value for line in HEADLINES if (value := value_at(scores, TILES, *line.path)) is not None}
    told = ", ".join(f"{name} {number(value)}" for name, value in found.items())
    return f"The model in tiles of the size it was trained on, as forecasts are made (above: each image whole): {told}."


def _card(scores: dict[str, Any], line: Headline) -> Html:
    own = value_at(scores, "model", *line.path)
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", number(value_at(scores, name, *line.path))),
            _skill_cell(skill(own, value_at(scores, name, *line.path), line.perfect)),
        )
        for name in _beside(scores)
    ]
    top = tag(
        "tr", tag("th", "baseline", scope="col"), tag("th", "score", scope="col"), tag("th", "skill", scope="col")
    )
    return tag(
        "div",
        tag("h3", line.name),
        tag("p", number(own), class_="figure"),
        tag("p", line.explained, class_="note"),
        *([tag("table", tag("thead", top), tag("tbody", *rows))] if rows else []),
        class_="card",
    )


def _skill_cell(value: float | None) -> Html:
    kind = None if value is None or abs(value) < _EVEN else "better" if value > 0 else "worse"
    arrow = {"better": "▲ ", "worse": "▼ "}.get(kind or "", "")
    return tag("td", arrow + signed(value), class_=kind)


def _verdict(scores: dict[str, Any], name: str) -> str:
    """'Against persistence: MSE better by ...; CSI better at 4 of 6 thresholds (not at 160, 219).'"""
    compared = [
        (label, value_at(scores, "model", "csi_pooled", label), value_at(scores, name, "csi_pooled", label))
        for label in labels(scores)
    ]
    known = [(label, ours, theirs) for label, ours, theirs in compared if ours is not None and theirs is not None]
    behind = [label for label, ours, theirs in known if ours <= theirs]
    parts = [
        f"{key.upper()} skill {signed(value)}"
        for key in ("mse", "mae")
        if (value := skill(value_at(scores, "model", key), value_at(scores, name, key), 0.0)) is not None
    ]
    if known:
        but = f" (not at {', '.join(behind)})" if 0 < len(behind) < len(known) else ""
        parts.append(f"CSI higher at {len(known) - len(behind)} of {len(known)} thresholds{but}")
    return f"Against {name}: {'; '.join(parts) or 'nothing to compare'}."
