"""What is tried where nothing is said, and how a combination becomes what a launch is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_prep.errors import UserError
from data_prep.shards.index import open_shards
from ds_nowcast.config import load_config
from ds_nowcast.tuning.combinations import Configs
from ds_nowcast.tuning.effects import guessed
from ds_nowcast.tuning.space import ACCUMULATION, MICRO, UNSET, Space, made_space, value_of
from ds_nowcast.tuning.usual import usual_space
from tests.ds_nowcast.tuning.landscape import Case


def test_on_a_gpu_all_that_trades_speed_for_memory_is_tried_and_on_a_cpu_what_can_gain_there(case: Case) -> None:
    start, batch = case.configs.start, case.configs.batch
    gpu = usual_space(start, batch, "cuda", 2, "samples_per_s")
    cpu = usual_space(start, batch, "cpu", 2, "samples_per_s")
    assert set(cpu) == {
        MICRO,
        "zero_optimization.stage",
        "nowcast.compute.activation_checkpointing",
        "nowcast.data.threads",
    }
    assert set(gpu) - set(cpu) == {
        "nowcast.compute.compile", "nowcast.compute.channels_last", "zero_optimization.offload_optimizer",
        "zero_optimization.offload_param",
    }  # fmt: skip
    assert gpu[MICRO] == [1, 2, 4, 8, 16, 32]


def test_micro_batches_of_a_large_share_are_those_nearest_to_the_start(config: Path, shards: Path) -> None:
    start = ["train_batch_size=720", "train_micro_batch_size_per_gpu=6", "gradient_accumulation_steps=120"]
    configs = Configs(config, [*start, "nowcast.data.buffer_mb=512"], open_shards(str(shards)), 1)
    assert usual_space(configs.start, configs.batch, "cpu", 1, "samples_per_s")[MICRO] == [3, 4, 5, 6, 8, 9, 10, 12]


def test_decoding_threads_are_fewer_or_more_than_the_cores_of_a_rank(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    space = usual_space(case.configs.start, case.configs.batch, "cpu", 2, "samples_per_s")
    assert space["nowcast.data.threads"] == [1, 2, 4, 16]


def test_for_a_score_the_learning_rate_the_width_and_all_loss_weights_but_the_first_are_tried(config: Path) -> None:
    start = load_config(config, ['nowcast.loss.weights={"mse":1,"mae":0.5}'])
    space = usual_space(start, start.batch(2), "cpu", 2, "val_csi")
    assert set(space) == {"optimizer.params.lr", "nowcast.loss.weights.mae", "nowcast.model.width"}
    assert 1e-3 in space["optimizer.params.lr"] and 8 in space["nowcast.model.width"]


def test_the_starts_own_values_are_part_of_a_space_defaults_and_what_is_unset_among_them(case: Case) -> None:
    start, batch = case.configs.start, case.configs.batch
    assert value_of(start, batch, ACCUMULATION) == "16"
    assert value_of(start, batch, "nowcast.model.groups") == "8"
    assert value_of(start, batch, "zero_optimization.offload_optimizer") == "null"
    assert value_of(start, batch, "nowcast.loss.weights.mae") == UNSET
    space = made_space(start, batch, {"nowcast.data.threads": [2], "nowcast.loss.weights.mae": [1.0]})
    assert space.to_json() == {"nowcast.data.threads": ["null", "2"], "nowcast.loss.weights.mae": [UNSET, "1"]}


def test_a_space_of_too_many_combinations_is_refused(case: Case) -> None:
    candidates = {f"zero_optimization.{i}": list(range(60)) for i in range(3)}
    with pytest.raises(UserError, match="has 226,981 combinations, more than 100,000; give fewer keys or values"):
        made_space(case.configs.start, case.configs.batch, candidates)


def _words(case: Case, **values: str) -> list[str]:
    space: Space = made_space(case.configs.start, case.configs.batch, {MICRO: [4, 3, 8], ACCUMULATION: [8, 5]})
    return case.configs.words(space, {**space.start, **{globals()[key]: value for key, value in values.items()}})


def test_micro_batch_and_accumulation_keep_the_samples_of_a_step(case: Case) -> None:
    alone = made_space(case.configs.start, case.configs.batch, {MICRO: [4]})
    assert case.configs.words(alone, {MICRO: "4"}) == ["train_batch_size=64", f"{MICRO}=4", f"{ACCUMULATION}=8"]
    assert case.configs.words(alone, alone.start) == []
    assert _words(case, MICRO="4", ACCUMULATION="8") == ["train_batch_size=64", f"{MICRO}=4", f"{ACCUMULATION}=8"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"MICRO": "3"}, f"{MICRO}=3 does not divide the 32 samples of a rank; give 1, 2, 4, 8, 16, 32"),
        ({"ACCUMULATION": "5"}, f"{ACCUMULATION}=5 does not divide the 32 samples"),
        ({"MICRO": "8", "ACCUMULATION": "8"}, f"{MICRO}=8 x {ACCUMULATION}=8 are not the 32 samples of a rank"),
    ],
)
def test_pairs_that_do_not_make_the_samples_of_a_step_are_refused(
    case: Case, values: dict[str, str], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        _words(case, **values)


def test_what_the_config_refuses_is_known_without_a_launch(case: Case) -> None:
    candidates = {"zero_optimization.stage": [3], "nowcast.compute.compile": [True]}
    space = made_space(case.configs.start, case.configs.batch, candidates)
    both = {"zero_optimization.stage": "3", "nowcast.compute.compile": "true"}
    assert "cannot be used with zero_optimization.stage 3" in case.configs.refusal(space, both)
    assert case.configs.refusal(space, {**both, "zero_optimization.stage": "2"}) == ""


def test_effects_of_settings_that_multiply_are_told_apart_from_few_trials(case: Case) -> None:
    space = case.space
    tried = []
    for number, combination in enumerate(space.combinations()):
        if number % 9 == 0:
            factor = 2.0 if combination["nowcast.compute.channels_last"] == "true" else 1.0
            tried.append((combination, factor * int(combination[MICRO])))
    guess = guessed(space, tried)
    best = max(space.combinations(), key=guess)
    assert best[MICRO] == "32" and best["nowcast.compute.channels_last"] == "true"
