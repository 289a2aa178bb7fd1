"""Learning rates that follow the samples of a step: by hand for every optimizer and scheduler, and in DeepSpeed's engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.config.batch import Batch
from ds_nowcast.config.strict import parse
from tests.ds_nowcast.conftest import TINY

BASE = 32
LINEAR, ROOT = ({"rule": rule, "base_batch": BASE} for rule in ("linear", "square_root"))
COSINE = {
    "type": "WarmupCosineLR",
    "params": {"total_num_steps": 100, "warmup_num_steps": 10, "warmup_min_ratio": 0.25},
}


def config_of(rule: dict[str, Any] | None, total: int = 4 * BASE, **sections: Any) -> RunConfig:
    keys = {**TINY, "train_batch_size": total, "zero_allow_untested_optimizer": True, **sections}
    keys["nowcast"] = {**TINY["nowcast"], "steps": 100, **({} if rule is None else {"learning_rate": rule})}
    return parse(RunConfig, keys)


def given(config: RunConfig, section: str) -> Any:
    """What DeepSpeed is given there."""
    return config.for_deepspeed(config.batch(1))[section]["params"]


@pytest.mark.parametrize(
    ("rule", "total", "lr"),
    [
        (LINEAR, 128, 0.004), (LINEAR, 32, 0.001), (LINEAR, 8, 0.00025),
        (ROOT, 128, 0.002), (ROOT, 64, 0.00141421356), (ROOT, 32, 0.001), (ROOT, 8, 0.0005),
        ({**LINEAR, "rule": "none"}, 128, 0.001), (None, 128, 0.001),
    ],
)  # fmt: skip
def test_the_rate_is_multiplied_by_the_ratio_of_the_batches_or_its_root(
    rule: dict[str, Any] | None, total: int, lr: float
) -> None:
    assert given(config_of(rule, total), "optimizer")["lr"] == pytest.approx(lr)


@pytest.mark.parametrize(
    ("optimizer", "params", "lr"),
    [
        ("Adam", {"lr": 2e-3}, 8e-3), ("Adam", {}, 4e-3), ("AdamW", {"lr": 5e-4, "weight_decay": 0.05}, 2e-3),
        ("SGD", {"lr": 0.1, "momentum": 0.9}, 0.4), ("SGD", {}, 4e-3), ("Adagrad", {}, 4e-2), ("Lion", {"lr": 1e-4}, 4e-4),
        ("Lamb", {"lr": 3e-3}, 1.2e-2),
    ],
)  # fmt: skip
def test_every_optimizers_rate_follows_stated_or_not_and_nothing_else_of_it(
    optimizer: str, params: dict[str, Any], lr: float
) -> None:
    found = given(config_of(LINEAR, optimizer={"type": optimizer, "params": params}), "optimizer")
    assert found == {**params, "lr": pytest.approx(lr)}


@pytest.mark.parametrize(
    ("scheduler", "given_to_it", "full"),
    [
        (
            {"type": "WarmupLR", "params": {"warmup_min_lr": 1e-4, "warmup_max_lr": 2e-3, "warmup_num_steps": 7}},
            {"warmup_min_lr": 2e-4, "warmup_max_lr": 4e-3, "warmup_num_steps": 7}, 4e-3,
        ),
        ({"type": "WarmupLR", "params": {"warmup_num_steps": 7}}, {"warmup_min_lr": 0.0, "warmup_num_steps": 7}, 2e-3),
        (
            {"type": "WarmupDecayLR", "params": {"total_num_steps": 90}},
            {"warmup_min_lr": 0.0, "warmup_max_lr": 2e-3, "total_num_steps": 90}, 2e-3,
        ),
        (COSINE, COSINE["params"], 2e-3),
        (
            {"type": "OneCycle", "params": {"cycle_min_lr": 1e-4, "cycle_max_lr": 1e-2, "decay_lr_rate": 0.5}},
            {"cycle_min_lr": 2e-4, "cycle_max_lr": 2e-2, "decay_lr_rate": 0.5}, 2e-2,
        ),
    ],
)  # fmt: skip
def test_every_schedulers_rates_follow_and_its_ratios_and_steps_stay(
    scheduler: dict[str, Any], given_to_it: dict[str, Any], full: float
) -> None:
    config = config_of(ROOT, scheduler=scheduler)
    assert given(config, "scheduler") == {
        name: pytest.approx(value) if isinstance(value, float) else value for name, value in given_to_it.items()
    }
    assert config.rates(config.batch(1)).full == pytest.approx(full)


def test_a_config_that_states_neither_has_its_default_rate_and_warm_up_scaled() -> None:
    keys = {name: value for name, value in TINY.items() if name not in ("optimizer", "scheduler")}
    keys |= {
        "train_batch_size": 128,
        "nowcast": {**TINY["nowcast"], "learning_rate": {**LINEAR, "warmup_samples": 1000}},
    }
    config = parse(RunConfig, keys)
    assert given(config, "optimizer") == {"lr": 0.004, "weight_decay": 0.01, "torch_adam": True}
    assert given(config, "scheduler")["warmup_num_steps"] == 8  # 1000 / 128, the last one begun
    assert config.to_dict()["nowcast"]["learning_rate"]["warmup_samples"] == 1000
    assert "optimizer" not in config.to_dict(), (
        "what is written down is what was stated: it is scaled again at each launch"
    )


def test_another_number_of_ranks_keeps_the_rate_because_it_keeps_the_samples_of_a_step() -> None:
    config = config_of(LINEAR, 96)
    asked = config.batch(2)
    for ranks in (1, 2, 3, 8, 96):
        batch, _ = config.batch_again(ranks, asked)
        assert config.for_deepspeed(batch)["optimizer"]["params"]["lr"] == pytest.approx(0.003)
    grows = parse(
        RunConfig,
        {
            **config.to_dict(),
            "train_batch_size": None,
            "train_micro_batch_size_per_gpu": 32,
            "gradient_accumulation_steps": 1,
        },
    )
    rates = [grows.rates(grows.batch(ranks)).full for ranks in (1, 4)]
    assert rates == [pytest.approx(0.001), pytest.approx(0.004)], "a first launch has the batch of its ranks"


def test_what_becomes_of_the_rate_is_told() -> None:
    config = config_of({**ROOT, "warmup_samples": 1280}, scheduler={**COSINE, "params": {"total_num_steps": 100}})
    told = "0.002 = 0.001 x 2 (rule square_root: 128 samples a step, stated for 32), risen to after 10 steps"
    assert config.rates(config.batch(1)).told == told
    assert config_of(None).rates(Batch(4, 4, 1, 1)).told is None


RANGE_TEST = {"type": "LRRangeTest", "params": {}}
CYCLE = {"type": "OneCycle", "params": {"cycle_min_lr": 1e-4, "cycle_max_lr": 1e-3}}


@pytest.mark.parametrize(
    ("rule", "scheduler", "reason"),
    [
        (LINEAR, RANGE_TEST, "rule 'linear' cannot be used with scheduler LRRangeTest, which looks for the rate"),
        ({**ROOT, "warmup_samples": 9}, COSINE, "warmup_samples 9 and scheduler.params.warmup_num_steps 10 both say"),
        ({**ROOT, "warmup_samples": 9}, CYCLE, "warmup_samples needs a scheduler with a warm-up (WarmupLR, WarmupDecayLR"),
        ({**ROOT, "warmup_samples": 9}, None, "scheduler is null; leave it out, or use one of these"),
        ({"rule": "linear"}, COSINE, "missing key 'nowcast.learning_rate.base_batch': samples of a step for which"),
        ({**LINEAR, "base_batch": 0}, COSINE, "nowcast.learning_rate.base_batch is 0; give at least 1"),
        ({**LINEAR, "rule": "root"}, COSINE, "nowcast.learning_rate.rule is \"root\"; give 'none', 'linear' or 'square_root'"),
        ({**LINEAR, "base": 8}, COSINE, "unknown key 'nowcast.learning_rate.base'"),
    ],
)  # fmt: skip
def test_what_contradicts_a_rule_is_refused_with_the_reason(rule: dict[str, Any], scheduler: Any, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        config_of(rule, scheduler=scheduler)
    assert reason in str(caught.value)


def test_a_large_rate_without_a_warm_up_and_a_warm_up_that_never_ends_are_told() -> None:
    def cautions(config: RunConfig) -> list[str]:
        return config.cautions(config.batch(1))

    [sudden] = cautions(config_of(LINEAR, scheduler=None))
    assert "multiplies the rate by 4 and nothing lets it rise to that" in sudden
    [endless] = cautions(config_of({**LINEAR, "warmup_samples": 12_800}, scheduler={"type": "WarmupLR", "params": {}}))
    assert (
        "warmup_samples 12800, in steps 100 is not below nowcast.steps 100: the learning rate only rises; give less"
        in endless
    )
    for rule, total, scheduler in ((LINEAR, 32, None), (LINEAR, 128, CYCLE), (ROOT, 128, COSINE), (None, 128, None)):
        assert cautions(config_of(rule, total, scheduler=scheduler)) == []


@pytest.mark.slow
def test_the_engine_takes_its_steps_at_the_scaled_rates() -> None:
    cycle = {"type": "OneCycle", "params": {"cycle_min_lr": 0.001, "cycle_max_lr": 0.003, "cycle_first_step_size": 4}}
    rise = {"type": "WarmupLR", "params": {"warmup_max_lr": 0.003, "warmup_num_steps": 4, "warmup_type": "linear"}}
    constant, linear_rise = None, {**COSINE, "params": {**COSINE["params"], "warmup_type": "linear"}}
    configs = [
        config_of(rule, scheduler=scheduler, zero_optimization={"stage": 0})
        for scheduler in (constant, linear_rise, rise, cycle)
        for rule in (ROOT, None)
    ]
    given_to_it = json.dumps([config.for_deepspeed(config.batch(1)) for config in configs])
    command = [sys.executable, "-m", "tests.ds_nowcast.config.rates_case"]
    ended = subprocess.run(command, input=given_to_it, capture_output=True, text=True, timeout=200, check=True)
    found: list[list[float]] = json.loads(ended.stdout.splitlines()[-1])
    for scaled, stated in zip(found[::2], found[1::2], strict=True):
        assert scaled == pytest.approx([2 * rate for rate in stated])
    # by hand; DeepSpeed makes its first step at the first rate or, before a cosine, at none
    assert found[0] == pytest.approx([0.002] * 4)
    assert found[2] == pytest.approx([0.0, 0.0005, 0.0005 + 0.0015 / 10, 0.0005 + 0.0015 * 2 / 10])
    assert found[4] == pytest.approx([0.0, 0.0, 0.0015, 0.003])
    assert found[6] == pytest.approx([0.002, 0.003, 0.004, 0.005])


@pytest.mark.slow
def test_the_plan_shows_the_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ds_nowcast import plan

    path = tmp_path / "config.json"
    path.write_text(json.dumps({**config_of(LINEAR, 64).to_dict(), "gradient_accumulation_steps": 1}))
    words = ["--deepspeed_config", str(path), "--size", "32", "--device", "cpu"]
    assert plan.main(words) == 0
    assert "rate        0.002 = 0.001 x 2 (rule linear: 64 samples a step, stated for 32)" in capsys.readouterr().out
    assert plan.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["learning_rate"] == pytest.approx(0.002)
    assert load_config(path).cautions(load_config(path).batch(1)) == []
