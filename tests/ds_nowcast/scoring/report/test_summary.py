"""The top of a report says what was scored and who is better."""

from __future__ import annotations

from typing import Any

import pytest

from ds_nowcast.scoring.report.summary import head, headlines
from tests.ds_nowcast.scoring.report.reading import Reading


def test_the_head_says_what_was_scored(scores: dict[str, Any]) -> None:
    text = Reading(head(scores)).text
    for words in ("unet on test", "held out", "Windows1", "Parameters1,034,721", "Optimizer step1,000",
                  "5 frames → 2 leads of 5 min", "Furthest lead10 min", "km", "codes 16, 74, 133, 160, 181, 219",
                  "kg/m²", "73f2d68333e2"):  # fmt: skip
        assert words in text
    scores["task"] |= {"pixel": [0.01, 0.02], "pixel_unit": "degree", "thresholds": {"unit": "mm/h", "values": [0.5]}}
    text = Reading(head(scores)).text
    assert "Pixel0.01 × 0.02 degrees" in text and "mm/h" in text  # noqa: RUF001


@pytest.mark.parametrize(
    ("relation", "warns"),
    [("held out", False), ("training data", True), ("used to choose the best step", True), ("other shards", True)],
)
def test_the_relation_to_the_training_data_is_a_warning_unless_held_out(
    scores: dict[str, Any], relation: str, warns: bool
) -> None:
    scores["task"]["data"] = relation
    made = head(scores)
    assert ("badge care" in made, "badge good" in made) == (warns, not warns)
    assert f">{relation}<" in made


def test_each_headline_has_every_baseline_with_its_skill(scores: dict[str, Any]) -> None:
    scores["model"]["mse"], scores["persistence"]["mse"], scores["extrapolation"]["mse"] = 0.01, 0.02, 0.008
    made = headlines(scores)
    assert '<th scope="row">persistence</th><td>0.0200</td><td class="better">▲ +0.500</td>' in made
    assert '<th scope="row">extrapolation</th><td>0.0080</td><td class="worse">▼ −0.250</td>' in made  # noqa: RUF001
    assert "Against persistence: MSE skill +0.500; MAE skill" in made


def test_csi_skill_is_towards_one(scores: dict[str, Any]) -> None:
    for name, csi in (("model", 0.5), ("persistence", 0.2)):
        scores[name]["mean"]["csi_pooled"] = csi
    assert '<td>0.2000</td><td class="better">▲ +0.375</td>' in headlines(scores)


def test_thresholds_at_which_a_baseline_is_not_beaten_are_named(scores: dict[str, Any]) -> None:
    scores["model"]["csi_pooled"] = {"16": 0.6, "74": 0.3, "133": None}
    scores["persistence"]["csi_pooled"] = {"16": 0.5, "74": 0.3, "133": 0.1}
    assert "CSI higher at 1 of 2 thresholds (not at 74)." in headlines(scores)


def test_csi_m_stands_for_csi_where_both_are_the_same(scores: dict[str, Any]) -> None:
    assert "<h3>CSI-M</h3>" in headlines(scores) and "<h3>CSI</h3>" not in headlines(scores)
    scores["model"]["csi_m"]["csi_pooled"] = 0.123
    assert "<h3>CSI-M</h3>" in headlines(scores) and "<h3>CSI</h3>" in headlines(scores)
    del scores["model"]["csi_m"]
    assert "<h3>CSI-M</h3>" not in headlines(scores) and "<h3>CSI</h3>" in headlines(scores)


def test_a_baseline_that_was_not_scored_says_why(scores: dict[str, Any]) -> None:
    scores["extrapolation"] = {"absent": "no <motion> found"}
    del scores["climatology"]
    text = Reading(headlines(scores)).text
    assert "Extrapolation was not scored: no <motion> found." in text and "Climatology was not scored." in text
    assert "Against extrapolation" not in text


def test_what_is_undefined_is_no_headline(scores: dict[str, Any]) -> None:
    scores["model"]["mse"], scores["persistence"]["mae"] = None, None
    made = headlines(scores)
    assert "<h3>MSE</h3>" not in made and "<td>–</td><td>–</td>" in made  # noqa: RUF001


def test_the_model_in_tiles_is_told_beside_it_and_is_no_baseline(scores: dict[str, Any]) -> None:
    with_tiles = scores | {"tiles": scores["model"]}
    told = str(headlines(with_tiles))
    assert "in tiles of the size it was trained on" in told and "Against tiles" not in told
    assert told.count('<th scope="row">tiles') == 0 and "in tiles" not in str(headlines(scores))
