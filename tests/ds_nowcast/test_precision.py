"""Every precision at every ZeRO stage and offload against plain PyTorch, and the pairs that are refused before a start."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from data_prep.errors import UserError
from ds_nowcast.config import load_config
from ds_nowcast.config.deepspeed_keys import DeepSpeedKeys
from ds_nowcast.config.strict import parse
from ds_nowcast.engine import Engine
from tests.ds_nowcast.conftest import TINY
from tests.ds_nowcast.precision_case import GROUPS, SCALE_POWER, Case
from tests.ds_nowcast.test_ranks import ALONE
from tests.launching import launch

pytestmark = pytest.mark.timeout(600)  # two launches, and perhaps a compilation, before the first test
Reports = dict[str, dict[str, dict[str, Any]]]
CASES = [case for cases in GROUPS.values() for case in cases]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)
# Largest relative difference to plain PyTorch of a loss, and of a gradient norm, at any of 30 steps.
TOLERANCES = {
    "fp32": (5e-6, 2e-5),
    "bf16": (2e-3, 1e-2),
    "bf16 summed in fp32": (2e-3, 1e-2),
    "bf16 throughout": (2e-2, 1e-1),
    "fp16": (4e-4, 2e-3),
    "autocast bf16": (2e-3, 1e-2),
    "autocast fp16": (1e-4, 1e-3),
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """Of both groups. The second compiles DeepSpeed's CPU Adam where that has not been done yet: a minute or two."""
    seen: Reports = {}
    for group in GROUPS:
        out = tmp_path_factory.mktemp("precision")
        ended = launch("tests.ds_nowcast.precision_case", out, group, timeout=400)
        assert ended.code == 0, ended.output[-3000:]
        seen |= json.loads((out / "reports.json").read_text())
    return seen


def difference(ours: list[float], theirs: list[float]) -> float:
    """The largest relative one, where both are finite; they must be so at the same steps."""
    pairs = list(zip(ours, theirs, strict=True))
    assert all(math.isfinite(a) == math.isfinite(b) for a, b in pairs)
    return max(abs(a / b - 1) for a, b in pairs if math.isfinite(b))


@pytest.mark.hosts
@EVERY_CASE
def test_losses_and_gradient_norms_are_those_of_plain_pytorch(reports: Reports, case: Case) -> None:
    ours, plain = reports[str(case)]["ours"], reports[str(case)]["plain"]
    losses = difference(ours["losses"], plain["losses"])
    norms = difference(ours["grad_norms"], plain["grad_norms"])
    print(f"| {case} | {losses:.1e} | {norms:.1e} | {ours['applied'].count(False)} |")
    assert plain["losses"][-1] < plain["losses"][0] / 3, "nothing was learned: nothing was compared"
    most_loss, most_norm = TOLERANCES[case.precision]
    assert losses < most_loss
    assert norms < most_norm


@pytest.mark.hosts
@EVERY_CASE
def test_steps_are_skipped_and_the_loss_scale_falls_as_in_plain_pytorch(reports: Reports, case: Case) -> None:
    ours, plain = reports[str(case)]["ours"], reports[str(case)]["plain"]
    assert ours["applied"] == plain["applied"]
    assert ours["loss_scales"] == plain["loss_scales"]
    if case.precision.startswith("fp16"):
        assert ours["applied"].count(False) > 3 and ours["loss_scales"][-1] < 2.0**SCALE_POWER / 8
    else:
        assert ours["applied"].count(False) == (case.precision == "autocast fp16")


@pytest.mark.hosts
@EVERY_CASE
def test_an_infinite_gradient_on_one_rank_is_skipped_on_all(reports: Reports, case: Case) -> None:
    ours = reports[str(case)]["ours"]
    after = ours["overflow"]
    assert after["applied"] == [False]
    assert not math.isfinite(after["grad_norms"][0])
    assert ours["unchanged"], "the weights moved"
    assert after["loss_scales"] == [ours["loss_scales"][-1] / (2 if "fp16" in case.precision.split() else 1)]


@pytest.mark.hosts
@EVERY_CASE
def test_the_model_is_given_the_type_that_it_computes_in(reports: Reports, case: Case) -> None:
    kind = case.precision.split()[0]
    expected = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}.get(kind, "torch.float32")
    assert reports[str(case)]["ours"]["dtype"] == expected


@pytest.mark.hosts
@pytest.mark.parametrize("case", [case for case in CASES if case.is_resumed], ids=str)
def test_a_new_engine_goes_on_from_a_checkpoint_as_the_old_one(reports: Reports, case: Case) -> None:
    resumed, on = reports[str(case)]["ours"]["resumed"], reports[str(case)]["ours"]["on"]
    if case.torch_adam:
        assert resumed == on
    else:  # CPU Adam multiplies the powers of its betas up step by step, and after a load takes them at once
        assert (resumed["applied"], resumed["loss_scales"]) == (on["applied"], on["loss_scales"])
        assert resumed["losses"] == pytest.approx(on["losses"], rel=1e-6 if case.precision == "fp32" else 1e-3)


