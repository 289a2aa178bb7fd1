"""Which cases a report shows, and that they hold the right frames at the right times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_prep.encoding import ENCODINGS
from data_prep.pictures import Strip
from data_prep.pictures.colours import difference_scale
from data_prep.shards.index import open_shards
from data_prep.shards.stored import read_sample
from ds_nowcast.exported import open_model
from ds_nowcast.model_space import Windows
from ds_nowcast.scoring.records import WindowRecord, WindowSums
from ds_nowcast.scoring.report import Case, cases, cases_of, chosen_cases
from ds_nowcast.scoring.report.cases import difference, write_case
from tests.ds_nowcast.made_model import made_run

ERRORS = st.dictionaries(
    st.integers(0, 50), st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20
)  # fmt: skip


@given(ERRORS)
def test_cases_are_ranked_by_skill_among_the_windows_where_persistence_errs_most(
    errors: dict[int, tuple[float, float]],
) -> None:
    chosen = chosen_cases(errors)
    eventful = sorted((persistence for _, persistence in errors.values()), reverse=True)[: (len(errors) + 1) // 2]
    relative = {window: errors[window][0] / max(errors[window][1], 1e-12) for window in chosen.values()}
    assert list(chosen) == ["best", "median", "worst"]
    assert relative[chosen["best"]] <= relative[chosen["median"]] <= relative[chosen["worst"]]
    assert all(errors[window][1] >= eventful[-1] for window in chosen.values())


def test_the_best_and_the_worst_case_are_the_extremes() -> None:
    errors = {0: (0.5, 0.5), 1: (0.1, 0.5), 2: (0.9, 0.5), 3: (0.0, 0.001), 4: (0.0, 0.0), 5: (9.0, 0.002)}
    assert chosen_cases(errors) == {"best": 1, "median": 0, "worst": 2}
    assert chosen_cases({7: (0.0, 0.0)}) == {"best": 7, "median": 7, "worst": 7}


def record(window: int, start: int) -> WindowRecord:
    """Of ten pixels, with a mean squared error of 0.1, persistence's 0.2."""
    sums = {name: WindowSums(error, 0.0, [], [], []) for name, error in (("model", 1.0), ("persistence", 2.0))}
    return WindowRecord(window, "", start, "", 10, sums)


@pytest.fixture
def window(tmp_path: Path, config: Path, shards: Path) -> tuple[Case, dict[str, Any], Any]:
    """The second window of sequence 3, which has rows without data, of a model that forecasts the last frame."""
    made_run(tmp_path / "run", config, shards, [])
    model, card = open_model(tmp_path / "run", None, torch.device("cpu"))
    opened = open_shards(shards)

    def full(windows: Windows, leads: int) -> torch.Tensor:
        return torch.ones(1, leads, *windows.past_BTHW.shape[2:])

    made = cases_of([record(7, 4)], model, card, opened, "val", {"extrapolation": full})
    assert [case.name for case in made] == ["best", "median", "worst"]
    return made[0], *read_sample(opened, "val", 3)


def test_a_case_holds_the_frames_of_its_window(window: tuple[Case, dict[str, Any], Any]) -> None:
    case, meta, codes_THW = window
    values_THW = ENCODINGS["vil255"].decode(codes_THW, "kg/m2")
    np.testing.assert_array_equal(case.past_THW, values_THW[4:8])
    np.testing.assert_array_equal(case.observed_THW, values_THW[8:11])
    first = datetime.fromisoformat(meta["times"][0]).astimezone(UTC)
    assert list(case.times) == [first + timedelta(minutes=5 * frame) for frame in range(4, 11)]
    assert (case.key, case.unit) == (meta["key"], "kg/m2")
    assert case.errors == {"model": 0.1, "persistence": 0.2}


def test_forecasts_of_a_case_claim_nothing_where_the_last_frame_saw_nothing(
    window: tuple[Case, dict[str, Any], Any],
) -> None:
    case, _, codes_THW = window
    last_HW = ENCODINGS["vil255"].decode(codes_THW[7], "kg/m2")
    np.testing.assert_allclose(case.forecast_THW, np.repeat(last_HW[None], 3, 0), rtol=1e-5, atol=1e-7)
    assert np.isnan(case.forecast_THW).any()
    (highest,) = np.unique(case.baselines["extrapolation"][~np.isnan(case.forecast_THW)])
    assert highest == ENCODINGS["vil255"].from_model(np.float32([1.0]), "kg/m2")[0]
    assert (np.isnan(case.baselines["extrapolation"]) == np.isnan(case.forecast_THW)).all()


def test_the_rows_of_a_case_are_past_observed_forecast_baselines_and_difference(
    window: tuple[Case, dict[str, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = window[0]
    drawn: list[tuple[list[Strip], dict[str, Any]]] = []
    monkeypatch.setattr(cases, "film_strip", lambda path, rows, **words: drawn.append((rows, words)))
    write_case(Path("case.png"), case, "val")
    rows, words = drawn[0]
    assert [row.label for row in rows] == ["Past", "Observed", "Forecast", "Extrapolation", "Difference"]
    assert list(rows[0].times) == list(case.times[:4]) and all(
        list(row.times) == list(case.times[4:]) for row in rows[1:]
    )
    assert [row.scale for row in rows[:-1]] == [None] * 4 and rows[-1].scale == difference_scale("kg/m2")
    assert words["lead_from"] == case.times[3] and words["unit"] == "kg/m2"
    assert words["title"] == f"Best case: {case.key}, split val"


def test_differences_are_forecast_minus_observed_and_nowhere_where_either_is_unknown() -> None:
    field = np.float32([[[1.0, np.nan, 3.0]]])
    case = Case("best", "k", [], "mm/h", None, field, np.float32([[[0.5, 1.0, np.nan]]]), field, {})
    np.testing.assert_array_equal(difference(case), np.float32([[[0.5, np.nan, np.nan]]]))


def test_faint_echoes_and_none_do_not_differ_in_reflectivity() -> None:
    observed, forecast = np.float32([[[-np.inf, -32.0, 30.0, np.nan]]]), np.float32([[[4.0, 25.0, -np.inf, 9.0]]])
    case = Case("best", "k", [], "dBZ", None, observed, observed, forecast, {})
    np.testing.assert_array_equal(difference(case), np.float32([[[0.0, 20.0, -25.0, np.nan]]]))
    assert difference(replace(case, unit="mm/h"))[0, 0, 1] == 57.0
