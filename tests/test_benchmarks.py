"""The benchmarks' arithmetic: turns, pairs and what is written. The speeds themselves are no test."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.report import Goal, Report, publish
from benchmarks.timing import in_turns, ratio

RATES = {"ours": [8.0, 30.0, 10.0], "slow peer": [2.0, 2.0, 2.0], "fast peer": [4.0, 10.0, 1.0]}


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    now, turns = 0.0, ""

    def contender(name: str, seconds: float) -> float:
        nonlocal now, turns
        now, turns = now + seconds * (100 if len(turns) < 2 else 1), turns + name
        return 6.0

    contenders = {"A": lambda: contender("A", 2.0), "B": lambda: contender("B", 3.0)}
    assert in_turns(contenders, 3, clock=lambda: now) == {"A": [3.0] * 3, "B": [2.0] * 3}
    assert turns == "ABABABAB"


def test_ratios_are_paired_by_round() -> None:
    found = ratio(RATES, "ours", "fast peer")
    assert (found.least, found.median, found.most) == (2.0, 3.0, 10.0)


@pytest.mark.parametrize(("at_least", "verdict"), [(3.0, "reached"), (3.1, "missed")])
def test_a_goal_is_measured_against_the_fastest_peer_and_written(tmp_path: Path, at_least: float, verdict: str) -> None:
    out = io.StringIO()
    report = Report("name", "work", "frames/s", RATES, [Goal("ours", ["slow peer", "fast peer"], at_least)])
    publish(report, tmp_path, Console(file=out, width=120))
    assert "ours / fast peer" in out.getvalue()
    assert verdict in out.getvalue()
    written = json.loads((tmp_path / "name.json").read_text())
    assert written["rates"]["ours"] == {"median": 10.0, "least": 8.0, "most": 30.0, "rounds": RATES["ours"]}
    [found] = written["ratios"]
    assert (found["against"], found["median"], found["reached"]) == ("fast peer", 3.0, verdict == "reached")
