"""Reading a config: strict at every level, overridden by --set, written back resolved and readable again."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from deepspeed.runtime.config import DeepSpeedConfig

from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, load_config
from tests.ds_nowcast.conftest import TINY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "config.json"
    written.write_text(json.dumps(TINY))
    return written


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    return str(caught.value)


def sections(node: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all sections of a config, itself included."""
    inner = [found for key, value in node.items() if isinstance(value, dict) for found in sections(value, (*path, key))]
    return [path, *inner]


@pytest.mark.parametrize("section", sections(TINY), ids=".".join)
def test_an_unknown_key_is_refused_at_every_level(section: tuple[str, ...], tmp_path: Path) -> None:
    data = copy.deepcopy(TINY)
    node = data
    for key in section:
        node = node[key]
    node["zzz"] = 1
    written = tmp_path / "config.json"
    written.write_text(json.dumps(data))
    message = refusal(written)
    assert str(written) in message
    assert "'" + ".".join((*section, "zzz")) + "'" in message or "'zzz'" in message
    assert len(message.splitlines()) == 1


def test_what_is_left_out_has_its_default_and_steps_must_be_given(path: Path) -> None:
    keys = load_config(path).nowcast
    assert (keys.seed, keys.max_skipped_steps, keys.evaluation.split) == (0, 20, "val")
    augment = load_config(path, ["nowcast.data.augment.crop=16"]).nowcast.data.augment
    assert (augment.flip, augment.rotate, augment.crop) == (False, False, 16), "one key must not switch on another"
    data = {**TINY, "nowcast": {}}
    path.write_text(json.dumps(data))
    assert "missing key 'nowcast.steps': optimizer steps of the whole training" in refusal(path)


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("nowcast.steps=7", lambda c: c.nowcast.steps, 7),
        ("zero_optimization.stage=3", lambda c: c.zero_optimization.stage, 3),
        ("nowcast.model.width=16", lambda c: c.nowcast.model.options["width"], 16),
        ("nowcast.evaluation.split=test", lambda c: c.nowcast.evaluation.split, "test"),
        ("bf16.enabled=true", lambda c: c.bf16.enabled, True),
        ('nowcast.loss={"weights":{"mae":2}}', lambda c: c.nowcast.loss.weights, {"mae": 2.0}),
        ("nowcast.data.shuffle_shards=null", lambda c: c.nowcast.data.shuffle_shards, None),
        ("scheduler.params.total_num_steps=9", lambda c: c.scheduler.params.total_num_steps, 9),
    ],
)
def test_set_overrides_one_key(override: str, read: Any, value: Any, path: Path) -> None:
    assert read(load_config(path, [override])) == value


def test_the_last_of_two_overrides_counts_and_a_null_section_can_be_filled(path: Path) -> None:
    assert load_config(path, ["nowcast.steps=7", "nowcast.steps=8"]).nowcast.steps == 8
    thresholds = load_config(
        path,
        [
            "nowcast.evaluation.thresholds=null",
            "nowcast.evaluation.thresholds.unit=code",
            "nowcast.evaluation.thresholds.values=[16, 74]",
        ],
    ).nowcast.evaluation.thresholds
    assert thresholds is not None
    assert (thresholds.unit, thresholds.values) == ("code", [16.0, 74.0])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nowcast.steps", "--set 'nowcast.steps' is not key=value; write for example --set nowcast.steps=100"),
        ("=3", "--set '=3' is not key=value"),
        ("train_batch_size.total=3", "train_batch_size is 4, not a section; write --set train_batch_size=VALUE"),
        ("nowcast.steps.max=3", "nowcast.steps is 12, not a section; write --set nowcast.steps=VALUE"),
        ("nowcast.steps=many", 'nowcast.steps is "many"; give a whole number'),
        ("nowcast.steps=1.5", "nowcast.steps is 1.5; give a whole number"),
        ("nowcast.steps=true", "nowcast.steps is true; give a whole number"),
        ("optimizer.params.lr=NaN", "optimizer.params.lr is NaN; give"),
        ("nowcast.checkpoint.keep=1", "nowcast.checkpoint.keep is 1; give at least 2"),
        ("nowcast.loss.weights={}", "nowcast.loss.weights is {}; give at least 1 entries"),
        ('nowcast.evaluation.thresholds={"unit":"code","values":[3,2]}', "values must ascend, given [3.0, 2.0]"),
        ("nowcast.evaluation.select=csi", "nowcast.evaluation.select is \"csi\"; give 'csi_pooled', 'csi_lead_mean'"),
        ("nowcast.model.width=7", "in nowcast.model: groups 8 do not divide width 7"),
    ],
)
def test_a_wrong_override_is_one_sentence(override: str, message: str, path: Path) -> None:
    error = refusal(path, override)
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON (Expecting property name"),
        (b"", "is not JSON (Expecting value"),
        (b"[1, 2]", "holds a list; give a JSON object"),
        (b"3", "holds a int; give a JSON object"),
        (b'{"optimizer": 1, "optimizer": 2}', "is not JSON (key 'optimizer' occurs twice)"),
        (b'{"nowcast": {"steps": 1, "steps": 2}}', "key 'steps' occurs twice"),
        (b"\xff\xfe{}", "is not JSON ('utf-8' codec can't decode"),
        (b"[" * 100_000, "is not JSON ("),
    ],
)
def test_a_file_that_is_no_config_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    written = tmp_path / "config.json"
    written.write_bytes(content)
    error = refusal(written)
    assert message in error
    assert str(written) in error
    assert len(error.splitlines()) == 1


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "none.json")
    assert "cannot be read (Is a directory)" in refusal(tmp_path)


