"""What holds for a config: values, where they come from, what DeepSpeed and torch take where a file says nothing."""

from __future__ import annotations

import copy
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.runtime import lr_schedules
from deepspeed.runtime.config import DeepSpeedConfig
from torch.utils.flop_counter import FlopCounterMode

from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.config.costs import COSTS
from ds_nowcast.config.deepspeed_keys import DeepSpeedKeys
from ds_nowcast.config.schema import every_key, schema
from ds_nowcast.config.settings import BATCH, best_batch, settings_of
from ds_nowcast.config.strict import sections
from ds_nowcast.models import outline
from tests.ds_nowcast.config_files import CONFIGS, scaled
from tests.ds_nowcast.conftest import TINY


def config(tmp_path: Path, *overrides: str, without: tuple[str, ...] = (), **keys: Any) -> RunConfig:
    data = {key: value for key, value in copy.deepcopy(TINY).items() if key not in without} | keys
    (tmp_path / "config.json").write_text(json.dumps(data))
    return load_config(tmp_path / "config.json", overrides)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_setting_is_a_key_of_the_schema_and_the_given_ones_are_those_of_the_file(path: Path) -> None:
    settings = settings_of(load_config(path))
    assert settings.keys() <= {key for key, _ in every_key(schema())}
    assert all(key == one.key and one.about for key, one in settings.items())

    def leaves(node: Any, key: str) -> dict[str, Any]:
        if key in settings or not isinstance(node, dict):
            return {key: node}
        return {k: v for name, inner in node.items() for k, v in leaves(inner, f"{key}.{name}".lstrip(".")).items()}

    written = leaves({k: v for k, v in json.loads(path.read_text()).items() if k != "$schema"}, "")
    assert {key: one.value for key, one in settings.items() if one.origin == "given"} == written


def test_a_value_comes_from_the_file_a_preset_deepspeed_or_our_default(tmp_path: Path) -> None:
    settings = settings_of(load_config(scaled("large", "gpu")))
    assert (settings["nowcast.model.width"].value, settings["nowcast.model.width"].origin) == (192, "preset")
    assert settings["zero_optimization.reduce_scatter"].origin == "DeepSpeed's default"
    assert settings["nowcast.data.requests"].origin == "default"
    assert settings["gradient_accumulation_steps"].origin == "solved"
    absent = settings_of(config(tmp_path, without=("optimizer", "scheduler")))
    assert (absent["optimizer.params.torch_adam"].value, absent["optimizer.params.torch_adam"].origin) == (
        True,
        "default",
    )
    assert absent["scheduler.type"].origin == "default"


def test_what_a_file_leaves_open_is_shown_as_it_is_decided(tmp_path: Path) -> None:
    settings = settings_of(config(tmp_path, "nowcast.steps=30", "scheduler.params.warmup_num_steps=auto"))
    assert [settings[f"scheduler.params.{name}"].holds for name in ("total_num_steps", "warmup_num_steps")] == [30, 3]
    assert settings["scheduler.params.total_num_steps"].value == "auto"
    for stage in (0, 1, 2, 3):
        made = config(tmp_path, f"zero_optimization.stage={stage}", without=("optimizer",))
        theirs = DeepSpeedConfig(made.for_deepspeed(made.batch(1))).zero_config.overlap_comm
        assert settings_of(made)["zero_optimization.overlap_comm"].holds is theirs


def test_torchs_adam_takes_its_own_defaults(tmp_path: Path) -> None:
    settings = settings_of(config(tmp_path, 'optimizer={"type":"AdamW","params":{"torch_adam":true,"fused":true}}'))
    taken = inspect.signature(torch.optim.AdamW).parameters
    for name in ("weight_decay", "foreach", "lr", "eps"):
        assert settings[f"optimizer.params.{name}"].holds == (taken[name].default or False), name
    assert "optimizer.params.bias_correction" not in settings, "torch's Adam does not take it"
    own = settings_of(config(tmp_path, 'optimizer={"type":"AdamW","params":{}}'))
    assert own["optimizer.params.weight_decay"].holds == 0.0
    assert "optimizer.params.fused" not in own


