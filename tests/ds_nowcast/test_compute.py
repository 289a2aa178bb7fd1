"""The ways to compute a step (nowcast.compute) give the same training at every ZeRO stage: one launch of two ranks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.ds_nowcast.compute_case import CASES
from tests.launching import launch

pytestmark = pytest.mark.launch

TOLERANCE = {"fp32": 2e-5, "bf16": 2e-2}
CHANGED = [case for case in CASES if case[1] != "plain"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    out = tmp_path_factory.mktemp("compute") / "report.json"
    ended = launch("tests.ds_nowcast.compute_case", out, timeout=280)
    assert ended.code == 0, ended.output[-4000:]
    content: dict[str, dict[str, Any]] = json.loads(out.read_text())
    return content


def reference_of(report: dict[str, dict[str, Any]], stage: int, precision: str) -> dict[str, Any]:
    return report[f"{stage} plain {precision}"]


@pytest.mark.parametrize(("stage", "way", "precision"), CHANGED, ids=lambda part: str(part))
def test_it_trains_and_forecasts_as_without(
    report: dict[str, dict[str, Any]], stage: int, way: str, precision: str
) -> None:
    losses = report[f"{stage} {way} {precision}"]["losses"]
    assert losses == pytest.approx(reference_of(report, stage, precision)["losses"], rel=TOLERANCE[precision])
    assert len(set(losses)) == len(losses), "nothing was learnt"


@pytest.mark.parametrize("stage", range(4))
def test_checkpointing_keeps_a_part_of_the_activations_at_every_stage(
    report: dict[str, dict[str, Any]], stage: int
) -> None:
    ratio = report[f"{stage} checkpointed fp32"]["kept"] / reference_of(report, stage, "fp32")["kept"]
    print(f"ZeRO {stage}: {ratio:.2f} of the bytes kept for the backward pass")
    assert ratio < 0.5


def test_every_stage_trains_alike(report: dict[str, dict[str, Any]]) -> None:
    losses = np.array([reference_of(report, stage, "fp32")["losses"] for stage in range(4)])
    assert np.ptp(losses, axis=0).max() < 1e-5