def test_the_resolved_config_is_a_config_that_says_the_same(path: Path) -> None:
    config = load_config(path, ["nowcast.steps=30", "bf16.enabled=true"])
    resolved = config.to_dict()
    assert resolved["nowcast"]["data"]["split"] == "train", "defaults of the nowcast section are written out"
    assert "fp16" not in resolved, "what DeepSpeed's part leaves out stays out"
    path.write_text(json.dumps(resolved))
    again = load_config(path)
    assert again == config
    assert again.to_dict() == resolved


def test_deepspeed_is_given_its_own_keys_with_the_batch_solved_and_auto_filled_in(path: Path) -> None:
    config = load_config(path, ["nowcast.steps=30"])
    keys = config.for_deepspeed(config.batch(2))
    assert "nowcast" not in keys
    assert keys["scheduler"]["params"]["total_num_steps"] == 30
    sizes = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    assert [keys[name] for name in sizes] == [4, 2, 1]
    assert config.to_dict()["scheduler"]["params"]["total_num_steps"] == "auto", "the config itself is unchanged"


def test_a_config_whose_scheduler_is_null_keeps_its_learning_rate(path: Path) -> None:
    path.write_text(json.dumps({**TINY, "scheduler": None}))
    config: RunConfig = load_config(path)
    assert "scheduler" not in config.for_deepspeed(config.batch(1))


def test_adamw_with_a_warm_up_and_a_cosine_is_what_a_config_gets_that_says_nothing(path: Path) -> None:
    path.write_text(json.dumps({key: value for key, value in TINY.items() if key not in ("optimizer", "scheduler")}))
    config = load_config(path, ["nowcast.steps=300"])
    theirs = DeepSpeedConfig(config.for_deepspeed(config.batch(1)))
    assert theirs.optimizer_name == "adamw"
    assert theirs.optimizer_params == {"weight_decay": 0.01, "torch_adam": True}
    assert theirs.scheduler_name == "WarmupCosineLR"
    assert (theirs.scheduler_params["total_num_steps"], theirs.scheduler_params["warmup_num_steps"]) == (300, 30)
    long = load_config(path, ["nowcast.steps=55800"])
    assert long.for_deepspeed(long.batch(1))["scheduler"]["params"]["warmup_num_steps"] == 1000


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (
            ['zero_optimization={"stage":3,"offload_optimizer":{"device":"nvme","nvme_path":"/nvme"}}'],
            "offload_optimizer.device 'nvme', where weights are in memory only while they are updated; use device 'cpu'",
        ),
        (
            ['zero_optimization={"stage":3,"offload_param":{"device":"nvme","nvme_path":"/nvme"}}'],
            "offload_param.device 'nvme', as each evaluation would write all weights twice; use device 'cpu'",
        ),
        (
            ['zero_optimization={"stage":3,"offload_optimizer":{"device":"cpu","ratio":0.5}}'],
            "offload_optimizer.ratio below 1, as DeepSpeed leaves the optimizer's state on the GPU out of its checkpoints",
        ),
        (
            ['zero_optimization={"stage":3,"offload_optimizer":{"device":"cpu","super_offload":true}}'],
            "offload_optimizer.super_offload, which keeps the optimizer's state in another process; set it to false",
        ),
        (
            ['bf16={"enabled":true,"bf16_master_weights_and_grads":true,"bf16_optimizer_states":true}'],
            "bf16.bf16_master_weights_and_grads, as the mean is of fp32 weights; set it to false",
        ),
    ],
)
def test_a_mean_of_the_weights_is_refused_where_it_could_not_be_kept(
    overrides: list[str], reason: str, path: Path
) -> None:
    load_config(path, overrides)
    message = refusal(path, *overrides, "nowcast.ema.decay=0.9")
    assert message.startswith(f"{path}: nowcast.ema cannot be used with ")
    assert message.endswith(", or leave nowcast.ema out")
    assert reason in message


@pytest.mark.parametrize(
    "zero", ['{"stage":0}', '{"stage":3,"offload_param":{"device":"cpu"},"offload_optimizer":{"device":"cpu"}}']
)
def test_a_mean_of_the_weights_goes_with_offloading_to_host_memory(zero: str, path: Path) -> None:
    ema = load_config(path, [f"zero_optimization={zero}", "nowcast.ema={}"]).nowcast.ema
    assert ema is not None and ema.decay == 0.999
    assert "nowcast.ema.decay is 1" in refusal(path, "nowcast.ema.decay=1.0")


def test_what_is_allowed_and_rarely_meant_is_told(path: Path) -> None:
    def cautions(*overrides: str) -> list[str]:
        config = load_config(path, overrides)
        return config.cautions(config.batch(1))

    assert cautions() == []
    [short] = cautions("nowcast.steps=2")
    assert "warmup_num_steps 2 is not below nowcast.steps 2" in short
    [blind] = cautions('nowcast.loss.weights={"fourier_amplitude":1.0}')
    assert "does not see where rain is" in blind


def test_a_unit_of_no_encoding_is_refused_before_there_are_shards(path: Path) -> None:
    message = refusal(path, 'nowcast.evaluation.thresholds={"unit":"mmh","values":[1.0]}')
    assert "unit 'mmh' is no unit of any encoding; give dBZ, kg/m2, mm/h, code" in message


def test_compiling_is_refused_where_the_graph_would_be_in_pieces(path: Path) -> None:
    load_config(path, ["nowcast.compute.compile=true"])
    message = refusal(path, "nowcast.compute.compile=true", "zero_optimization.stage=3")
    assert "nowcast.compute.compile cannot be used with zero_optimization.stage 3" in message
