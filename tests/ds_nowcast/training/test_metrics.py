"""`metrics.jsonl`: JSON whatever the numbers, and in step with the checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ds_nowcast.errors import SaveError
from ds_nowcast.training.run_folder import Metrics, saving


def lines(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_numbers_that_json_cannot_hold_become_null_at_any_depth(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    metrics.add(
        step=1, loss=float("nan"), grad_norm=float("inf"), evaluation={"model": {"mse": float("nan"), "mae": 0.5}}
    )
    assert lines(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": None, "grad_norm": None, "evaluation": {"model": {"mse": None, "mae": 0.5}}}
    ]


def test_lines_behind_the_checkpoint_are_dropped_on_resuming(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path, 0)
    for step in (1, 2, 3):
        metrics.add(step=step)
    with open(path, "ab") as file:
        file.write(b'{"step": 4, "lo\xff')  # a launch killed while it wrote
    Metrics(path, 2).add(step=3, again=True)
    assert lines(path) == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_a_write_that_fails_under_way_says_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "none/metrics.jsonl"
    with (
        pytest.raises(SaveError, match=r"metrics\.jsonl cannot be written \(No such file or directory\); make room"),
        saving(path),
    ):
        Metrics(path, 0).add(step=1)
