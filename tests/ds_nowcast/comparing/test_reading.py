"""Runs that are missing, damaged, or do not belong together are refused by name."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from ds_nowcast.baselines import BASELINES
from ds_nowcast.comparing import files
from ds_nowcast.comparing.evaluated import read_run, read_runs
from ds_nowcast.comparing.matching import matched
from tests.ds_nowcast.comparing.made_runs import Line, made_lines, written_run


def refusal(*folders: Path) -> str:
    with pytest.raises(UserError) as refused:
        matched(read_runs(folders))
    return str(refused.value)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return written_run(tmp_path / "runs" / "a", made_lines())


def test_a_folder_that_was_not_evaluated_is_told_what_to_do(tmp_path: Path, run: Path) -> None:
    assert f"{tmp_path / 'none' / 'scores.json'} cannot be read (No such file" in refusal(tmp_path / "none")
    assert f"{tmp_path} has no scores.json: it was not evaluated" in refusal(tmp_path)
    (run / "windows.jsonl").unlink()
    says = refusal(run)
    assert f"{run} has no windows.jsonl" in says and "python -m ds_nowcast.evaluate" in says
    (run / "windows.jsonl").mkdir()
    assert "windows.jsonl cannot be read (Is a directory)" in refusal(run)


def test_the_path_of_scores_json_stands_for_its_folder(run: Path) -> None:
    assert read_runs([run / "scores.json"])[0].folder == run


def test_a_run_given_twice_is_refused(run: Path) -> None:
    assert "is given twice" in refusal(run, run / ".." / "a")


def test_folders_of_one_name_are_told_apart_by_what_stands_before_it(tmp_path: Path) -> None:
    lines = made_lines()
    folders = [written_run(tmp_path / place, lines) for place in ("one/best", "two/best", "persistence")]
    assert [run.name for run in read_runs(folders[:2])] == ["one/best", "two/best"]
    assert read_runs(folders[2:])[0].name == f"{tmp_path.name}/persistence"  # no baseline


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (lambda text: text[:-5], "ends in the midst of line 36"),
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "has 35 lines, scores.json beside it says 36 windows"),
        (lambda text: "", "has 0 lines"),
        (lambda text: text.replace('"pixels": 2999', '"pixels": -1', 1), "is damaged in line 2: pixels"),
        (lambda text: text.replace('"pixels": 2999', '"pixels": 2998', 1), "does not add up to scores.json beside it"),
        (lambda text: text.replace('"hits": [', '"hits": [7, ', 1), "line 1: model has not 3 counts each"),
        (lambda text: text.replace('"squared_error": ', '"squared_error": -', 1), "model has an error below 0"),
        (lambda text: text.replace('"time": "2021', '"time": "x', 1), "is damaged in line 1: time"),
        (lambda text: text.replace("00Z", "00", 1), "is damaged in line 1: time"),
        (lambda text: text.replace("{", "\x00", 1), "is damaged in line 1: as a whole"),
        (lambda text: text.replace('"extrapolation"', '"other"', 1), "has no extrapolation in line 1"),
        (lambda text: "\n".join([text.split("\n")[1], *text.split("\n")[1:]]), "has a window twice"),
    ],
)
def test_damaged_windows_are_refused_by_line(run: Path, cut: Callable[[str], str], says: str) -> None:
    path = run / "windows.jsonl"
    path.write_text(cut(path.read_text()))
    assert says in refusal(run) and str(path) in refusal(run)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda scores: scores["task"].pop("index_hash"), "damaged: task.index_hash"),
        (lambda scores: scores["task"].update(windows=0), "damaged: task.windows"),
        (lambda scores: scores["task"].update(leads="3"), "damaged: task.leads"),
        (lambda scores: scores["task"]["thresholds"].update(values=[2.0, 1.0]), "damaged: task.thresholds"),
        (lambda scores: scores["model"].pop("counts"), "damaged: model.counts is missing"),
        (
            lambda scores: scores["model"]["counts"]["hits"][1].__setitem__(0, 1),
            "add up to scores.json beside it (hits of",
        ),
        (lambda scores: scores["persistence"]["counts"].update(misses=[]), "(misses of persistence)"),
    ],
)
def test_damaged_scores_are_refused_by_key(tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    assert says in refusal(written_run(tmp_path / "a", made_lines(), change))


def test_scores_that_are_no_json_are_refused(run: Path) -> None:
    (run / "scores.json").write_bytes(b'{"task": \xff')
    assert f"{run / 'scores.json'} is damaged: as a whole" in refusal(run)


def test_forecasts_of_a_window_that_saw_different_events_are_refused(tmp_path: Path) -> None:
    lines = made_lines()
    lines[4]["persistence"]["hits"][0] += 1
    says = refusal(written_run(tmp_path / "a", lines))
    assert "persistence and model differ in what was observed at event1-0 (2021-06-02T01:00:00Z)" in says


def test_what_an_evaluation_adds_is_passed_over(tmp_path: Path) -> None:
    lines = [{**line, "case": "best", "mean_flow": {"hits": [1]}} for line in made_lines()]
    run = written_run(tmp_path / "a", lines, lambda scores: scores["task"].update(host="here"))
    assert sorted(read_run(run, "a").sums_WF) == ["extrapolation", "model", "persistence"]


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"split": "val"}, "split val where the first has test"),
        ({"index_hash": "f" * 64}, "shards (index_hash) ffffffffffff where the first has 0123456789ab"),
        (
            {"thresholds": {"unit": "mm/h", "values": [0.5, 2.0, 9.0]}},
            "0.5, 2, 9 mm/h where the first has 0.5, 2, 8 mm/h",
        ),
        ({"leads": 4, "cadence_s": 600}, "lead times 4 where the first has 3; cadence 600 s where the first has 300 s"),
        ({"pixel": [500.0, 500.0]}, "pixel size 500 x 500 m where the first has 1000 x 1000 m"),
    ],
)
def test_runs_of_other_tasks_are_refused_naming_both_and_what_differs(
    tmp_path: Path, run: Path, task: dict[str, Any], says: str
) -> None:
    other = written_run(tmp_path / "b", made_lines(), task=task)
    refused = refusal(run, other)
    assert says in refused and str(run / "scores.json") in refused and str(other / "scores.json") in refused
    assert "evaluate both on the same shards and split" in refused


def test_other_windows_are_refused_naming_the_difference(tmp_path: Path, run: Path) -> None:
    assert "windows 33 where the first has 36" in refusal(run, written_run(tmp_path / "b", made_lines(days=11)))
    lines = made_lines()
    lines[7]["key"] = "elsewhere"
    refused = refusal(run, written_run(tmp_path / "c", lines))
    assert "1 window of the first is missing" in refused and "event2-0 (2021-06-03T01:00:00Z)" in refused
    assert "1 other (such as elsewhere (2021-06-03T01:00:00Z))" in refused


def changed(change: Callable[[Line], None]) -> list[Line]:
    lines = copy.deepcopy(made_lines())
    for line in lines[3:5]:
        change(line)
    return lines


def one_more_event(line: Line) -> None:
    for name in ("model", "persistence", "extrapolation"):
        line[name]["misses"][1] += 1


def test_other_pixels_or_observations_in_the_same_windows_are_refused(tmp_path: Path, run: Path) -> None:
    pixels = written_run(tmp_path / "b", changed(lambda line: line.update(pixels=5)))
    assert "differ in the scored pixels of 2 windows (the first: event1-0" in refusal(run, pixels)
    events = written_run(tmp_path / "c", changed(one_more_event))
    assert "differ in the observed events of 2 windows" in refusal(run, events)


def test_names_of_files_and_keys_reach_no_terminal_raw(tmp_path: Path, run: Path) -> None:
    lines = made_lines()
    lines[0]["key"] = "\x1b[31mred"
    other = written_run(tmp_path / "b\x1b[2J", lines)
    assert "\x1b[31m" not in refusal(run, other)
    assert read_runs([other])[0].name == "b\\x1b[2J"


def test_more_numbers_than_json_can_nest_are_damage(run: Path) -> None:
    (run / "scores.json").write_text("[" * 100_000)
    assert "scores.json is damaged" in refusal(run)
    (run / "scores.json").write_text(json.dumps([1]))
    assert "scores.json is damaged" in refusal(run)


def test_every_baseline_has_its_place_in_both_files() -> None:
    for file in (files.ScoresFile, files.WindowLine):
        assert set(BASELINES) <= file.model_fields.keys()
