"""What a report shows: the right numbers, the right frames at the right times, and which cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.encoding import ENCODINGS
from data_prep.pictures import Strip
from data_prep.shards.index import Shards, open_shards
from data_prep.shards.stored import read_sample
from ds_nowcast.evaluate import scores_of
from ds_nowcast.exported import ModelCard, open_model
from ds_nowcast.models import NowcastModel
from ds_nowcast.ranks import Ranks
from ds_nowcast.scoring import report
from ds_nowcast.scoring.evaluation import Evaluation, Scored
from ds_nowcast.scoring.report import chosen_cases, score_table, write_pictures
from tests.ds_nowcast.made_model import made_run

ONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
Found = tuple[NowcastModel, ModelCard, Shards, Scored, dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, config: Path, shards: Path) -> Found:
    """An evaluation of a model that forecasts the last frame."""
    run = tmp_path_factory.mktemp("report") / "run"
    made_run(run, config, shards, [])
    model, card = open_model(run, None, ONE.device)
    opened = open_shards(shards)
    scored = Evaluation(opened, "val", card.data("val"), card.thresholds, ONE, micro_batch=4).run(model)
    return model, card, opened, scored, scores_of(scored, card, opened, "val")


def test_the_table_has_a_line_per_threshold_with_the_scores(found: Found) -> None:
    scores = found[4]
    lines = score_table(scores).splitlines()
    assert lines[0] == "10 windows of split val (used to choose the best step), 3 leads of 5 min"
    assert lines[1].split() == ["threshold", "code", "CSI", "persist.", "POD", "FAR", "bias"]
    for line, label in zip(lines[2:], ["16", "74", "133", "160", "181", "219"], strict=False):
        model, persistence = scores["model"], scores["persistence"]
        values = [model["csi_pooled"][label], persistence["csi_pooled"][label]]
        values += [model[name][label] for name in ("pod", "far", "bias")]
        assert line.split() == [label, *(f"{value:.3f}" for value in values)]
    assert lines[8].split()[-2:] == [f"{scores[name]['mean']['csi_pooled']:.4f}" for name in ("model", "persistence")]
    assert lines[10].split() == [
        "MSE",
        "in",
        "[0,",
        "1]",
        *[f"{scores[name]['mse']:.4f}" for name in ("model", "persistence")],
    ]
    assert len(lines) == 12


def test_the_columns_of_the_table_stand_below_each_other(found: Found) -> None:
    lines = score_table(found[4]).splitlines()
    end = lines[1].index("CSI") + 3
    for line in lines[2:8]:
        assert line[end - 5 : end].strip().replace(".", "").isdigit() and line[end] == " "
    for line in lines[8:]:
        assert line[end] == " " and line[end - 1].isdigit()


def test_what_is_undefined_is_a_dash_in_the_table(found: Found) -> None:
    scores = {**found[4]}
    model = {**scores["model"], "mse": None, "pod": dict.fromkeys(scores["model"]["pod"])}
    lines = score_table({**scores, "model": model}).splitlines()
    assert lines[2].split()[3] == "-" and lines[10].split()[-2] == "-"


ERRORS = st.dictionaries(
    st.integers(0, 50), st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20
)  # fmt: skip


@given(ERRORS)
def test_cases_are_ranked_by_skill_among_the_windows_where_persistence_errs_most(
    errors: dict[int, tuple[float, float]],
) -> None:
    cases = chosen_cases(errors)
    eventful = sorted((persistence for _, persistence in errors.values()), reverse=True)[: (len(errors) + 1) // 2]
    relative = {window: errors[window][0] / max(errors[window][1], 1e-12) for window in cases.values()}
    assert list(cases) == ["best", "median", "worst"]
    assert relative[cases["best"]] <= relative[cases["median"]] <= relative[cases["worst"]]
    assert all(errors[window][1] >= eventful[-1] for window in cases.values())


def test_the_best_and_the_worst_case_are_the_extremes() -> None:
    errors = {0: (0.5, 0.5), 1: (0.1, 0.5), 2: (0.9, 0.5), 3: (0.0, 0.001), 4: (0.0, 0.0), 5: (9.0, 0.002)}
    assert chosen_cases(errors) == {"best": 1, "median": 0, "worst": 2}
    assert chosen_cases({7: (0.0, 0.0)}) == {"best": 7, "median": 7, "worst": 7}


@pytest.mark.slow
def test_pictures_are_written_for_leads_errors_and_cases(found: Found, tmp_path: Path) -> None:
    model, card, shards, scored, scores = found
    write_pictures(tmp_path / "report", scores, scored, model, card, shards, "val")
    names = ["case_best", "case_median", "case_worst", "csi_by_lead", "error_by_lead"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [f"{name}.png" for name in names]
    for path in (tmp_path / "report").iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 200


def test_charts_show_each_forecasts_scores_by_lead_time(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    model, card, shards, scored, scores = found
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(report, "line_charts", lambda path, panels, **words: drawn.update({path.stem: (panels, words)}))
    monkeypatch.setattr(report, "film_strip", lambda *_, **__: None)
    write_pictures(Path("."), scores, scored, model, card, shards, "val")
    panels, words = drawn["csi_by_lead"]
    assert words["title"] == "Critical success index by lead time, val: 10 windows, used to choose the best step"
    assert [panel.title for panel in panels][:2] == ["at or above 16 (code)", "at or above 74 (code)"]
    minutes, values = panels[1].series["persistence"]
    assert minutes == [5.0, 10.0, 15.0]
    assert values == [lead["csi_pooled"]["74"] for lead in scores["persistence"]["by_lead"]]
    errors = drawn["error_by_lead"][0]
    assert errors[0].series["model"][1] == [lead["mse"] for lead in scores["model"]["by_lead"]]
    assert errors[1].series["model"][1] == [lead["mae"] for lead in scores["model"]["by_lead"]]


def test_a_case_shows_past_observed_and_both_forecasts_at_their_times(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, card, shards, scored, scores = found
    monkeypatch.setattr(report, "line_charts", lambda *_, **__: None)
    drawn: list[tuple[list[Strip], dict[str, Any]]] = []
    monkeypatch.setattr(report, "film_strip", lambda path, rows, **words: drawn.append((rows, words)))
    window = 7  # the second window of sequence 3, which has rows without data
    one_case = Scored(scored.windows, scored.model, scored.persistence, {window: (0.1, 0.2)}, [])
    write_pictures(Path("."), scores, one_case, model, card, shards, "val")
    assert len(drawn) == 3
    (past, observed, forecast, persistence), words = drawn[0]
    meta, codes_THW = read_sample(shards, "val", 3)
    values_THW = ENCODINGS["vil255"].decode(codes_THW, "kg/m2")
    first = datetime.fromisoformat(meta["times"][0]).astimezone(UTC)
    times = [first + timedelta(minutes=5 * frame) for frame in range(12)]

    np.testing.assert_array_equal(past.values, values_THW[4:8])
    np.testing.assert_array_equal(observed.values, values_THW[8:11])
    np.testing.assert_array_equal(persistence.values, np.repeat(values_THW[7:8], 3, 0))
    # the model forecasts the last frame, and claims nothing where that was not seen
    np.testing.assert_allclose(forecast.values, np.repeat(values_THW[7:8], 3, 0), rtol=1e-5, atol=1e-7)
    assert np.isnan(forecast.values).any()
    assert list(past.times) == times[4:8]
    assert list(observed.times) == list(forecast.times) == list(persistence.times) == times[8:11]
    assert words["lead_from"] == times[7] and words["unit"] == "kg/m2"
    assert words["title"] == f"Best case: {meta['key']}, split val"
