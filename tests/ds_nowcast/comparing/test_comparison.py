"""What is found: scores as in scores.json, exact paired differences, skill, and what is undefined."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import UserError
from ds_nowcast.comparing.comparison import Comparison, compare
from ds_nowcast.comparing.scores import scores_of, skill
from tests.ds_nowcast.comparing.made_runs import Line, made_lines, written_run


def with_model_of(lines: list[Line], others: list[Line]) -> list[Line]:
    return [{**line, "model": other["model"]} for line, other in zip(lines, others, strict=True)]


def doubled(lines: list[Line]) -> list[Line]:
    """The same windows, each error of the model twice as large."""
    lines = copy.deepcopy(lines)
    for line in lines:
        line["model"]["squared_error"] *= 2.0
    return lines


def compared(tmp_path: Path, *runs: list[Line]) -> Comparison:
    return compare([written_run(tmp_path / f"run{i}", lines) for i, lines in enumerate(runs)], resamples=200)


def test_scores_are_sums_over_all_windows_divided_once(tmp_path: Path) -> None:
    lines = made_lines()
    found = compared(tmp_path, lines)
    assert found.names == ["run0", "persistence", "extrapolation"]
    labels = [column.label for column in found.columns]
    assert labels == ["CSI 0.5 mm/h", "CSI 2 mm/h", "CSI 8 mm/h", "mean CSI", "MSE", "MAE"]
    for row, name in enumerate(("model", "persistence", "extrapolation")):
        total = {
            count: np.sum([line[name][count] for line in lines], 0) for count in ("hits", "misses", "false_alarms")
        }
        csi = total["hits"] / sum(total.values())
        pixels = sum(line["pixels"] for line in lines)
        errors = [sum(line[name][error] for line in lines) / pixels for error in ("squared_error", "absolute_error")]
        assert found.scores_SM.value[row] == pytest.approx([*csi, csi.mean(), *errors], rel=1e-13)
    assert (found.scores_SM.low < found.scores_SM.value).all() and (found.scores_SM.value < found.scores_SM.high).all()
    csi, mse = found.scores_SM.value[0, 0], found.scores_SM.value[0, 4]
    persistence_csi, persistence_mse = found.scores_SM.value[1, 0], found.scores_SM.value[1, 4]
    skill = found.skill_SM["persistence"]
    assert skill.value[0, 0] == pytest.approx((csi - persistence_csi) / (1 - persistence_csi))
    assert skill.value[0, 4] == pytest.approx(1 - mse / persistence_mse)
    assert np.isclose(skill.value[1], 0.0).all() and list(found.skill_SM) == ["persistence", "extrapolation"]


def test_differences_are_paired_over_the_same_resamples(tmp_path: Path) -> None:
    lines = made_lines()
    found = compared(tmp_path, lines, doubled(lines))
    own, other = found.scores_SM, found.difference_SM
    # Twice the error in every resample: the difference's interval is the first run's own, end by end.
    assert other.low[1, 4] == pytest.approx(own.low[0, 4], rel=1e-12)
    assert other.high[1, 4] == pytest.approx(own.high[0, 4], rel=1e-12)
    assert other.excludes_0[1, 4]
    same = np.delete(np.arange(6), 4)
    assert (other.value[1, same] == 0).all() and (other.low[1, same] == 0).all() and (other.high[1, same] == 0).all()
    assert not other.excludes_0[1, same].any()


def test_a_small_difference_in_all_windows_is_told_where_intervals_overlap(tmp_path: Path) -> None:
    lines = made_lines(days=30)
    better = copy.deepcopy(lines)
    for line in better:
        line["model"]["squared_error"] *= 0.97
    found = compared(tmp_path, lines, better)
    own = found.scores_SM
    assert own.low[0, 4] < own.value[1, 4] < own.high[0, 4]
    assert found.difference_SM.high[1, 4] < 0 and found.difference_SM.excludes_0[1, 4]


def test_a_seed_gives_the_same_intervals_again_and_another_gives_others(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run", made_lines())
    first, again, other = (compare([run], 200, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.scores_SM.low, again.scores_SM.low)
    assert not np.array_equal(first.scores_SM.low, other.scores_SM.low)


def test_the_order_of_windows_in_a_file_does_not_matter(tmp_path: Path) -> None:
    lines = made_lines()
    found = compared(tmp_path, lines, lines[::-1])
    assert np.nanmax(np.abs(found.difference_SM.high[1])) < 1e-15  # floats are added in another order


def test_a_threshold_that_nothing_reached_is_undefined_and_left_out_of_the_mean(tmp_path: Path) -> None:
    lines = made_lines()
    for line in lines:
        for name in ("model", "persistence", "extrapolation"):
            for count in ("hits", "misses", "false_alarms"):
                line[name][count][2] = 0
    found = compared(tmp_path, lines)
    for numbers in (found.scores_SM.value, found.scores_SM.low, found.scores_SM.high):
        assert np.isnan(numbers[:, 2]).all() and not np.isnan(numbers[:, [0, 1, 3, 4, 5]]).any()
    assert found.scores_SM.value[0, 3] == pytest.approx(found.scores_SM.value[0, :2].mean())


def test_means_over_different_thresholds_are_not_compared(tmp_path: Path) -> None:
    lines = made_lines()
    for line in lines:
        for name in ("model", "persistence", "extrapolation"):
            line[name]["hits"][2] = line[name]["misses"][2] = line[name]["false_alarms"][2] = 0
    alarming = copy.deepcopy(lines)
    for line in alarming:
        line["model"]["false_alarms"][2] = 1
    found = compared(tmp_path, lines, alarming)
    assert found.scores_SM.value[1, 2] == 0.0  # all alarms were false
    assert np.isnan(found.difference_SM.value[1, [2, 3]]).all() and not np.isnan(found.difference_SM.value[1, :2]).any()


def test_a_threshold_reached_on_few_days_has_a_score_and_no_interval(tmp_path: Path) -> None:
    lines = made_lines(days=12)
    for line in lines[3 * 9 :]:  # events on the first nine days alone
        for name in ("model", "persistence", "extrapolation"):
            line[name]["hits"][2] = line[name]["misses"][2] = line[name]["false_alarms"][2] = 0
    found = compared(tmp_path, lines).scores_SM
    assert not np.isnan(found.value[0]).any()
    assert np.isnan(found.low[0]).tolist() == [False, False, True, True, False, False]  # nor has the mean with it


def test_errors_that_are_not_finite_are_undefined_not_a_crash(tmp_path: Path) -> None:
    lines = made_lines()
    broken = copy.deepcopy(lines)
    for line in broken:
        line["model"]["squared_error"] = None
    broken[5]["model"]["absolute_error"] = float("nan")  # NaN and null mean the same
    found = compared(tmp_path, lines, broken)
    assert np.isnan(found.scores_SM.value[1, 4:]).all() and not np.isnan(found.scores_SM.value[1, :4]).any()
    assert np.isnan(found.difference_SM.low[1, 4:]).all() and not found.difference_SM.excludes_0[1, 4:].any()


def test_skill_against_a_perfect_reference_is_undefined() -> None:
    sums_SF = np.array([[5.0, 5.0, 0.0, 1.0, 1.0, 10.0], [10.0, 0.0, 0.0, 0.0, 0.0, 10.0]])
    scores_SM = scores_of(sums_SF, np.ones((2, 1), bool))
    assert np.isnan(skill(scores_SM, scores_SM[1], np.array([1.0, 1.0, 0.0, 0.0]))).all()


def test_few_days_are_told_and_few_events_get_no_interval(tmp_path: Path) -> None:
    found = compared(tmp_path, made_lines(days=6, per_day=4))
    assert found.blocks.by == "event" and found.blocks.count == 12 and "only 6 days" in found.notes[0]
    assert not np.isnan(found.scores_SM.low).any()
    found = compare([written_run(tmp_path / "few", made_lines(days=4))], 200)
    assert "no interval can be trusted" in found.notes[0] and np.isnan(found.scores_SM.low).all()
    assert not np.isnan(found.scores_SM.value).any()


def test_baselines_stand_once_and_one_that_differs_is_told(tmp_path: Path) -> None:
    lines = made_lines(names=("model", "persistence"))
    others = made_lines()
    for line in others:
        line["persistence"]["absolute_error"] *= 1.1
    found = compared(tmp_path, lines, others)
    assert found.names == ["run0", "run1", "persistence", "extrapolation"]  # the one that only the second has too
    assert found.notes == ["persistence: run1 was evaluated against another one than run0, whose is shown"]


def test_scores_on_training_data_are_told(tmp_path: Path) -> None:
    runs = [
        written_run(tmp_path / "a", made_lines()),
        written_run(tmp_path / "b", made_lines(), task={"data": "training data"}),
    ]
    assert compare(runs, 200).notes == ["b: its windows are training data"]


@pytest.mark.parametrize("resamples", [99, 100_001])
def test_too_few_and_too_many_resamples_are_refused(tmp_path: Path, resamples: int) -> None:
    with pytest.raises(UserError, match=f"--resamples {resamples} is out of range; give 100"):
        compare([written_run(tmp_path / "a", made_lines())], resamples)
