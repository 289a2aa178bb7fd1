"""The compare command: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ds_nowcast import compare
from tests.ds_nowcast.comparing.made_runs import made_lines, written_run
from tests.launching import ROOT


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two runs of which the second is better."""
    folders = [tmp_path / "unet", tmp_path / "simvp"]
    return [str(written_run(folder, made_lines(skill=0.5 + 0.1 * i))) for i, folder in enumerate(folders)]


def test_people_get_tables_and_files(tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([*runs, "--out", str(tmp_path / "out"), "--resamples", "200"]) == 0
    printed = capsys.readouterr().out
    assert "36 windows of split test, 3 lead times of 5 min; 95 % intervals: 200 resamples of 12 days" in printed
    for title in ("Scores", "Difference to unet, paired", "Skill against persistence", "Skill against extrapolation"):
        assert f"\n{title}" in printed
    assert [line.split()[0] for line in printed.splitlines() if "simvp  " in line] == ["simvp"] * 4
    assert "…" not in printed  # nothing was cut
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.csv", "compare.json", "compare.png"]
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_machines_get_what_the_files_hold(tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert compare.main([*runs, "--out", str(out), "--resamples", "200", "--seed", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "compare.json").read_text())
    assert found["resamples"] == 200 and found["seed"] == 3 and found["level"] == 0.95 and found["notes"] == []
    assert found["blocks"] == {"by": "day", "count": 12} and found["task"]["split"] == "test"
    first, second, *baselines = found["forecasts"]
    assert (first["name"], first["kind"], first["folder"]) == ("unet", "run", runs[0]) and "difference" not in first
    assert [baseline["name"] for baseline in baselines] == ["persistence", "extrapolation"]
    csi, other = (run["scores"]["csi_pooled"]["2"]["value"] for run in (first, second))
    difference = second["difference"]["csi_pooled"]["2"]
    assert difference["value"] == other - csi > 0 and difference["excludes_0"] is True
    assert set(first["skill"]) == {"persistence", "extrapolation"} and list(baselines[0]["skill"]) == ["extrapolation"]
    with open(out / "compare.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * (4 + 3 + 2 * 4 - 2)  # six scores of four forecasts, differences of three, skill
    line = next(line for line in lines if (line["forecast"], line["quantity"]) == ("simvp", "difference"))
    assert (line["reference"], line["score"], line["threshold"]) == ("unet", "csi_pooled", "0.5")
    assert float(line["value"]) == second["difference"]["csi_pooled"]["0.5"]["value"] and line["excludes_0"] == "True"


def test_what_is_undefined_is_a_dash_and_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = made_lines(days=3, names=("model",), thresholds=1)
    for line in lines:
        line["model"].update(hits=[0], misses=[0], false_alarms=[0], squared_error=None)
    run = written_run(tmp_path / "dry", lines)
    assert compare.main([str(run), "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    rows = [line.split() for line in captured.out.splitlines() if line.startswith(" dry")]
    assert [row[:4] for row in rows] == [["dry", "-", "-", "-"]] and float(rows[0][4]) > 0
    assert "5 min; no intervals; MSE" in captured.out
    assert "beware: only 3 days and 6 events: no interval can be trusted" in captured.out
    scores = json.loads((tmp_path / "compare.json").read_text())["forecasts"][0]["scores"]
    assert scores["csi_pooled"]["0.5"] == scores["mse"] == {"value": None, "low": None, "high": None}
    assert (tmp_path / "compare.png").exists()


def test_quiet_prints_the_tables_alone(tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([*runs, "--out", str(tmp_path), "--quiet", "--resamples", "100"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Scores") and captured.err == ""


def test_what_cannot_be_compared_ends_with_2_and_one_sentence(
    tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = written_run(tmp_path / "other", made_lines(), task={"split": "val"})
    assert compare.main([*runs, str(other), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file_is_refused_and_one_that_cannot_be_made_is_an_error_of_the_disk(
    tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([*runs, "--out", str(Path(runs[0]) / "scores.json")]) == 2
    assert "is a file; give a folder" in capsys.readouterr().err
    assert compare.main([*runs, "--out", str(Path(runs[0]) / "scores.json" / "deeper"), "--resamples", "100"]) == 3
    assert "cannot be written: Not a directory" in capsys.readouterr().err


def test_without_the_pictures_library_there_are_tables_and_numbers(
    tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = tmp_path / "out"
    assert compare.main([*runs, "--out", str(out), "--resamples", "100"]) == 0
    assert "no picture: a picture needs matplotlib" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["compare.csv", "compare.json"]


def test_narrow_terminals_get_narrow_tables(
    tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_prep.console._COLUMNS", 60)
    assert compare.main([*runs, "--out", str(tmp_path), "--quiet", "--resamples", "100"]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed and max(map(len, printed.splitlines())) <= 60 and printed.count("CSI 8 mm/h") == 4


@pytest.mark.slow
def test_help_has_an_example() -> None:
    command = [sys.executable, "-m", "ds_nowcast.compare", "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "example:\n  python -m ds_nowcast.compare runs/" in told and "--resamples N" in told


@pytest.mark.slow
def test_five_runs_of_all_of_sevirs_test_windows_are_compared(tmp_path: Path) -> None:
    lines = made_lines(days=60, per_day=203, thresholds=6)[:12_159]
    folders = [str(written_run(tmp_path / f"run{i}", lines)) for i in range(5)]
    began = time.process_time()
    assert compare.main([*folders, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    took = time.process_time() - began
    print(f"5 runs of {len(lines)} windows: {took:.1f} s of one core")
    found = json.loads((tmp_path / "out/compare.json").read_text())
    assert found["task"]["windows"] == 12_159 and found["blocks"]["by"] == "day"
    assert found["blocks"]["count"] == len({line["time"][:10] for line in lines})
    assert [one["kind"] for one in found["forecasts"]].count("run") == 5
