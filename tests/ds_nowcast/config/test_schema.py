"""The JSON Schema of a config: current, and as strict as the models that it is made from."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from pydantic import BaseModel, ValidationError

from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.config.costs import COSTS
from ds_nowcast.config.schema import every_key, is_schema, schema, text
from ds_nowcast.config.strict import sections
from ds_nowcast.losses import LOSSES, loss_options
from ds_nowcast.models import MODELS, model_options, model_presets
from tests.ds_nowcast.config_files import CONFIGS, FOLDER
from tests.ds_nowcast.test_deepspeed_keys import FULL

OURS = {
    "seed": 1,
    "steps": 10,
    "ema": {"decay": 0.9},
    "compute": {"compile": False, "channels_last": True, "activation_checkpointing": True},
    "data": {"shuffle_shards": 4, "augment": {"flip": True, "crop": 64}, "threads": None, "cache_dir": "cache"},
    "evaluation": {"select": "mae", "thresholds": {"unit": "mm/h", "values": [1, 2]}, "max_windows": 8},
    "checkpoint": {"keep": 2},
}
LEAST: dict[str, Any] = {
    "train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "gradient_clipping": 1,
    "nowcast": {"steps": 3},
}
SCHEDULERS: dict[str, dict[str, Any]] = {
    "LRRangeTest": {},
    "OneCycle": {"cycle_min_lr": 0, "cycle_max_lr": 1e-3},
    "WarmupLR": {"warmup_max_lr": None, "warmup_num_steps": "auto"},
    "WarmupDecayLR": {"total_num_steps": "auto"},
    "WarmupCosineLR": {"total_num_steps": 9},
}


def bases() -> Iterator[dict[str, Any]]:
    """Good configs that between them have every section, and every form of those that have several."""
    zero = {**FULL["zero_optimization"], "offload_param": {"device": "cpu", "buffer_size": 1e8}}
    yield {
        **FULL,
        "$schema": "schema.json",
        "zero_optimization": zero,
        "nowcast": OURS,
        "torch_autocast": {"enabled": False, "dtype": "bf16"},
    }
    for optimizer in sections(RunConfig.model_fields["optimizer"].annotation):
        params = {"lr": 0.01, "weight_decay": 0}
        yield {
            **LEAST,
            "optimizer": {"type": optimizer.__name__, "params": params},
            "zero_allow_untested_optimizer": True,
        }
    for scheduler, params in SCHEDULERS.items():
        yield {**LEAST, "scheduler": {"type": scheduler, "params": params}}
    for model in MODELS:
        for preset in [None, *model_presets(model)][:2]:
            options = {} if preset else model_options(model)().model_dump(mode="json")
            yield {**LEAST, "nowcast": {"steps": 3, "model": {"name": model, "preset": preset, **options}}}
    options = {name: loss_options(name)().model_dump(mode="json") for name in LOSSES if loss_options(name).model_fields}
    options["balanced_mse"] = {"thresholds": {"unit": "code", "values": [74.0]}, "weights": [1, 2]}
    yield {**LEAST, "nowcast": {"steps": 3, "loss": {"weights": dict.fromkeys(LOSSES, 1), "options": options}}}


BASES = list(bases())


@cache
def validator() -> Draft7Validator:
    return Draft7Validator(schema())


def loads(data: dict[str, Any], folder: Path) -> bool:
    path = folder / "config.json"
    path.write_text(json.dumps(data))
    try:
        load_config(path)
    except UserError:
        return False
    return True


def is_sound(data: dict[str, Any]) -> bool:
    """Whether it has the form of a config: no unknown key, no wrong type. Rules across keys are passed over."""

    def formed(model_class: type[BaseModel], content: Any) -> bool:
        try:
            model_class.model_validate(content)
        except ValidationError as error:
            return all(
                one["type"] == "value_error" and "null is no setting" not in one["msg"] for one in error.errors()
            )
        return True

    if not formed(RunConfig, data):
        return False
    model = {"name": "unet"} | data["nowcast"].get("model", {})
    loss = data["nowcast"].get("loss", {})
    named = [*loss.get("weights", {}), *loss.get("options", {})]
    name, preset = model.pop("name"), model.pop("preset", None)
    if name not in MODELS or preset not in [None, *model_presets(name)] or set(named) - set(LOSSES):
        return False
    return formed(model_options(name), model) and all(
        formed(loss_options(one), options) for one, options in loss.get("options", {}).items()
    )


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in it."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else []:
        yield (*path, key)
        yield from places(value, (*path, key))


def with_value(data: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with one value set, or removed where it is `...`."""
    changed = copy.deepcopy(data)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return changed


def test_the_committed_schema_is_current() -> None:
    renew = "the models have changed; renew it: python -m ds_nowcast.config schema > schema.json && mv schema.json ds_configs/"
    assert (FOLDER / "schema.json").read_text() == text(), renew
    assert is_schema(FOLDER / "schema.json") and not is_schema(CONFIGS[0])


