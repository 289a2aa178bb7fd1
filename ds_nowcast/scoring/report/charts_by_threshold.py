"""Scores by threshold and by intensity."""

from __future__ import annotations

import math
from typing import Any

from data_prep.pictures import Axis, Chart, Panel
from data_prep.pictures.grounds import draw_diagonal, draw_performance
from ds_nowcast.scoring.report.numbers import at, labels, scored, unit_text, value_at, values_at
from ds_nowcast.scoring.report.told import FROM_ZERO, NAMES, Series, Told, or_nan, told


def by_threshold(scores: dict[str, Any]) -> Told | None:
    """CSI and bias over thresholds."""
    words_of = labels(scores)
    unit = str(at(scores, "task", "thresholds", "unit") or "")
    x = Axis(f"threshold ({unit_text(unit)})", words=words_of, limits=(-0.3, len(words_of) - 0.7))
    kinds = (
        ("critical success index", "csi_pooled", Axis("CSI", limits=FROM_ZERO)),
        ("CSI of 16 x 16 pixels", "csi_pool16", Axis("CSI, max-pooled", limits=FROM_ZERO)),
        ("frequency bias", "bias", Axis("bias", limits=FROM_ZERO)),
    )
    panels = [Panel(title, _by_label(scores, key, words_of), axis) for title, key, axis in kinds]
    words = (
        "All lead times together. CSI falls with the threshold because heavy rain is rare and small; in squares of "
        "16 x 16 pixels an event a few pixels away still counts, which is fairer to sharp forecasts. Bias is forecast "
        "events per observed event: where it falls below 1 the forecast smooths heavy rain away."
    )
    return told("by_threshold", Chart("Scores by threshold", panels, x, Axis(), NAMES), words)


def performance(scores: dict[str, Any]) -> Told | None:
    """POD against success ratio, a point per threshold."""
    order = labels(scores)
    series: Series = {}
    for name in scored(scores):
        ratio = [or_nan(value_at(scores, name, "sucr", label)) for label in order]
        pod = [or_nan(value_at(scores, name, "pod", label)) for label in order]
        series[name] = (ratio, pod)
    panel = Panel("", series, ground=draw_performance, notes={"model": order})
    words = (
        "Each point is a threshold, from the lightest to the heaviest along a line; those of the model are named. Better "
        "is up (more events detected) and right (fewer false alarms). Curves have equal CSI, written at the right edge; "
        "dashed rays have equal frequency bias, written outside: above the diagonal too much is forecast, below it too "
        "little (Roebber 2009)."
    )
    chart = Chart("Performance diagram", [panel], Axis("success ratio (1 - FAR)"), Axis("POD"), NAMES, square=True)
    return told("performance", chart, words)


def quantiles(scores: dict[str, Any]) -> Told | None:
    """Quantiles of the forecast against those of the observation."""
    unit = str(at(scores, "model", "physical", "unit") or at(scores, "task", "unit") or "")
    log = unit != "dBZ"
    series: Series = {}
    for name in scored(scores):
        observed = values_at(scores, name, "quantiles", "observed")
        forecast = values_at(scores, name, "quantiles", "forecast")
        pairs = [
            pair for pair in zip(observed, forecast, strict=False) if all(v > 0 if log else v > -math.inf for v in pair)
        ]
        if pairs:
            series[name] = ([x for x, _ in pairs], [y for _, y in pairs])
    panel = Panel("", series, ground=draw_diagonal)
    words = (
        "Each point is one quantile: the intensity that this share of pixels stays below, observed and forecast. On the "
        "dotted diagonal the forecast has as much rain of each intensity as there was, wherever it lies; below it heavy "
        "rain is too weak."
    )
    shown = unit_text(unit)
    chart = Chart(
        "Match of intensities",
        [panel],
        Axis(f"observed ({shown})", log),
        Axis(f"forecast ({shown})", log),
        NAMES,
        square=True,
    )
    return told("quantiles", chart, words)


def _by_label(scores: dict[str, Any], key: str, order: list[str]) -> Series:
    places = [float(place) for place in range(len(order))]
    return {
        name: (places, [or_nan(value_at(scores, name, key, label)) for label in order]) for name in scored(scores)
    }  # fmt: skip
