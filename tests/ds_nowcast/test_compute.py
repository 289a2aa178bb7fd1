"""The ways to compute a step (nowcast.compute) give the same training at every ZeRO stage: one launch of two ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ds_nowcast.compute_case import CASES, COMPILED
from tests.launching import launch

Report = dict[str, dict[str, Any]]
TOLERANCE = {"fp32": 2e-5, "bf16": 2e-2}


def trained(out: Path, timeout: float) -> Report:
    ended = launch("tests.ds_nowcast.compute_case", out, timeout=timeout)
    assert ended.code == 0, ended.output[-4000:]
    content: Report = json.loads(out.read_text())
    return content


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return trained(tmp_path_factory.mktemp("compute") / "eager.json", timeout=280)


def reference_of(report: Report, stage: int, precision: str) -> dict[str, Any]:
    return report[f"{stage} plain {precision}"]


def check_alike(report: Report, stage: int, way: str, precision: str) -> None:
    losses = report[f"{stage} {way} {precision}"]["losses"]
    assert losses == pytest.approx(reference_of(report, stage, precision)["losses"], rel=TOLERANCE[precision])
    assert len(set(losses)) == len(losses), "nothing was learnt"


@pytest.mark.hosts
@pytest.mark.parametrize(("stage", "way", "precision"), [case for case in CASES if case[1] != "plain"])
def test_it_trains_and_forecasts_as_without(report: Report, stage: int, way: str, precision: str) -> None:
    check_alike(report, stage, way, precision)


@pytest.mark.hosts
@pytest.mark.timeout(600)
def test_a_compiled_model_trains_and_forecasts_as_without(tmp_path: Path) -> None:
    report = trained(tmp_path / "compiled.json", timeout=580)
    for case in COMPILED:
        check_alike(report, *case)


@pytest.mark.hosts
@pytest.mark.parametrize("stage", range(4))
def test_checkpointing_keeps_a_part_of_the_activations_at_every_stage(report: Report, stage: int) -> None:
    ratio = report[f"{stage} checkpointed fp32"]["kept"] / reference_of(report, stage, "fp32")["kept"]
    print(f"ZeRO {stage}: {ratio:.2f} of the bytes kept for the backward pass")
    assert ratio < 0.5


@pytest.mark.hosts
def test_every_stage_trains_alike(report: Report) -> None:
    losses = np.array([reference_of(report, stage, "fp32")["losses"] for stage in range(4)])
    assert np.ptp(losses, axis=0).max() < 1e-5
