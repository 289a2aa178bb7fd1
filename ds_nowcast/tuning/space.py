"""What is tried: settings of a config by dotted key, each with the values that it may take."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any, Literal

from data_prep.errors import UserError
from ds_nowcast.config import Batch, RunConfig
from ds_nowcast.config.json_file import read_json
from ds_nowcast.models import checked_options

Objective = Literal["samples_per_s", "val_csi"]
Combination = Mapping[str, str]
"""A value for every key of a space, as JSON text."""

MICRO, ACCUMULATION = "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"
UNSET = "unset"  # the start's own value where its config has none, and no JSON text
MOST_COMBINATIONS = 100_000
# What may be tried for speed: it leaves what is learned as it is, but for rounding and for precision, which is the user's choice.
_OF_SPEED = (
    MICRO, ACCUMULATION, "zero_optimization", "nowcast.compute", "nowcast.data.threads", "nowcast.data.buffer_mb",
    "nowcast.data.requests", "bf16", "fp16", "torch_autocast", "communication_data_type", "optimizer.params.fused",
)  # fmt: skip
# What may not be tried for a score: it would change what is scored, or how long is trained, or choose by luck.
_NOT_OF_SCORE = {
    "nowcast.steps": "all trials are of --steps optimizer steps",
    "nowcast.seed": "the best seed is luck; the best and the start are trained again with other seeds",
    "nowcast.evaluation": "scores of different windows or thresholds cannot be compared",
    "nowcast.checkpoint": "the search saves where it needs to",
    "nowcast.data.split": "what is trained on is given by --set",
    "nowcast.data.input_frames": "it changes what is forecast from",
    "nowcast.data.output_frames": "scores of other lead times cannot be compared",
    "scheduler.params.total_num_steps": "all trials are of --steps optimizer steps",
}


@dataclass(frozen=True)
class Setting:
    """One key and its values as JSON texts, the start's own first."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """Settings that vary together."""

    settings: tuple[Setting, ...]

    @property
    def size(self) -> int:
        """How many combinations there are, refused ones among them."""
        return math.prod(len(setting.values) for setting in self.settings)

    @property
    def start(self) -> Combination:
        """The config as it is given."""
        return {setting.key: setting.values[0] for setting in self.settings}

    def combinations(self) -> Iterator[Combination]:
        """All of them."""
        keys = [setting.key for setting in self.settings]
        for values in product(*(setting.values for setting in self.settings)):
            yield dict(zip(keys, values, strict=True))

    def differing(self, combination: Combination) -> dict[str, str]:
        """What is not as the start has it."""
        return {key: value for key, value in combination.items() if value != self.start[key]}

    def to_json(self) -> dict[str, list[str]]:
        """By key, the start's own value first."""
        return {setting.key: list(setting.values) for setting in self.settings}


def shown(differing: Mapping[str, str]) -> str:
    """Settings for a line, without `nowcast.`."""
    return ", ".join(f"{key.removeprefix('nowcast.')}={value}" for key, value in differing.items())


def made_space(config: RunConfig, batch: Batch, candidates: Mapping[str, Sequence[Any]]) -> Space:
    """A space of the settings that have more than the start's own value. Raises UserError where it is too large."""
    settings = []
    for key, values in candidates.items():
        own = value_of(config, batch, key)
        texts = tuple(dict.fromkeys([own, *map(as_text, values)]))
        if len(texts) > 1:
            settings.append(Setting(key, texts))
    space = Space(tuple(settings))
    if space.size > MOST_COMBINATIONS:
        raise UserError(
            f"the space has {space.size:,} combinations, more than {MOST_COMBINATIONS:,}; give fewer keys or values in --space"
        )
    return space


def as_text(value: Any) -> str:
    """A value as the text by which it is known; a whole number has one form."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value, sort_keys=True)


def value_of(config: RunConfig, batch: Batch, key: str) -> str:
    """What a config has at a dotted key, its defaults among it; UNSET where it has nothing there."""
    solved = {"train_batch_size": batch.total, MICRO: batch.micro, ACCUMULATION: batch.accumulation}
    if key in solved:
        return as_text(solved[key])
    node: Any = config.model_dump(mode="json", by_alias=True)
    model = config.nowcast.model
    node["nowcast"]["model"] |= checked_options(model.name, model.options).model_dump(mode="json")
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return UNSET
        node = node[part]
    return as_text(node)


def read_space(path: Path, objective: Objective) -> dict[str, list[Any]]:
    """A file's keys and values. Raises UserError for what is no space, or not one of this objective."""
    content = read_json(path, "--space", give="give a JSON file", mend="mend it there")
    if not isinstance(content, dict) or not content:
        raise UserError(
            f'--space {path} is no space; give an object of dotted keys and lists, such as {{"zero_optimization.stage": [1, 2]}}'
        )
    for key, values in content.items():
        _check_values(path, key, values)
        _check_key(path, key, objective)
    _check_apart(path, list(content))
    return content


def _check_values(path: Path, key: str, values: Any) -> None:
    if not isinstance(values, list) or not values:
        raise UserError(f"--space {path}: {key} is {json.dumps(values)}; give a list of its values")
    texts = [as_text(value) for value in values]
    if twice := [text for text in texts if texts.count(text) > 1]:
        raise UserError(f"--space {path}: {key} has {twice[0]} twice; give each value once")
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise UserError(f"--space {path}: {key} has a number that is not finite; leave it out")


def _check_key(path: Path, key: str, objective: Objective) -> None:
    if objective == "samples_per_s":
        if not any(_within(key, allowed) for allowed in _OF_SPEED):
            near = get_close_matches(key, _OF_SPEED, 1, 0.8)
            meant = f"did you mean {near[0]}? " if near else ""
            raise UserError(
                f"--space {path}: {key} is none of what is tried for speed; {meant}give {', '.join(_OF_SPEED)} or what is in these: other "
                "settings change what is trained, give them with --set, or try them with --objective val_csi"
            )
        return
    for refused, reason in _NOT_OF_SCORE.items():
        if _within(key, refused):
            raise UserError(f"--space {path}: {key} cannot be tried: {reason}; leave it out")


def _check_apart(path: Path, keys: Sequence[str]) -> None:
    """One key may not hold another: which of the two counts would hang on their order."""
    for key in keys:
        if outer := [other for other in keys if other != key and _within(key, other)]:
            raise UserError(
                f"--space {path}: {key} is within {outer[0]}, which is there too; give one of them, such as {outer[0]} with whole sections"
            )


def _within(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")
