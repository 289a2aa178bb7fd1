"""A running mean of the weights at every ZeRO stage and precision, on two ranks, and where three ranks take it up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.ds_nowcast.conftest import TINY
from tests.ds_nowcast.ema_case import CASES, MOVES, OVERFLOW, STEPS, TO_THREE_RANKS, TURNED
from tests.launching import launch

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]
EVERY_CASE = pytest.mark.parametrize("name", CASES)
ROUNDING = 1e-6  # of float32, in weights of about 0.5


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ema")
    ended = launch("tests.ds_nowcast.ema_case", folder, timeout=300)
    assert ended.code == 0, ended.output[-3000:]
    return folder


@pytest.fixture(scope="module")
def seen(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "by2.json").read_text())
    return content


@pytest.fixture(scope="module")
def seen_by_three(out: Path) -> dict[str, Any]:
    ended = launch("tests.ds_nowcast.ema_case", out, ranks=3, timeout=200)
    assert ended.code == 0, ended.output[-3000:]
    content: dict[str, Any] = json.loads((out / "by3.json").read_text())
    return content


@EVERY_CASE
def test_the_mean_is_that_of_the_weights_after_each_step_that_was_applied(seen: dict[str, Any], name: str) -> None:
    case = seen[name]
    assert case["begins_as_weights"]
    assert case["applied"] == [number != OVERFLOW for number in range(STEPS)]
    assert max(case["deviations"]) < ROUNDING
    assert case["mean_and_weights"] > 1000 * ROUNDING, "else nothing was seen"


@EVERY_CASE
def test_the_model_forecasts_with_the_mean_on_all_ranks_and_with_the_weights_after_it(
    seen: dict[str, Any], name: str
) -> None:
    assert max(seen[name]["forecasts"]) < ROUNDING
    assert max(seen[name]["in_the_model"]) < ROUNDING


@EVERY_CASE
def test_training_goes_on_bit_for_bit_as_if_there_were_no_mean(seen: dict[str, Any], name: str) -> None:
    assert seen[name]["as_without"]


@EVERY_CASE
def test_an_exception_brings_the_weights_back(seen: dict[str, Any], name: str) -> None:
    raised = seen[name]["exception"]
    assert raised["alike"] and raised["alone"]
    assert raised["model"] < ROUNDING


@EVERY_CASE
def test_a_new_engine_goes_on_with_weights_and_mean_bit_for_bit(seen: dict[str, Any], name: str) -> None:
    resumed = seen[name]["resume"]
    assert resumed["failure"] is None
    assert resumed["loaded"] and resumed["on"] and resumed["moved_on"]
    # DeepSpeed's Adam for CPUs computes the powers of its betas anew after a load: the weights differ by a last bit
    tolerance = ROUNDING if "offload" in name else 0.0
    assert resumed["weights"] <= tolerance
    assert resumed["mean"] <= tolerance
    assert resumed["updates"] == [STEPS - 1 + 3] * 2


@pytest.mark.parametrize("move", [f"{saved} to {new}" for saved, new in MOVES])
def test_another_stage_takes_the_mean_up_bit_for_bit(seen: dict[str, Any], move: str) -> None:
    check_moved(seen[move])


@pytest.mark.parametrize("move", [f"{saved} to {new}" for saved, new in TO_THREE_RANKS])
def test_another_number_of_ranks_takes_the_mean_up_bit_for_bit(seen_by_three: dict[str, Any], move: str) -> None:
    check_moved(seen_by_three[move])


def check_moved(moved: dict[str, Any]) -> None:
    assert moved["mean"] and moved["not_weights"]
    assert moved["updates"] == STEPS - 1
    assert moved["deviation"] < ROUNDING, "of the step after it"


@pytest.mark.parametrize("where", ["there", "moved"])
@pytest.mark.parametrize("name", TURNED)
def test_a_mean_may_be_turned_on_and_off_at_a_resume(seen: dict[str, Any], name: str, where: str) -> None:
    turned = seen[f"{name} turned"][where]
    assert turned["starts_as_weights"]
    assert turned["deviation"] < ROUNDING
    assert turned["held"] == [True, False]
    assert turned["trains"]


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training without a mean and with one."""
    folder = tmp_path_factory.mktemp("runs")
    config, file = folder / "config.json", folder / "trainings.json"
    keys = {**TINY, "nowcast": {**TINY["nowcast"], "evaluation": {"every": 4, "micro_batch": 2}}}
    config.write_text(json.dumps(keys))
    words = ["--deepspeed_config", str(config), "--shards", str(shards), "--set"]
    trainings = {
        str(folder / "plain"): [*words, "nowcast.seed=0"],
        str(folder / "mean"): [*words, "nowcast.ema.decay=0.9"],
    }
    file.write_text(json.dumps(trainings))
    ended = launch("tests.ds_nowcast.trainings_case", file, timeout=240)
    assert ended.code == 0, ended.output[-3000:]
    return folder


def lines(run: Path, key: str) -> list[Any]:
    return [line[key] for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if key in line]


def test_a_run_scores_and_exports_the_mean_and_trains_as_without(runs: Path) -> None:
    plain, mean = runs / "plain", runs / "mean"
    assert lines(mean, "loss") == lines(plain, "loss")
    assert len(lines(mean, "loss")) == TINY["nowcast"]["steps"]
    for with_mean, without in zip(lines(mean, "evaluation"), lines(plain, "evaluation"), strict=True):
        assert with_mean["persistence"] == without["persistence"]
        assert with_mean["model"] != without["model"]
    for name in ("last.safetensors", "model.safetensors"):
        ours, theirs = load_file(mean / name), load_file(plain / name)
        assert ours.keys() == theirs.keys()
        assert not any(torch.equal(ours[key], theirs[key]) for key in ours)
