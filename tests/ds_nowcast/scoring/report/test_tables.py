"""All scores stand in the tables, whatever is absent."""

from __future__ import annotations

from typing import Any

from ds_nowcast.scoring.report.tables import all_tables
from tests.ds_nowcast.scoring.report.reading import Reading


def test_every_score_by_threshold_of_every_forecast_is_there(scores: dict[str, Any]) -> None:
    made = all_tables(scores)
    for name in ("model", "persistence", "extrapolation", "climatology"):
        assert f"{name.capitalize()} by threshold, all leads" in made and f"{name.capitalize()} by lead time" in made
        for key in ("csi_pooled", "csi_pool16", "pod", "far", "bias", "hss", "ets"):
            for value in scores[name][key].values():
                assert value is None or f"<td>{value:.3f}</td>".replace("-", "−") in made  # noqa: RUF001
    for head in ("CSI pooled", "HSS", "ETS", "FSS 1 px", "FSS 32 px"):
        assert f'<th scope="col">{head}</th>' in made


def test_lead_times_have_a_row_each(scores: dict[str, Any]) -> None:
    made = all_tables(scores)
    assert made.count('<th scope="row">+5 min</th>') == made.count('<th scope="row">+10 min</th>') == 4


def test_all_rows_of_a_table_have_as_many_cells_as_its_head(scores: dict[str, Any]) -> None:
    scores["persistence"]["fss"] = {}
    scores["extrapolation"] = {"absent": "x"}
    cells: list[int] = []
    for name, _ in Reading(all_tables(scores)).elements:
        if name == "table":
            cells = []
        elif name == "tr":
            cells.append(0)
        elif name in ("th", "td"):
            cells[-1] += 1
            assert cells[-1] <= cells[0] or len(cells) == 1


def test_with_contingency_and_errors_alone_there_are_tables_still(scores: dict[str, Any]) -> None:
    for name in ("model", "persistence", "extrapolation", "climatology"):
        for part in (scores[name], *scores[name]["by_lead"]):
            for key in ("fss", "spectrum", "quantiles", "ssim", "physical", "csi_pool4", "csi_pool16", "csi_m", "rmse"):
                part.pop(key, None)
    del scores["skill"]
    text = Reading(all_tables(scores)).text
    assert "FSS" not in text and "CSI pooled" in text and "Skill against" not in text and "CSI-M" not in text