@pytest.mark.hosts
def test_a_run_whose_every_step_overflows_counts_them_and_ends(shards: Path, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [
        'nowcast.loss.weights={"mse":1e30}',
        "nowcast.max_skipped_steps=3",
    ]  # finite, unlike its gradient's norm
    ended = launch(
        "ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run, "--set", *settings
    )
    assert ended.code == 4, ended.output[-3000:]
    [error] = ended.lines("FAILED rank ")
    assert "4 optimizer steps in a row were skipped for overflowing gradients" in error
    assert "nowcast.max_skipped_steps=3" in error
    assert json.loads((run / "failure.json").read_text())["exit_code"] == 4
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in logged if "skipped" in line] == [1, 2, 3]
    skipped = [line for line in logged if "overflow" in line]
    assert [line["step"] for line in skipped] == [1, 2, 3, 4]
    for line in skipped:
        assert len(line["overflow"]["samples"]) == 4, "the samples of a step, over both ranks"
        assert {name.partition(":")[0] for name in line["overflow"]["samples"]} == {"rank 0", "rank 1"}
    assert f"the last with samples {skipped[-1]['overflow']['samples'][0]}" in error
    told = ended.lines("step 2: gradients overflowed, no update; the loss scale is now 1; samples rank 0: ")
    assert len(told) == 1
    assert not (run / "last.safetensors").exists()


BF16, FP16 = {"enabled": True}, {"enabled": True}
CPU_ADAM = {"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}
OFFLOADED = {"offload_optimizer": {"device": "cpu"}}
SHORT = {"bf16": {"enabled": True, "bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}}


def keys_with(changes: dict[str, Any]) -> dict[str, Any]:
    """A sound config's DeepSpeed keys, with some replaced."""
    return {key: value for key, value in TINY.items() if key != "nowcast"} | changes


FORBIDDEN: list[tuple[dict[str, Any], str]] = [
    *(
        (
            {"torch_autocast": {"enabled": True, "dtype": dtype}, "zero_optimization": {"stage": stage}},
            f"torch_autocast.dtype '{dtype}' needs zero_optimization.stage 0, stage is {stage}",
        )
        for dtype, stage in (("float16", 1), ("fp16", 2), ("float16", 3))
    ),
    ({"zero_optimization": {"stage": 2, "round_robin_gradients": True}}, "fp32 weights back in another order"),
    (
        {"bf16": BF16, "data_types": {"grad_accum_dtype": "fp32"}, "zero_optimization": {"stage": 0}},
        "data_types.grad_accum_dtype 'fp32' with a model in 'bf16' needs zero_optimization.stage 1, 2 or 3",
    ),
    (
        {"data_types": {"grad_accum_dtype": "bf16"}, "zero_optimization": {"stage": 0}},
        "data_types.grad_accum_dtype 'bf16' with a model in 'fp32' needs",
    ),
    ({"fp16": FP16, "data_types": {"param_dtype": "bf16"}}, "param_dtype is 'bf16' and the model is trained in 'fp16'"),
    (
        {
            "bf16": BF16, "data_types": {"grad_accum_dtype": "fp32"}, "gradient_clipping": 0.0,
            "zero_optimization": {"stage": 1, "compute_grad_norm": False},
        },
        "compute_grad_norm false cannot be used with bf16 and data_types.grad_accum_dtype 'fp32' at stage 1",
    ),
    ({"bf16": SHORT["bf16"] | {"bf16_optimizer_states": False}}, "would round fp32 moments to bf16 whenever it loads"),
    (SHORT | {"zero_optimization": {"stage": 0}}, "needs zero_optimization.stage 1, 2 or 3, stage is 0"),
    (SHORT | {"zero_optimization": {"stage": 2, **OFFLOADED}}, "needs optimizer.type Adam or AdamW with torch_adam false"),
    ({"fp16": FP16 | {"fp16_master_weights_and_grads": True}}, "a resumed run diverges"),
]  # fmt: skip
ALLOWED: list[dict[str, Any]] = [
    {"torch_autocast": {"enabled": True, "dtype": "float16"}, "zero_optimization": {"stage": 0}},
    {"torch_autocast": {"enabled": True, "dtype": "bfloat16"}, "zero_optimization": {"stage": 3}},
    {"bf16": BF16, "data_types": {"grad_accum_dtype": "fp32"}, "zero_optimization": {"stage": 1}},
    {"fp16": FP16, "data_types": {"param_dtype": "fp16"}},
    SHORT,
    SHORT | CPU_ADAM | {"zero_optimization": {"stage": 3, **OFFLOADED}},
]


@pytest.mark.parametrize(("changes", "reason"), FORBIDDEN)
def test_a_pair_that_deepspeed_does_not_take_or_computes_wrongly_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse(DeepSpeedKeys, keys_with(changes))
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("changes", ALLOWED)
def test_what_lies_beside_a_forbidden_pair_is_taken(changes: dict[str, Any]) -> None:
    parse(DeepSpeedKeys, keys_with(changes))


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_batch_norm_in_16_bits_is_refused(half: str, config: Path) -> None:
    batch_norm = "nowcast.model.norm=batch"
    with pytest.raises(UserError, match=f"nowcast.model.norm 'batch' fails under {half}.*; use norm 'group', or torch"):
        load_config(config, [batch_norm, f"{half}.enabled=true"])
    load_config(config, [batch_norm, 'torch_autocast={"enabled":true,"dtype":"bfloat16"}'])
    load_config(config, [f"{half}.enabled=true"])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("Unable to JIT load the async_io op"), "libaio (Debian: libaio-dev), or offload to device 'cpu'"),
        (RuntimeError("Error building extension 'cpu_adam'"), "install a C++ compiler and Python's headers"),
        (
            AssertionError("SuperOffload only supports NVIDIA CUDA GPUs."),
            "SuperOffload only supports NVIDIA CUDA GPUs;",
        ),
    ],
)
def test_what_deepspeed_refuses_on_a_host_is_told_in_a_sentence(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise error

    monkeypatch.setattr("deepspeed.initialize", refuse)
    with pytest.raises(UserError) as caught:
        Engine(nn.Linear(1, 1), {}, ALONE)
    assert told in str(caught.value)
