"""The models of DeepSpeed's config: every mistake is an error that names the key and the way out."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import UserError
from ds_nowcast.config.deepspeed_keys import UNSUPPORTED, DeepSpeedKeys
from ds_nowcast.config.strict import parse, walk

FULL: dict[str, Any] = {
    "train_micro_batch_size_per_gpu": 4,
    "gradient_accumulation_steps": 2,
    "optimizer": {
        "type": "AdamW",
        "params": {"lr": 1e-3, "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.01, "torch_adam": True},
    },
    "scheduler": {"type": "WarmupCosineLR", "params": {"total_num_steps": 1000, "warmup_num_steps": 100}},
    "gradient_clipping": 1.0,
    "bf16": {"enabled": True, "check_grad_overflow": True},
    "data_types": {"grad_accum_dtype": "fp32"},
    "communication_data_type": "fp32",
    "zero_optimization": {
        "stage": 3,
        "reduce_bucket_size": 5e8,
        "stage3_prefetch_bucket_size": 50000000,
        "offload_optimizer": {"device": "cpu", "pin_memory": False},
        "offload_param": {"device": "nvme", "nvme_path": "/nvme", "buffer_size": 1e8},
        "leaf_module": {"name_suffixes": ["head"]},
    },
    "aio": {"block_size": 1048576, "queue_depth": 8},
    "checkpoint": {"tag_validation": "Fail", "checkpoint_serialization": True},
    "steps_per_print": 100,
    "log_level": "warning",
    "timers": {"throughput": {"enabled": True, "synchronized": False}},
    "comms_logger": {"enabled": False, "prof_ops": ["all_reduce"]},
    "flops_profiler": {"enabled": False, "profile_step": 5, "output_file": None},
    "csv_monitor": {"enabled": False, "output_path": "runs", "job_name": "unet"},
    "comet": {"enabled": False, "mode": "create"},
}


def changed(path: str, value: object, config: dict[str, Any] = FULL) -> dict[str, Any]:
    """A copy of a valid config with one key set, or removed where the value is `...`."""
    config = copy.deepcopy(config)
    *parents, last = path.split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return config


def refusal(config: object, where: str = "") -> str:
    with pytest.raises(UserError) as caught:
        parse(DeepSpeedKeys, config, where)
    return str(caught.value)


def test_a_valid_config_comes_back_as_it_was() -> None:
    dumped = parse(DeepSpeedKeys, FULL).model_dump(exclude_unset=True)
    assert dumped == FULL
    assert type(dumped["zero_optimization"]["reduce_bucket_size"]) is int


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gradient_acumulation_steps", "did you mean 'gradient_accumulation_steps'?"),
        ("zero_optimisation", "did you mean 'zero_optimization'?"),
        ("zero_optimization.offload_optimizer.pinmemory", "'zero_optimization.offload_optimizer.pin_memory'?"),
        ("optimizer.params.weight_decy", "did you mean 'optimizer.params.weight_decay'?"),
        ("scheduler.params.warmup_steps", "did you mean 'scheduler.params.warmup_num_steps'?"),
        ("checkpoint.tag_validaton", "did you mean 'checkpoint.tag_validation'?"),
        ("stage", "it belongs in 'zero_optimization'"),
        ("stge", "did you mean 'zero_optimization.stage'?"),
        ("zero_optimization.gradient_clipping", "it belongs at the top level"),
        ("scheduler.params.lr", "it belongs in 'optimizer.params'"),
        ("timers.xyzzy", "the keys here are throughput"),
        ("xyzzyxyzzy", "no known key resembles it"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_the_nearest_right_one(path: str, message: str) -> None:
    text = refusal(changed(path, 1), "ds_configs/x.json")
    assert text.startswith(f"ds_configs/x.json: unknown key '{path}'; ") and text.endswith(message)


def test_every_problem_has_its_own_line_with_the_file_in_front() -> None:
    config = changed("train_batch_size", "8", changed("gradient_clipping", ..., changed("bf16.enabeld", True)))
    lines = refusal(config, "x.json").splitlines()
    assert len(lines) == 3 and all(line.startswith("x.json: ") for line in lines)
    assert any("missing key 'gradient_clipping': largest global gradient norm" in line for line in lines)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train_batch_size", "8", 'train_batch_size is "8"; give a whole number'),
        ("train_batch_size", True, "train_batch_size is true; give a whole number"),
        ("train_batch_size", 0, "train_batch_size is 0; give at least 1"),
        ("steps_per_print", 1.5, "steps_per_print is 1.5; give a whole number"),
        ("gradient_clipping", -1, "gradient_clipping is -1; give at least 0"),
        ("gradient_clipping", True, "gradient_clipping is true; give a number"),
        ("gradient_clipping", float("nan"), "gradient_clipping is NaN; give a finite number"),
        ("bf16.enabled", 1, "bf16.enabled is 1; give true or false"),
        ("bf16", True, "bf16 is true; give an object {...}"),
        ("zero_optimization.stage", 4, "zero_optimization.stage is 4; give 0, 1, 2 or 3"),
        (
            "zero_optimization.reduce_bucket_size",
            0.5,
            "zero_optimization.reduce_bucket_size is 0.5; give a whole number",
        ),
        ("optimizer.type", "adamw", "optimizer.type is 'adamw'; give one of 'Adam', 'AdamW', "),
        ("optimizer.type", "Muon", "optimizer.type 'Muon' is not supported: DeepSpeed's Muon fails on convolution"),
        ("optimizer", "Adam", 'optimizer is "Adam"; give an object {...}'),
        ("optimizer.params.betas", [0.9], "optimizer.params.betas is [0.9]; give at least 2 entries"),
        ("optimizer.params.betas", [0.9, "x"], 'optimizer.params.betas.1 is "x"; give a number'),
        ("scheduler.params.total_num_steps", "1000", "total_num_steps is \"1000\"; give a whole number or 'auto'"),
        ("log_level", "loud", "log_level is \"loud\"; give 'debug', 'info', 'warning', 'error' or 'critical'"),
    ],
)
def test_a_wrong_value_is_shown_with_what_is_allowed(path: str, value: object, message: str) -> None:
    assert message in refusal(changed(path, value))


def test_a_config_that_is_no_object_is_refused() -> None:
    assert refusal([1], "x.json") == "x.json: the config is [1]; give an object {...}"


def test_the_steps_of_a_scheduler_may_be_left_to_the_trainer() -> None:
    keys = parse(DeepSpeedKeys, changed("scheduler.params.total_num_steps", "auto"))
    assert keys.model_dump(exclude_unset=True)["scheduler"]["params"]["total_num_steps"] == "auto"


@pytest.mark.parametrize("key", sorted(UNSUPPORTED))
def test_a_key_this_trainer_does_not_support_is_refused_with_the_reason(key: str) -> None:
    assert refusal(changed(key, {})) == f"'{key}' is not supported: {UNSUPPORTED[key]}"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("zero_optimization.cpu_offload", "offload_optimizer"),
        ("optimizer.params.max_grad_norm", "gradient_clipping"),
        ("comet.api_key", "COMET_API_KEY"),
    ],
)
def test_a_section_refuses_keys_with_a_reason_too(key: str, reason: str) -> None:
    text = refusal(changed(key, 1))
    assert text.startswith(f"'{key}' is not supported: ") and reason in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fp16.enabled": True}, "bf16.enabled and fp16.enabled are both true"),
        ({"torch_autocast": {"enabled": True, "dtype": "bfloat16"}}, "bf16.enabled and torch_autocast.enabled"),
        ({"torch_autocast": {"enabled": True}, "bf16.enabled": False}, "torch_autocast: enabled needs dtype"),
        ({"zero_optimization.stage": 2}, "offload_param needs stage 3, stage is 2"),
        ({"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}, "offload_optimizer needs stage 1, 2 or 3"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"ratio": 0.5}}}, "ratio below 1 needs stage 3"),
        (
            {"zero_optimization": {"stage": 2, "offload_optimizer": {"super_offload": True}}},
            "super_offload needs stage",
        ),
        (
            {"zero_optimization.offload_param.nvme_path": ...},
            "zero_optimization.offload_param: device 'nvme' needs nvme",
        ),
        ({"zero_optimization": {"stage": 2, "compute_grad_norm": False}}, "set gradient_clipping to 0"),
        ({"zero_optimization": {"stage": 3, "compute_grad_norm": False}}, "compute_grad_norm false needs stage 1 or 2"),
        ({"gradient_predivide_factor": 2.0}, "gradient_predivide_factor must be 1.0"),
        ({"prescale_gradients": True}, "prescale_gradients must be false"),
        ({"bf16.bf16_optimizer_states": True}, "bf16: bf16_optimizer_states needs"),
        ({"bf16.bf16_master_weights_and_grads": True}, "bf16: bf16_master_weights_and_grads needs"),
        ({"optimizer": {"type": "SGD", "params": {"lr": 0.1}}}, "set zero_allow_untested_optimizer to true"),
        (
            {"zero_optimization.stage": 3, "optimizer": {"type": "Adagrad", "params": {"lr": 0.1}}},
            "optimizer.type Adagrad cannot be resumed at zero_optimization.stage 3",
        ),
        ({"optimizer.params.bias_correction": True}, "bias_correction cannot be used without torch_adam false"),
        ({"optimizer.params": {"amsgrad": True}}, "amsgrad cannot be used without torch_adam true"),
        ({"optimizer.params.adam_w_mode": False}, "use the optimizer type Adam"),
        ({"optimizer": {"type": "SGD", "params": {"nesterov": True}}}, "nesterov needs a momentum above 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    config = FULL
    for path, value in changes.items():
        config = changed(path, value, config)
    assert message in refusal(config)


def test_a_missing_type_does_not_hide_its_misspelling() -> None:
    lines = refusal(changed("optimizer.tipe", "AdamW", changed("optimizer.type", ...))).splitlines()
    assert lines[0].startswith("missing key 'optimizer.type'")
    assert lines[1] == "unknown key 'optimizer.tipe'; did you mean 'optimizer.type'?"


def key_places(node: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield (*path, key)
        yield from key_places(value, (*path, key))


VALID_NAMES = {name for _, model in walk(DeepSpeedKeys) for name in model.model_fields}
PLACES = list(key_places(FULL))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_one_wrong_letter_in_any_key_is_always_an_error_that_names_the_key(data: st.DataObject) -> None:
    *parents, key = data.draw(st.sampled_from(PLACES))
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyzE_0 "))
    mutated = key[:at] + letter + key[at + 1 :]
    if mutated in VALID_NAMES:
        return
    config = copy.deepcopy(FULL)
    section = config
    for parent in parents:
        section = section[parent]
    section[mutated] = section.pop(key)
    assert f"unknown key '{'.'.join([*parents, mutated])}'" in refusal(config)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(VALID_NAMES)), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(place=st.sampled_from(PLACES), value=JSON)
def test_any_value_anywhere_is_accepted_or_refused_for_the_user(place: tuple[str, ...], value: object) -> None:
    try:
        parse(DeepSpeedKeys, changed(".".join(place), value))
    except UserError as error:
        assert str(error)


def test_every_key_has_a_description_of_one_line() -> None:
    for path, model in walk(DeepSpeedKeys):
        for name, field in model.model_fields.items():
            assert field.description and "\n" not in field.description and len(field.description) < 110, (path, name)


def test_reading_a_config_imports_neither_torch_nor_deepspeed() -> None:
    code = "import sys, ds_nowcast.config.deepspeed_keys; print({'torch', 'deepspeed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