def test_it_is_a_draft_07_schema_without_references() -> None:
    Draft7Validator.check_schema(schema())
    assert schema()["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "$ref" not in text() and "$defs" not in text()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_committed_config_names_it_and_fits_it(path: Path) -> None:
    data = json.loads(path.read_text())
    assert next(iter(data)) == "$schema" and (path.parent / data["$schema"]).samefile(FOLDER / "schema.json")
    validator().validate(data)


def test_every_key_has_a_description_and_what_it_may_be() -> None:
    keys = list(every_key(schema()))
    assert len(keys) > 250
    for key, form in keys:
        assert form.get("description") or key.startswith("nowcast.loss.options."), key
        assert form.keys() & {"type", "enum", "anyOf", "const"}, key
        assert "None" not in form.get("description", ""), key


def test_every_section_says_that_it_takes_no_other_keys() -> None:
    def objects(form: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        for whole in [case["then"] for case in form.get("allOf", [])] or [form]:
            if "properties" in whole:
                yield path, whole
            for name, inner in whole.get("properties", {}).items():
                yield from objects(inner, f"{path}.{name}")

    found = list(objects(schema()))
    assert len(found) > 50
    assert [path for path, form in found if form["additionalProperties"] is not False] == []


def test_costs_are_of_keys_that_there_are() -> None:
    assert COSTS.keys() <= {key for key, _ in every_key(schema())}
    stage = schema()["properties"]["zero_optimization"]["properties"]["stage"]
    assert stage["description"].endswith(f". Costs: {COSTS['zero_optimization.stage']}")
    assert text().count("3 half as much again") == 1


def test_a_models_options_are_completed_and_checked_by_its_name() -> None:
    form = schema()["properties"]["nowcast"]["properties"]["model"]
    known = {case["if"]["properties"]["name"]["const"]: case["then"]["properties"].keys() for case in form["allOf"]}
    assert known == {name: {"name", "preset", *model_options(name).model_fields} for name in MODELS}
    for model, error in (
        ({"name": "unet", "widht": 3}, "'widht' was unexpected"),
        ({"widht": 3}, "'widht' was unexpected"),  # without a name it is the unet
        ({"name": "simvp", "width": 3}, "'width' was unexpected"),
        ({"name": "unett"}, "'unett' is not one of"),
        ({"name": "convnext_unet", "preset": "huge"}, "'huge' is not one of"),
        ({"name": "unet", "preset": "tiny"}, "'tiny' is not one of"),
        ({"name": "convnext_unet", "width": 12}, "12 is not a multiple of 8"),
    ):
        errors = list(validator().iter_errors({**LEAST, "nowcast": {"steps": 1, "model": model}}))
        assert [error in one.message for one in errors] == [True], errors


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("nowcast", ...),
        ("nowcast.steps", ...),
        ("gradient_clipping", ...),
        ("optimizer.type", ...),
        ("optimizer.type", "adamw"),
        ("optimizer.params.betas", [0.9]),
        ("optimizer.params.momentum", 0.9),
        ("optimizer", None),
        ("scheduler.params", ...),
        ("zero_optimization.stage", 4),
        ("zero_optimization.stage", True),
        ("zero_optimization.reduce_bucket_size", 0.5),
        ("zero_optimization.offload_optimizer.device", "gpu"),
        ("torch_autocast.dtype", None),
        ("train_batch_size", 0),
        ("log_level", "loud"),
        ("$schema", 1),
        ("nowcast.data.augment.crop", 0),
        ("nowcast.ema.decay", 1),
        ("nowcast.evaluation.thresholds.unit", "mm"),
        ("nowcast.loss", {"weights": {"mze": 1}}),
        ("nowcast.loss", {"weights": {}}),
        ("nowcast.loss", {"weights": {"mse": 0}}),
        ("nowcast.loss", {"weights": {"mse": 1}, "options": {"mse": {"delta": 1}}}),
        ("nowcast.loss", {"weights": {"huber": 1}, "options": {"huber": {"detla": 1}}}),
    ],
)
def test_a_broken_config_is_refused_by_both(path: str, value: Any, tmp_path: Path) -> None:
    whole = BASES[0]
    assert loads(whole, tmp_path) and validator().is_valid(whole)
    broken = with_value(whole, tuple(path.split(".")), value)
    assert not loads(broken, tmp_path)
    assert not validator().is_valid(broken)


def test_rules_across_keys_are_left_to_the_check(tmp_path: Path) -> None:
    data = {**BASES[0], "bf16": {"enabled": True}, "fp16": {"enabled": True}}
    assert validator().is_valid(data) and not loads(data, tmp_path)


def test_the_bases_are_sound_and_have_every_form() -> None:
    for base in BASES:
        assert is_sound(base), base
        validator().validate(base)


@pytest.mark.parametrize("base", BASES, ids=range(len(BASES)))
def test_an_unknown_key_is_refused_at_every_level(base: dict[str, Any]) -> None:
    node: Any
    for path in [(), *places(base)]:
        node = base
        for key in path:
            node = node[key]
        if isinstance(node, dict):
            changed = with_value(base, (*path, "zzz"), 1)
            assert not is_sound(changed), path
            assert not validator().is_valid(changed), path


# 2.0 is a whole number to JSON Schema and none to us: a schema cannot tell it from 2
VALUES = st.sampled_from(
    [..., None, True, False, "zzz", "auto", 0, -1, 1.5, -0.5, 7, 10**20, [], [1], ["a"], {}, {"a": 1}]
)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), value=VALUES)
def test_what_the_models_refuse_by_form_the_schema_refuses_and_what_they_take_it_takes(
    data: st.DataObject, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = data.draw(st.sampled_from(BASES))
    path = data.draw(st.sampled_from(list(places(base))))
    changed = with_value(base, path, value)
    valid = validator().is_valid(changed)
    assert is_sound(changed) or not valid, f"the schema takes {path} = {value}"
    assert valid or not loads(changed, tmp_path_factory.getbasetemp()), f"the schema refuses {path} = {value}"
