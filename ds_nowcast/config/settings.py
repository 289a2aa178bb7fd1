"""Every setting that holds for a config, from the file or by default, with what is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ds_nowcast.config import Batch, RunConfig
from ds_nowcast.config.costs import COSTS
from ds_nowcast.config.optimizer_keys import OWN_ADAM_ONLY, TORCH_ADAM_ONLY, AdamParams
from ds_nowcast.config.schema import COSTS_WORD, Form, keys_of, schema

Origin = Literal["given", "preset", "solved", "default", "DeepSpeed's default"]
_EDITORS = "$schema"
BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
"""Keys of which two are given and the third is solved."""


@dataclass(frozen=True)
class Setting:
    """One key."""

    key: str  # dotted path
    value: Any  # as in a file
    holds: Any  # what the run takes of it: another value where the file leaves it open ("auto")
    origin: Origin
    form: Form  # of the schema

    @property
    def about(self) -> str:
        """What it does."""
        return described(self.form)

    @property
    def costs(self) -> str:
        """What it costs, "" where nothing is known."""
        return COSTS.get(self.key, "")

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        own = {"key": self.key, "value": self.value, "holds": self.holds, "origin": self.origin}
        return {**own, "description": self.about, "costs": self.costs or None}


def described(form: Form) -> str:
    """A form's description without its costs."""
    return str(form.get("description", "")).partition(COSTS_WORD)[0]


def settings_of(config: RunConfig) -> dict[str, Setting]:
    """By key, in the order of the schema."""
    given = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    settled, found = _settled(config), {}
    for key, value, form in _leaves(schema(), _whole(config), ""):
        found[key] = Setting(key, value, settled.get(key, value), _origin(key, config, given), form)
    return found


def best_batch(config: RunConfig) -> Batch:
    """The batch at the most ranks over which it divides; where their number sets the total, at one. Raises UserError."""
    micro, accumulation = config.train_micro_batch_size_per_gpu or 1, config.gradient_accumulation_steps or 1
    total = config.train_batch_size
    ranks, rest = (1, 0) if total is None else divmod(total, micro * accumulation)
    return config.batch(1 if rest else ranks)


def _whole(config: RunConfig) -> dict[str, Any]:
    """As in a file that leaves nothing out."""
    from ds_nowcast.losses import checked_options as loss_options  # these import torch
    from ds_nowcast.models import checked_options as model_options

    whole = config.model_dump(mode="json", by_alias=True, exclude={"schema_"})
    model, loss = config.nowcast.model, config.nowcast.loss
    options = model_options(model.name, model.options).model_dump(mode="json")
    if isinstance(params := config.optimizer.params, AdamParams):
        for name in OWN_ADAM_ONLY if params.torch_adam else TORCH_ADAM_ONLY:
            del whole["optimizer"]["params"][name]
        whole["optimizer"]["params"] |= _torch_defaults(params)
    whole["nowcast"]["model"] = {"name": model.name, "preset": model.preset, **options}
    of_losses = loss_options(loss, where="nowcast.loss").items()
    whole["nowcast"]["loss"]["options"] = {name: one.model_dump(mode="json") for name, one in of_losses}
    return whole


def _settled(config: RunConfig) -> dict[str, Any]:
    """What is left open in the file and decided when a run starts, where it depends on nothing but the file."""
    zero, found = config.zero_optimization, dict[str, Any]()
    if zero.overlap_comm is None:
        found["zero_optimization.overlap_comm"] = zero.stage == 3
    batches = [
        best_batch(config),
        *([] if config.train_batch_size else [config.batch(2)]),
    ]  # what all agree on is decided
    started, *others = [config.for_deepspeed(batch) for batch in batches]
    for name in ("optimizer", "scheduler"):
        if (section := getattr(config, name)) is not None:
            written = section.params.model_dump(mode="json")
            decided = started[name].get("params", {}).items()
            known = {key: value for key, value in decided if all(one[name]["params"][key] == value for one in others)}
            found |= {f"{name}.params.{key}": value for key, value in known.items() if value != written[key]}
    return found


def _torch_defaults(params: AdamParams) -> dict[str, Any]:
    """What torch's Adam takes where its parameters are not stated, in place of DeepSpeed's defaults."""
    if not params.torch_adam:
        return {}
    taken = ({"weight_decay": 0.01} if params.adam_w_mode else {}) | ({"foreach": False} if params.fused else {})
    return {name: value for name, value in taken.items() if name not in params.model_fields_set}


def _leaves(form: Form, data: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any, Form]]:
    for name, inner in keys_of(form, data).items():
        if name not in data or name == _EDITORS:
            continue
        value = data[name]
        if isinstance(value, dict) and ("properties" in inner or "allOf" in inner):
            yield from _leaves(inner, value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value, inner


def _origin(key: str, config: RunConfig, given: Mapping[str, Any]) -> Origin:
    if _has(given, key):
        return "given"
    if key in BATCH:
        return "solved"
    parts = key.split(".")
    if parts[0] != "nowcast":
        ours = parts[0] in ("optimizer", "scheduler") and parts[0] not in config.model_fields_set
        return "default" if ours else "DeepSpeed's default"
    model = config.nowcast.model
    if parts[1] == "model" and model.preset is not None:
        from ds_nowcast.models import model_presets

        if parts[-1] in model_presets(model.name)[model.preset]:
            return "preset"
    return "default"


def _has(data: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True
