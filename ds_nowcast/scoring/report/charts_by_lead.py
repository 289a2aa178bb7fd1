"""Scores by lead time."""

from __future__ import annotations

from typing import Any

from data_prep.pictures import Axis, Chart, Panel
from ds_nowcast.scoring.report.numbers import at, labels, threshold_text, unit_text
from ds_nowcast.scoring.report.told import FROM_ZERO, LEAD, NAMES, SHARE, Told, by_lead, told


def csi_by_lead(scores: dict[str, Any]) -> Told | None:
    """A panel per threshold."""
    panels = [
        Panel(threshold_text(scores, label), by_lead(scores, "csi_pooled", label)) for label in labels(scores)
    ]  # fmt: skip
    words = (
        "Critical success index, hits / (hits + misses + false alarms), of all scored pixels of that lead time: 1 is "
        "perfect, 0 is no hit. A forecast is of use as long as its line lies above the baselines'."
    )
    chart = Chart("Critical success index by lead time", panels, LEAD, Axis("CSI", limits=FROM_ZERO), NAMES)
    return told("csi_by_lead", chart, words)


def error_by_lead(scores: dict[str, Any]) -> Told | None:
    """MSE and MAE in model space, RMSE in the archive's unit where it is known, SSIM."""
    unit = unit_text(str(at(scores, "model", "physical", "unit") or at(scores, "task", "unit") or ""))
    panels = [
        Panel("mean squared error", by_lead(scores, "mse"), Axis("MSE of codes in [0, 1]", limits=FROM_ZERO)),
        Panel("mean absolute error", by_lead(scores, "mae"), Axis("MAE of codes in [0, 1]", limits=FROM_ZERO)),
        Panel("root mean squared error", by_lead(scores, "physical", "rmse"), Axis(f"RMSE ({unit})", limits=FROM_ZERO)),
        Panel("structural similarity", by_lead(scores, "ssim"), Axis("SSIM", limits=(None, 1.0))),
    ]
    words = (
        "Errors are lower the better, and a forecast that blurs keeps them low: read them together with CSI and the "
        "power spectra. Codes in [0, 1] are what the network sees, the stored code over the highest one; SSIM is the "
        "likeness of structures, 1 where both are the same."
    )
    return told("error_by_lead", Chart("Errors by lead time", panels, LEAD, Axis(), NAMES), words)


def detection_by_lead(scores: dict[str, Any]) -> Told | None:
    """POD, FAR and bias, a panel per threshold and score."""
    kinds = (
        ("pod", "POD", Axis("POD", limits=SHARE)),
        ("far", "FAR", Axis("FAR", limits=SHARE)),
        ("bias", "bias", Axis("frequency bias", limits=FROM_ZERO)),
    )
    panels = [
        Panel(f"{name} {threshold_text(scores, label)}", by_lead(scores, key, label), axis)
        for label in labels(scores)
        for key, name, axis in kinds
    ]
    words = (
        "Probability of detection (share of observed events that were forecast, 1 is perfect), false alarm ratio (share "
        "of forecast events that did not happen, 0 is perfect) and frequency bias (forecast events per observed event, "
        "1 is perfect; above it a forecast says rain too often)."
    )
    return told("detection_by_lead", Chart("Detection by lead time", panels, LEAD, Axis(), NAMES), words)
