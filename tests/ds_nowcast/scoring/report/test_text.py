"""The table for the terminal holds the scores, its columns below each other."""

from __future__ import annotations

from typing import Any

from ds_nowcast.scoring.report import score_table
from tests.ds_nowcast.scoring.report.sample import LABELS


def test_the_table_has_a_line_per_threshold_with_the_scores(scores: dict[str, Any]) -> None:
    lines = score_table(scores).splitlines()
    assert lines[0] == "1 windows of split test (held out), 2 leads of 5 min"
    heads = ["threshold", "code", "CSI", "persist.", "extrap.", "climat.", "POD", "FAR", "bias"]
    assert lines[1].split() == heads
    forecasts = ("model", "persistence", "extrapolation", "climatology")
    for line, label in zip(lines[2:8], LABELS, strict=True):
        values = [scores[name]["csi_pooled"][label] for name in forecasts]
        values += [scores["model"][name][label] for name in ("pod", "far", "bias")]
        assert line.split() == [label, *("-" if value is None else f"{value:.3f}" for value in values)]
    assert lines[8].split()[-4:] == [f"{scores[name]['mean']['csi_pooled']:.4f}" for name in forecasts]
    assert lines[10].split() == ["MSE", "in", "[0,", "1]", *(f"{scores[name]['mse']:.4f}" for name in forecasts)]
    assert len(lines) == 12


def test_a_baseline_that_was_not_scored_has_no_column(scores: dict[str, Any]) -> None:
    scores["extrapolation"] = {"absent": "no reason"}
    del scores["climatology"]
    lines = score_table(scores).splitlines()
    assert lines[1].split() == ["threshold", "code", "CSI", "persist.", "POD", "FAR", "bias"]
    assert len(lines[2].split()) == 6


def test_the_columns_of_the_table_stand_below_each_other(scores: dict[str, Any]) -> None:
    lines = score_table(scores).splitlines()
    for head in ("CSI", "persist.", "extrap.", "climat."):
        end = lines[1].index(head) + len(head)
        for line in lines[2:]:
            assert line[end - 1] in "0123456789-" and line[end : end + 1] in (" ", "")


def test_what_is_undefined_is_a_dash_in_the_table(scores: dict[str, Any]) -> None:
    scores["model"] |= {"mse": None, "pod": dict.fromkeys(LABELS)}
    lines = score_table(scores).splitlines()
    assert lines[2].split()[5] == "-" and lines[10].split()[-4] == "-"
