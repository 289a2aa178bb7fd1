"""All scores as tables."""

from __future__ import annotations

from typing import Any

from ds_nowcast.scoring.report.html import Html, joined, table, tag
from ds_nowcast.scoring.report.numbers import (
    at,
    labels,
    minutes,
    number,
    scored,
    short,
    signed,
    threshold_text,
    unit_text,
    value_at,
)

_BY_THRESHOLD = {
    "csi_pooled": "CSI pooled", "csi_lead_mean": "CSI mean of leads", "csi_pool4": "CSI 4 x 4", "csi_pool16": "CSI 16 x 16",
    "pod": "POD", "far": "FAR", "sucr": "SUCR", "bias": "bias", "hss": "HSS", "ets": "ETS",
}  # fmt: skip
_MEANS = {
    "csi_pooled": "pooled",
    "csi_lead_mean": "mean of leads",
    "csi_pool4": "4 x 4",
    "csi_pool16": "16 x 16",
}


def all_tables(scores: dict[str, Any]) -> Html:
    """Errors and means; skill; by threshold; by lead time."""
    by_lead = [_by_lead(scores, name) for name in scored(scores)]
    return joined(
        [
            _overall(scores),
            *_skills(scores),
            *(_by_threshold(scores, name) for name in scored(scores)),
            tag("details", tag("summary", "Tables by lead time"), *by_lead),
        ]
    )


def _overall(scores: dict[str, Any]) -> Html:
    unit = unit_text(str(at(scores, "model", "physical", "unit") or ""))
    rows: list[tuple[str, tuple[str, ...]]] = [
        (f"mean CSI, {words}", ("mean", key)) for key, words in _MEANS.items()
    ]  # fmt: skip
    rows += [(f"CSI-M, {words}", ("csi_m", key)) for key, words in _MEANS.items()]
    rows += [(f"{key.upper()}, codes in [0, 1]", (key,)) for key in ("mse", "mae", "rmse")]
    rows += [("MSE, (" + unit + ")²", ("physical", "mse"))]
    rows += [(f"{key.upper()}, {unit}", ("physical", key)) for key in ("mae", "rmse")]
    rows += [("SSIM", ("ssim",))]
    kept = [
        [name, *(short(value_at(scores, forecast, *path)) for forecast in scored(scores))]
        for name, path in rows
        if at(scores, "model", *path[:1]) is not None and at(scores, "model", *path) is not None
    ]
    return table("Over all windows, leads and thresholds", ["score", *scored(scores)], kept)


def _skills(scores: dict[str, Any]) -> list[Html]:
    given = at(scores, "skill") or {}
    names = [name for name in scored(scores)[1:] if at(given, name)]
    if not names:
        return []
    rows = [[f"{key.upper()}", *(signed(value_at(given, name, key)) for name in names)] for key in ("mse", "mae")]
    rows += [
        [f"CSI {threshold_text(scores, label)}", *(signed(value_at(given, name, "csi_pooled", label)) for name in names)]
        for label in labels(scores)
    ]  # fmt: skip
    return [table("Skill against the baselines", ["score", *names], rows)]


def _by_threshold(scores: dict[str, Any], name: str) -> Html:
    keys = [key for key in _BY_THRESHOLD if at(scores, name, key)]
    sizes = sorted({int(size) for label in labels(scores) for size in at(scores, name, "fss", label) or {}})
    rows = [
        [
            threshold_text(scores, label),
            *(number(value_at(scores, name, key, label), 3) for key in keys),
            *(number(value_at(scores, name, "fss", label, str(size)), 3) for size in sizes),
        ]
        for label in labels(scores)
    ]
    head = ["threshold", *(_BY_THRESHOLD[key] for key in keys), *(f"FSS {size} px" for size in sizes)]
    return table(f"{name.capitalize()} by threshold, all leads", head, rows)


def _by_lead(scores: dict[str, Any], name: str) -> Html:
    order = labels(scores)
    errors = [key for key in ("mse", "mae", "ssim") if value_at(scores, name, "by_lead", 0, key) is not None]
    rows = [
        [
            f"+{minute:g} min",
            *(short(value_at(scores, name, "by_lead", lead, key)) for key in errors),
            *(number(value_at(scores, name, "by_lead", lead, "csi_pooled", label), 3) for label in order),
        ]
        for lead, minute in enumerate(minutes(scores))
    ]
    head = ["lead time", *(key.upper() for key in errors), *(f"CSI {threshold_text(scores, label)}" for label in order)]
    return table(f"{name.capitalize()} by lead time", head, rows)
