"""Charts of a report show the right numbers, and only what is there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ds_nowcast.scoring.report.charts_by_lead import csi_by_lead, detection_by_lead, error_by_lead
from ds_nowcast.scoring.report.charts_by_scale import blur, fss_by_scale, spectra
from ds_nowcast.scoring.report.charts_by_threshold import by_threshold, performance, quantiles
from ds_nowcast.scoring.report.told import Told
from ds_nowcast.scoring.report.training import config_text, metric_lines, training
from tests.ds_nowcast.scoring.report.sample import LABELS, sample_run

ALL = (csi_by_lead, error_by_lead, detection_by_lead, by_threshold, performance, quantiles, fss_by_scale, spectra, blur)


def shown(told: Told | None) -> Told:
    assert told is not None
    return told


def gaps(by_label: dict[str, float | None]) -> list[float]:
    """Values in the order of the thresholds, NaN where undefined."""
    return [math.nan if by_label[label] is None else by_label[label] for label in LABELS]  # type: ignore[misc]


def test_csi_by_lead_has_a_panel_per_threshold_and_a_line_per_forecast(scores: dict[str, Any]) -> None:
    chart = shown(csi_by_lead(scores)).chart
    assert chart.panels[1].title == "≥ code 74"
    assert list(chart.panels[1].series) == ["model", "persistence", "extrapolation", "climatology"]
    minutes, values = chart.panels[1].series["persistence"]
    assert minutes == [5.0, 10.0]
    assert values == [lead["csi_pooled"]["74"] for lead in scores["persistence"]["by_lead"]]


def test_thresholds_in_a_unit_are_named_with_it(scores: dict[str, Any]) -> None:
    scores["task"]["thresholds"]["unit"] = "kg/m2"
    assert shown(csi_by_lead(scores)).chart.panels[0].title == "≥ 16 kg/m²"


def test_what_is_undefined_is_a_gap_and_a_line_without_numbers_is_not_drawn(scores: dict[str, Any]) -> None:
    scores["model"]["by_lead"][0]["csi_pooled"]["74"] = None
    for lead in scores["climatology"]["by_lead"]:
        lead["csi_pooled"]["74"] = None
    panel = shown(csi_by_lead(scores)).chart.panels[1]
    assert math.isnan(panel.series["model"][1][0]) and "climatology" not in panel.series  # type: ignore[index]


def test_a_threshold_that_no_forecast_has_a_score_of_has_no_panel(scores: dict[str, Any]) -> None:
    for name in ("model", "persistence", "extrapolation", "climatology"):
        for lead in scores[name]["by_lead"]:
            lead["csi_pooled"]["219"] = None
    assert len(shown(csi_by_lead(scores)).chart.panels) == 5


def test_an_absent_baseline_keeps_the_others_looks(scores: dict[str, Any]) -> None:
    whole = shown(csi_by_lead(scores)).chart
    scores["persistence"] = {"absent": "x"}
    without = shown(csi_by_lead(scores)).chart
    assert without.shown() == ["model", "extrapolation", "climatology"]
    assert all(whole.look(name) == without.look(name) for name in without.shown())


def test_errors_in_the_archives_unit_name_it(scores: dict[str, Any]) -> None:
    labels = [panel.y.label for panel in shown(error_by_lead(scores)).chart.panels if panel.y]
    assert labels == ["MSE of codes in [0, 1]", "MAE of codes in [0, 1]", "RMSE (kg/m²)", "SSIM"]


def test_detection_has_three_panels_a_threshold(scores: dict[str, Any]) -> None:
    titles = [panel.title for panel in shown(detection_by_lead(scores)).chart.panels]
    assert titles[:3] == ["POD ≥ code 16", "FAR ≥ code 16", "bias ≥ code 16"]


def test_the_performance_diagram_is_pod_over_success_ratio_with_names_of_thresholds(scores: dict[str, Any]) -> None:
    chart = shown(performance(scores)).chart
    x, y = chart.panels[0].series["persistence"]
    np.testing.assert_array_equal(x, gaps(scores["persistence"]["sucr"]))
    np.testing.assert_array_equal(y, gaps(scores["persistence"]["pod"]))
    assert chart.panels[0].notes == {"model": list(LABELS)} and chart.square


def test_scores_by_threshold_stand_at_their_labels(scores: dict[str, Any]) -> None:
    chart = shown(by_threshold(scores)).chart
    assert list(chart.x.words) == list(LABELS) and chart.x.label == "threshold (code)"
    np.testing.assert_array_equal(chart.panels[2].series["model"][1], gaps(scores["model"]["bias"]))


def test_fss_is_over_kilometres_or_pixels_in_order_of_size(scores: dict[str, Any]) -> None:
    scores["model"]["fss"]["16"] = {"17": 0.8, "5": 0.6, "1": 0.4}
    scores["task"]["pixel"] = [2000.0, 2000.0]
    told = shown(fss_by_scale(scores))
    assert told.chart.panels[0].series["model"] == ([2.0, 10.0, 34.0], [0.4, 0.6, 0.8])
    assert told.chart.x.label == "side of the square (km)"
    scores["task"]["pixel_unit"] = "degree"
    told = shown(fss_by_scale(scores))
    assert told.chart.panels[0].series["model"][0] == [1.0, 5.0, 17.0]
    assert told.chart.x.label == "side of the square (pixels)"


def test_where_no_scale_fits_the_image_there_is_no_fss_chart(scores: dict[str, Any]) -> None:
    for name in ("model", "persistence", "extrapolation", "climatology"):
        scores[name]["fss"] = {label: {} for label in LABELS}
    assert fss_by_scale(scores) is None


def test_spectra_hold_the_truth_and_drop_what_has_no_logarithm(scores: dict[str, Any]) -> None:
    scores["model"]["spectrum"]["power"][3], scores["model"]["spectrum"]["ratio"][3] = 0.0, None
    power, ratio = shown(spectra(scores)).chart.panels
    assert list(power.series)[-1] == "observed" and "observed" not in ratio.series
    assert power.series["observed"][1] == scores["model"]["spectrum"]["observed"]
    assert math.isnan(power.series["model"][1][3]) and math.isnan(ratio.series["model"][1][3])  # type: ignore[index]


def test_spectra_of_a_grid_in_degrees_are_over_pixels(scores: dict[str, Any]) -> None:
    for name in ("model", "persistence", "extrapolation", "climatology"):
        spectrum = scores[name]["spectrum"]
        spectrum["wavelength_px"] = spectrum.pop("wavelength_km")
    assert shown(spectra(scores)).chart.x.label == "wavelength (pixels)"


def test_blur_is_the_models_ratio_at_the_first_a_middle_and_the_last_lead(scores: dict[str, Any]) -> None:
    scores["task"]["leads"] = 5
    scores["model"]["by_lead"] = [
        {"spectrum": {"wavelength_km": [4, 2], "ratio": [1.0, 1 / lead]}} for lead in range(1, 6)
    ]
    assert shown(blur(scores)).chart.panels[0].series == {
        "+5 min": ([4.0, 2.0], [1.0, 1.0]), "+15 min": ([4.0, 2.0], [1.0, 1 / 3]), "+25 min": ([4.0, 2.0], [1.0, 0.2])
    }  # fmt: skip


def test_a_ratio_of_one_is_in_sight_and_less_than_a_thousandth_is_not(scores: dict[str, Any]) -> None:
    def ends(ratio: list[float]) -> Any:
        for lead in scores["model"]["by_lead"]:
            lead["spectrum"] = {"wavelength_km": [4, 2], "ratio": ratio}
        axis = shown(blur(scores)).chart.panels[0].y
        return axis and axis.limits

    assert ends([0.9, 0.5]) == (None, 1.15)
    assert ends([1.3, 1e-7]) == (1e-3, None)


def test_quantiles_are_forecast_over_observed_where_a_logarithm_is(scores: dict[str, Any]) -> None:
    found = {"observed": [0.0, 1.0, 2.0, None], "forecast": [0.0, 0.5, 1.0, 3.0]}
    scores["model"]["quantiles"] = {"probability": [0.1, 0.5, 0.9, 0.99], **found}
    told = shown(quantiles(scores))
    assert told.chart.panels[0].series["model"] == ([1.0, 2.0], [0.5, 1.0])
    assert told.chart.x.label == "observed (kg/m²)" and told.chart.x.log
    scores["model"]["physical"]["unit"] = "dBZ"
    scores["model"]["quantiles"] = {"observed": [-32.0, 20.0], "forecast": [-32.0, 10.0]}
    told = shown(quantiles(scores))
    assert told.chart.panels[0].series["model"] == ([-32.0, 20.0], [-32.0, 10.0]) and not told.chart.x.log


@pytest.mark.parametrize("make", ALL)
def test_a_chart_of_nothing_is_no_chart(make: Any) -> None:
    assert make({}) is None
    assert make({"task": {"leads": 2, "cadence_s": 300}, "model": {"csi_pooled": {"1": None}, "by_lead": []}}) is None


@pytest.mark.parametrize("make", ALL)
def test_each_chart_says_how_to_read_it_and_what_its_axes_count(scores: dict[str, Any], make: Any) -> None:
    told = shown(make(scores))
    assert told.words.endswith(".") and len(told.words) > 60
    for panel in told.chart.panels:
        assert (panel.x or told.chart.x).label and (panel.y or told.chart.y).label


def test_the_training_has_loss_rate_and_evaluations(tmp_path: Path) -> None:
    lines = metric_lines(sample_run(tmp_path / "run"))
    assert len(lines) == 45  # the half line that a killed training leaves is passed over
    chart = shown(training(lines)).chart
    assert [panel.title for panel in chart.panels] == [
        "training loss",
        "learning rate",
        "mean CSI on val",
        "MSE on val",
    ]
    assert chart.panels[2].series["model"][0] == [200.0, 400.0, 600.0, 800.0, 1000.0]
    assert list(chart.panels[2].series) == ["model", "persistence"]


def test_a_loss_that_falls_far_is_drawn_on_a_logarithm() -> None:
    lines = [{"step": step, "loss": 10.0**-step, "lr": 1e-3} for step in range(4)]
    assert [panel.y.log for panel in shown(training(lines)).chart.panels if panel.y] == [True, False]


def test_odd_lines_of_metrics_are_passed_over(tmp_path: Path) -> None:
    odd = [
        "",
        "null",
        "[]",
        '"step"',
        '{"step": null}',
        '{"step": "x"}',
        "[" * 100_000,
        '{"loss": 1}',
        '{"step": 3, "loss": null}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(odd))
    assert metric_lines(tmp_path) == [{"step": 3, "loss": None}]
    assert training(metric_lines(tmp_path)) is None


def test_without_a_run_there_is_no_training_and_no_config(tmp_path: Path) -> None:
    assert metric_lines(None) == metric_lines(tmp_path) == [] and training([]) is None
    assert config_text(None) is config_text(tmp_path) is None


def test_the_sample_is_what_json_holds(scores: dict[str, Any]) -> None:
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
