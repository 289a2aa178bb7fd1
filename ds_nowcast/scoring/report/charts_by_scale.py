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
    """Power by wavelength, and its ratio to the truth."""
    power = {name: _spectrum(scores, "power", name, "spectrum") for name in scored(scores)}
    power[OBSERVED] = _spectrum(scores, "observed", "model", "spectrum")
    ratio = {name: _spectrum(scores, "ratio", name, "spectrum") for name in scored(scores)}
    panels = [
        Panel("power", power, Axis("power of codes in [0, 1]", log=True)),
        Panel("ratio to the observed", ratio, _part_axis(ratio), ground=level(1.0)),
    ]
    words = (
        "How much of the field's variance lies in structures of each size, small ones on the right. Where the ratio falls "
        "below the dotted line at 1 the forecast has lost that detail: it is blurred. Persistence keeps all detail, in "
        "the wrong place."
    )
    return told("spectra", Chart("Power spectra", panels, _wavelength(scores), Axis(), NAMES), words)


def blur(scores: dict[str, Any]) -> Told | None:
    """The ratio of the model's power to the truth's at the first, a middle and the last lead."""
    times, fading = minutes(scores), {}
    for lead in sorted({0, len(times) // 2, len(times) - 1} & set(range(len(times)))):
        fading[f"+{times[lead]:g} min"] = _spectrum(scores, "ratio", "model", "by_lead", lead, "spectrum")
    panel = Panel("ratio to the observed", fading, _part_axis(fading), ground=level(1.0))
    words = "The same ratio of the model alone, by lead time: the further down a line bends, the smoother the forecast."
    chart = Chart("Blur by lead time", [panel], _wavelength(scores), Axis(), (*FORECASTS, *fading))
    return told("blur", chart, words)


def _wavelength(scores: dict[str, Any]) -> Axis:
    in_km = bool(at(scores, "model", "spectrum", "wavelength_km"))
    return Axis(f"wavelength ({'km' if in_km else 'pixels'})", log=True, backwards=True)


def _spectrum(scores: dict[str, Any], what: str, *path: str | int) -> tuple[list[float], list[float]]:
    """Wavelengths and what stands there; nothing where it is not of their length. What is not over 0 has no logarithm."""
    lengths = values_at(scores, *path, "wavelength_km") or values_at(scores, *path, "wavelength_px")
    values = [value if value > 0 else math.nan for value in values_at(scores, *path, what)]
    return (lengths, values) if len(values) == len(lengths) else ([], [])


def _part_axis(ratios: Series) -> Axis:
    """Of a ratio of powers: 1 is in sight; whatever is below a thousandth is gone, how far does not matter."""
    found = [value for _, values in ratios.values() for value in values if value > 0] or [1.0]
    ends = (1e-3 if min(found) < 1e-3 else None, 1.15 if max(found) < 1.1 else None)
    return Axis("power / observed power", log=True, limits=ends)


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
