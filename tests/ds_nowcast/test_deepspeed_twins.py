"""The models of DeepSpeed's config against the installed DeepSpeed: no key forgotten, none invented."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, ClassVar

import deepspeed
import pytest
import torch
from deepspeed.monitor.config import CometConfig, CSVConfig, TensorBoardConfig, WandbConfig
from deepspeed.ops.adagrad import DeepSpeedCPUAdagrad
from deepspeed.ops.adam import DeepSpeedCPUAdam, FusedAdam
from deepspeed.ops.lamb import FusedLamb
from deepspeed.ops.lion import DeepSpeedCPULion, FusedLion
from deepspeed.runtime import lr_schedules
from deepspeed.runtime.config import DeepSpeedConfig
from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from deepspeed.runtime.zero.leaf_module_config import DeepSpeedZeroLeafModuleConfig
from deepspeed.runtime.zero.offload_config import DeepSpeedZeroOffloadOptimizerConfig, DeepSpeedZeroOffloadParamConfig
from deepspeed.utils.config import DeepSpeedThroughputTimerConfig
from pydantic import BaseModel

from ds_nowcast.config import deepspeed_sections, optimizer_keys, zero_keys
from ds_nowcast.config.deepspeed_keys import UNSUPPORTED, DeepSpeedKeys
from ds_nowcast.config.strict import Strict, parse, sections
from tests.ds_nowcast.test_deepspeed_keys import FULL

SOURCES = Path(deepspeed.__file__).parent


def test_deepspeed_accepts_what_the_models_give_back() -> None:
    read = DeepSpeedConfig(parse(DeepSpeedKeys, FULL).model_dump(exclude_unset=True))
    assert read.zero_config.reduce_bucket_size == 500_000_000
    assert read.zero_config.offload_param.buffer_size == 100_000_000
    assert read.gradient_clipping == 1.0 and read.optimizer_name == "adamw" and read.log_level == "warning"


PYDANTIC_TWINS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (zero_keys.ZeroOptimization, DeepSpeedZeroConfig),
    (zero_keys.OffloadParam, DeepSpeedZeroOffloadParamConfig),
    (zero_keys.OffloadOptimizer, DeepSpeedZeroOffloadOptimizerConfig),
    (zero_keys.LeafModule, DeepSpeedZeroLeafModuleConfig),
    (deepspeed_sections.BF16, DeepSpeedBF16Config),
    (deepspeed_sections.FP16, DeepSpeedFP16Config),
    (deepspeed_sections.TensorBoard, TensorBoardConfig),
    (deepspeed_sections.CSVMonitor, CSVConfig),
    (deepspeed_sections.Wandb, WandbConfig),
    (deepspeed_sections.Comet, CometConfig),
    (deepspeed_sections.ThroughputTimer, DeepSpeedThroughputTimerConfig),
]


@pytest.mark.parametrize(("ours", "theirs"), PYDANTIC_TWINS, ids=lambda model: model.__name__)
def test_a_section_has_deepspeeds_own_keys_and_defaults(ours: type[Strict], theirs: type[BaseModel]) -> None:
    fields = {field.alias or name: field for name, field in theirs.model_fields.items()}
    assert set(fields) == set(ours.model_fields) | set(ours.refused) & set(fields)
    assert set(ours.model_fields).isdisjoint(ours.refused)
    for name, field in ours.model_fields.items():
        if field.default_factory is None:
            theirs_default = fields[name].get_default(call_default_factory=True)
            assert field.default == getattr(theirs_default, "value", theirs_default), name


class Recorder(dict[str, Any]):
    """A config that notes every top-level key DeepSpeed asks for."""

    asked: ClassVar[set[str]] = set()

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def keys(self) -> Recorder:  # type: ignore[override]
        return self


def test_every_top_level_key_deepspeed_asks_for_is_supported_or_refused_with_a_reason() -> None:
    DeepSpeedConfig(Recorder({"train_batch_size": 1}))
    assert Recorder.asked >= set(DeepSpeedKeys.model_fields)
    assert Recorder.asked - set(DeepSpeedKeys.model_fields) - set(UNSUPPORTED) == set()
    assert set(UNSUPPORTED).isdisjoint(DeepSpeedKeys.model_fields)


@pytest.mark.parametrize("section", ["Aio", "Checkpoint", "CommsLogger", "FlopsProfiler"])
def test_the_keys_of_a_section_without_a_pydantic_class_stand_in_deepspeeds_constants(section: str) -> None:
    files = [*SOURCES.glob("**/constants.py"), SOURCES / "runtime/activation_checkpointing/config.py"]
    constants = set(re.findall(r"""^[A-Z_]+ = ['"](\w+)['"]""", "\n".join(f.read_text() for f in files), re.M))
    constants |= set(inspect.get_annotations(deepspeed.comm.config.CommsLoggerConfig))
    assert set(getattr(deepspeed_sections, section).model_fields) <= constants


def names(*functions: Any) -> set[str]:
    return {name for function in functions for name in inspect.signature(function).parameters}


OPTIMIZERS: dict[str, set[str]] = {
    # torch_adam and adam_w_mode are taken out by the engine
    "Adam": names(FusedAdam, DeepSpeedCPUAdam, torch.optim.Adam) | {"torch_adam", "adam_w_mode"},
    "AdamW": names(FusedAdam, DeepSpeedCPUAdam, torch.optim.AdamW) | {"torch_adam", "adam_w_mode"},
    "SGD": names(torch.optim.SGD),
    "Adagrad": names(torch.optim.Adagrad) & names(DeepSpeedCPUAdagrad),
    "Lion": names(FusedLion) & names(DeepSpeedCPULion),
    "Lamb": names(FusedLamb),
}


def test_every_optimizer_parameter_is_one_that_its_code_takes() -> None:
    (*classes,) = sections(DeepSpeedKeys.model_fields["optimizer"].annotation)
    assert {model.__name__ for model in classes} == set(OPTIMIZERS)
    for name, known in OPTIMIZERS.items():
        assert set(getattr(optimizer_keys, f"{name}Params").model_fields) <= known, name


def test_every_scheduler_has_exactly_the_parameters_of_its_code() -> None:
    classes = sections(DeepSpeedKeys.model_fields["scheduler"].annotation)
    assert {model.__name__ for model in classes} == set(lr_schedules.VALID_LR_SCHEDULES)
    for model in classes:
        taken = names(getattr(lr_schedules, model.__name__)) - {"optimizer", "last_batch_iteration"}
        (params,) = sections(model.model_fields["params"].annotation)
        assert set(params.model_fields) == taken, model.__name__