def test_deepspeeds_defaults_are_deepspeeds() -> None:
    theirs = DeepSpeedConfig({"train_batch_size": 1})
    for name, field in DeepSpeedKeys.model_fields.items():
        if field.default_factory is None and not field.is_required() and name not in BATCH:
            assert getattr(theirs, name) == field.default, name
    assert theirs.aio_config == DeepSpeedKeys.model_fields["aio"].get_default(call_default_factory=True).model_dump()
    for form in sections(DeepSpeedKeys.model_fields["scheduler"].annotation):
        (params,) = sections(form.model_fields["params"].annotation)
        taken = inspect.signature(getattr(lr_schedules, form.__name__)).parameters
        for name, field in params.model_fields.items():
            assert field.is_required() or field.default == taken[name].default, (form.__name__, name)


@pytest.mark.parametrize(
    ("total", "micro", "accumulation", "expected"),
    [
        (64, 8, None, (8, 1, 8)),
        (8, None, 2, (1, 2, 4)),
        (None, 4, 2, (4, 2, 1)),
        (24, 4, 2, (4, 2, 3)),
    ],
)
def test_the_best_batch_is_at_the_most_ranks_over_which_it_divides(
    total: int | None, micro: int | None, accumulation: int | None, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    keys = dict(zip(BATCH, (total, micro, accumulation), strict=True))
    made = config(tmp_path, without=tuple(keys), **{name: value for name, value in keys.items() if value})
    batch = best_batch(made)
    assert (batch.micro, batch.accumulation, batch.ranks) == expected
    for ranks in range(batch.ranks + 1, 65):
        if total is not None:
            with pytest.raises(UserError):
                made.batch(ranks)


def test_a_batch_that_divides_over_no_number_of_ranks_is_refused(tmp_path: Path) -> None:
    keys = {"train_batch_size": 10, "train_micro_batch_size_per_gpu": 4}
    with pytest.raises(UserError, match="train_micro_batch_size_per_gpu=4 does not divide"):
        best_batch(config(tmp_path, without=("gradient_accumulation_steps",), **keys))


def test_costs_are_words_about_memory_speed_accuracy_time_or_disk() -> None:
    for key, cost in COSTS.items():
        assert cost.partition(":")[0].removesuffix(" a rank") in {
            "memory",
            "speed",
            "accuracy",
            "time",
            "disk",
            "memory and time",
        }, key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "option", "values", "parameters", "operations"),
    [
        ("unet", "width", (32, 64), 4, 4),
        ("convnext_unet", "width", (48, 96), 4, 4),
        ("convnext_unet", "depth", (2, 4), 1.9, 1.85),
        ("unet", "levels", (3, 4), 4, None),
        ("simvp", "spatial_width", (64, 128), None, 2.5),
        ("simvp", "temporal_width", (512, 1024), 3.1, 2.5),
        ("simvp", "temporal_depth", (8, 16), 1.8, 1.6),
    ],
)
def test_the_costs_of_a_models_sizes_are_those_of_the_model(
    model: str, option: str, values: tuple[int, int], parameters: float | None, operations: float | None
) -> None:
    counted = []
    for value in values:
        made = outline(model, {option: value}, 13, 12)
        with FlopCounterMode(display=False) as counter:
            made(torch.empty(1, 13, 64, 64, device="meta"))
        counted.append((sum(p.numel() for p in made.parameters()), counter.get_total_flops()))
    for grown, said in zip(
        (after / before for before, after in zip(*counted, strict=True)), (parameters, operations), strict=True
    ):
        assert said is None or grown == pytest.approx(said, rel=0.05)


def test_what_a_rule_makes_of_a_rate_stands_beside_what_is_stated(tmp_path: Path) -> None:
    rule = {"rule": "linear", "base_batch": 2, "warmup_samples": 12}
    keys = {"scheduler": {"type": "WarmupLR", "params": {}}, "train_batch_size": 4, "gradient_accumulation_steps": 1}
    settings = settings_of(
        config(tmp_path, f"nowcast.learning_rate={json.dumps(rule)}", without=("optimizer",), **keys)
    )
    rate, warmup = settings["optimizer.params.lr"], settings["scheduler.params.warmup_num_steps"]
    assert (rate.value, rate.holds, rate.origin) == (0.001, 0.002, "default")
    assert (warmup.value, warmup.holds, warmup.origin) == (1000, 3, "DeepSpeed's default")


def test_a_batch_that_fits_no_number_of_ranks_is_told_with_what_would_fit(tmp_path: Path) -> None:
    keys = {"train_batch_size": 10, "train_micro_batch_size_per_gpu": 3}
    with pytest.raises(UserError, match=r"train_micro_batch_size_per_gpu=3 does not divide.*one of 1, 2, 5, 10"):
        best_batch(config(tmp_path, without=("gradient_accumulation_steps",), **keys))
