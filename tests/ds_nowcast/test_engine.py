"""The engine on two ranks at every ZeRO stage in fp32 and bf16, and in fp16 with a dynamic loss scale: one launch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.ds_nowcast.engine_case import ACCUMULATION, CASES, MICRO
from tests.launching import launch

pytestmark = pytest.mark.launch
EVERY_CASE = pytest.mark.parametrize(("precision", "stage"), CASES)
SAMPLES = 2 * MICRO * ACCUMULATION  # of an optimizer step


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("engine")
    ended = launch("tests.ds_nowcast.engine_case", out)
    assert ended.code == 0, ended.output[-3000:]
    return out


def report(reports: Path, precision: str, stage: int, part: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((reports / f"{precision}_{stage}.json").read_text())[part]
    return content


def weights(reports: Path, precision: str, stage: int) -> dict[str, torch.Tensor]:
    return load_file(reports / f"{precision}_{stage}.safetensors")


@EVERY_CASE
def test_the_loss_falls(reports: Path, precision: str, stage: int) -> None:
    learned = report(reports, precision, stage, "learn")
    assert learned["losses"][-1] < learned["losses"][0] / 5
    assert all(learned["applied"])
    assert all(math.isfinite(norm) and norm > 0 for norm in learned["grad_norms"])
    assert learned["lrs"][-1] == pytest.approx(0.06 * 8 / 16)  # DeepSpeed takes the first learning rate twice


@EVERY_CASE
def test_gradients_have_the_same_norm_in_every_case(reports: Path, precision: str, stage: int) -> None:
    exact = report(reports, "fp32", 0, "learn")["grad_norms"][0]
    first = report(reports, precision, stage, "learn")["grad_norms"][0]
    assert first == pytest.approx(exact, rel=1e-6 if precision == "fp32" else 1e-2)


@EVERY_CASE
def test_weights_are_whole_and_in_fp32_on_the_first_rank_alone(reports: Path, precision: str, stage: int) -> None:
    exported = weights(reports, precision, stage)
    assert {name: tuple(tensor.shape) for name, tensor in exported.items()} == {
        "0.weight": (4, 2, 3, 3), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,),
        "3.weight": (1, 4, 1, 1), "3.bias": (1,), "scale": (1,),
    }  # fmt: skip
    kernel = exported["0.weight"]
    assert kernel.dtype == torch.float32
    assert not torch.equal(kernel, kernel.bfloat16().float()), "the master weights were rounded"
    assert not torch.equal(kernel, kernel.half().float()), "the master weights were rounded"
    assert report(reports, precision, stage, "learn")["elsewhere"] == [0]


@pytest.mark.parametrize(
    ("precision", "stage", "against", "tolerance"),
    [("fp32", stage, 0, 1e-6) for stage in (1, 2, 3)]
    + [("bf16", stage, 1, 2e-3) for stage in (2, 3)]
    # At ZeRO 0 DeepSpeed begins half precision with an Adam step on zero gradients, which the engine undoes.
    + [("bf16", 0, 1, 2e-3), ("fp16", 0, 2, 2e-3)],
)
def test_weights_agree_across_zero_stages(
    reports: Path, precision: str, stage: int, against: int, tolerance: float
) -> None:
    ours, theirs = weights(reports, precision, stage), weights(reports, precision, against)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < tolerance


@EVERY_CASE
def test_an_overflow_on_one_rank_is_skipped_on_all_and_counted(reports: Path, precision: str, stage: int) -> None:
    seen = report(reports, precision, stage, "overflow")
    assert seen["applied"] == [False, True]
    assert seen["unchanged"]
    assert not math.isfinite(seen["grad_norms"][0])
    assert math.isfinite(seen["grad_norms"][1])
    assert (seen["steps"], seen["samples"]) == (1, SAMPLES)
    assert seen["lrs"][0] == seen["lrs"][1], "the schedule moved although no step was made"
    assert seen["loss_scales"] == ([128.0, 128.0] if precision == "fp16" else [1.0, 1.0])  # from 256


@EVERY_CASE
def test_a_step_passed_over_counts_its_samples_and_the_next_one_works(
    reports: Path, precision: str, stage: int
) -> None:
    seen = report(reports, precision, stage, "pass_over")
    assert seen["unchanged"]
    assert seen["applied"]
    assert seen["moved"]
    assert seen["steps"] == [1, 2]
    assert seen["samples"] == [SAMPLES, 2 * SAMPLES]
    assert seen["lr"] == pytest.approx(0.06 * 10 / 16), "the schedule counts steps that were made, 11 before this one"


@EVERY_CASE
def test_a_new_engine_goes_on_bit_for_bit_from_a_checkpoint(reports: Path, precision: str, stage: int) -> None:
    seen = report(reports, precision, stage, "resume")
    assert seen["failure"] is None
    assert seen["client_state"] == {"best": 3}
    assert seen["again"] == seen["on"]
    assert seen["counters"] == [True, True]
    assert not seen["latest"]


@EVERY_CASE
def test_a_new_engine_of_another_stage_goes_on_from_the_same_state(reports: Path, precision: str, stage: int) -> None:
    check_moved(report(reports, precision, stage, "move"), 1e-5 if precision == "fp32" else 1e-2)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_flat_optimizer_as_on_a_gpu_is_moved_to_and_from(reports: Path, precision: str) -> None:
    seen = json.loads((reports / f"{precision}_flat.json").read_text())
    assert seen["flat"]
    for direction in ("to", "from"):
        check_moved(seen[direction], 1e-2)


def test_a_move_that_fails_on_one_rank_is_told_on_all_and_leaves_nothing(reports: Path) -> None:
    told = json.loads((reports / "failing.json").read_text())
    for error in told["write_universal"]:
        assert "could not be made ready in" in error
        assert "for 2 ranks at ZeRO 3 (RuntimeError: unexpected pos 704; " in error
        assert (
            "MB are free there); make room if the disk is full, or launch 2 ranks at ZeRO 2, as it was saved" in error
        )
    for error in told["read_universal"]:
        assert "could not be read (rank 1: RuntimeError: unexpected pos 704)" in error
    assert len(told["write_universal"]) == len(told["read_universal"]) == 2
    assert told["left"] == []


def check_moved(seen: dict[str, Any], tolerance: float) -> None:
    assert seen["moved"]
    assert seen["failure"] is None
    assert seen["client_state"] == {"best": 3}
    assert seen["equal"], "the weights are not bit for bit those that were saved"
    assert seen["counters"] == [True, True]
    for ours, theirs in zip(seen["again"], seen["on"], strict=True):
        assert ours[0] == pytest.approx(theirs[0], rel=tolerance)
        assert ours[1:] == theirs[1:], "learning rate and loss scale"
    assert not seen["left"]


def test_no_shared_memory_is_left_behind_by_whatever_end(reports: Path) -> None:
    assert json.loads((reports / "shared_memory.json").read_text()) == [], "64 MB a rank, by name, while they still run"
