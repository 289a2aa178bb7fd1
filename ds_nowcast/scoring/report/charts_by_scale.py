"""Scores by scale: of what size the structures are that a forecast has right, or has at all."""

from __future__ import annotations

import math
from typing import Any

from data_prep.pictures import Axis, Chart, Panel
from data_prep.pictures.charts import OBSERVED
from ds_nowcast.scoring.report.numbers import (
    FORECASTS,
    at,
    labels,
    minutes,
    scored,
    threshold_text,
    value_at,
    values_at,
)
from ds_nowcast.scoring.report.told import NAMES, SHARE, Series, Told, level, or_nan, told


def fss_by_scale(scores: dict[str, Any]) -> Told | None:
    """A panel per threshold, with the score above which a forecast is useful."""
    pixel_km = _pixel_km(scores)
    panels = []
    for label in labels(scores):
        series: Series = {}
        for name in scored(scores):
            found = at(scores, name, "fss", label)
            sizes = sorted(map(int, found)) if isinstance(found, dict) else []
            if sizes:
                values = [or_nan(value_at(found, str(size))) for size in sizes]
                series[name] = ([size * (pixel_km or 1.0) for size in sizes], values)
        share = _observed_share(scores, labels(scores).index(label))
        ground = level(0.5 + share / 2) if share is not None else None
        panels.append(Panel(threshold_text(scores, label), series, ground=ground))
    words = (
        "Fractions skill score: whether the share of rainy pixels in squares of that size is right, though the pixels "
        "may lie a little apart. 1 is perfect. The dotted line is half way between a random forecast and a perfect one "
        "(0.5 + half the observed share): from the size where a line crosses it the forecast is useful (Roberts and "
        "Lean 2008)."
    )
    x = Axis(f"side of the square ({'km' if pixel_km else 'pixels'})", log=True)
    return told(
        "fss_by_scale", Chart("Fractions skill score by scale", panels, x, Axis("FSS", limits=SHARE), NAMES), words
    )


def spectra(scores: dict[str, Any]) -> Told | None:
    """Power by wavelength, its ratio to the truth, and the model's ratio by lead."""
    key = "wavelength_km" if at(scores, "model", "spectrum", "wavelength_km") else "wavelength_px"
    lengths = values_at(scores, "model", "spectrum", key)
    power: Series = {name: (lengths, values_at(scores, name, "spectrum", "power")) for name in scored(scores)}
    power[OBSERVED] = (lengths, values_at(scores, "model", "spectrum", "observed"))
    ratio: Series = {name: (lengths, values_at(scores, name, "spectrum", "ratio")) for name in scored(scores)}
    power, ratio = (
        {name: line for name, line in series.items() if len(line[1]) == len(lengths) > 0} for series in (power, ratio)
    )
    times = minutes(scores)
    fading: Series = {}
    for lead in sorted({0, len(times) // 2, len(times) - 1} & set(range(len(times)))):
        values = values_at(scores, "model", "by_lead", lead, "spectrum", "ratio")
        if len(values) == len(lengths) > 0:
            fading[f"model, +{times[lead]:g} min"] = (lengths, values)
    even = level(1.0)
    part = Axis("power / observed power", log=True)
    panels = [
        Panel("power", power, Axis("power (codes in [0, 1], squared)", log=True)),
        Panel("ratio to the observed", ratio, part, ground=even),
        Panel("how the model blurs with lead time", fading, part, ground=even),
    ]
    words = (
        "How much of the field's variance lies in structures of each size, small ones on the right. Where the ratio falls "
        "below the dotted line at 1 the forecast has lost that detail: it is blurred. Persistence keeps all detail, in "
        "the wrong place."
    )
    x = Axis(f"wavelength ({key.removeprefix('wavelength_').replace('px', 'pixels')})", log=True, backwards=True)
    return told("spectra", Chart("Power spectra", panels, x, Axis(), (*FORECASTS, *fading, OBSERVED)), words)


def _pixel_km(scores: dict[str, Any]) -> float | None:
    """The side of a pixel; None for grids in degrees."""
    height, width = value_at(scores, "task", "pixel", 0), value_at(scores, "task", "pixel", 1)
    if height is None or width is None or at(scores, "task", "pixel_unit") != "m":
        return None
    return math.sqrt(height * width) / 1000.0


def _observed_share(scores: dict[str, Any], which: int) -> float | None:
    """The share of scored pixels, over all leads, that were at or above a threshold."""
    counts = at(scores, "model", "counts")
    leads = len(minutes(scores))
    events = [value_at(counts, kind, lead, which) for kind in ("hits", "misses") for lead in range(leads)]
    pixels = [value_at(counts, "pixels", lead) for lead in range(leads)]
    if not leads or None in events or None in pixels or not sum(filter(None, pixels)):
        return None
    return sum(filter(None, events)) / sum(filter(None, pixels))
