"""Losses in a config: read without shards, held against the shards' encoding before anything starts, written back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.errors import UserError
from data_prep.shards.index import open_shards
from ds_nowcast.config import load_config
from ds_nowcast.losses import LOSSES, LossSetting, build_loss, loss_options
from ds_nowcast.training.start import check_start
from tests.ds_nowcast.losses.test_losses import SETTING, fields
from tests.launching import ROOT

PAGE = (ROOT / "docs/losses.md").read_text()


def loss_of(value: dict[str, Any]) -> str:
    return f"nowcast.loss={json.dumps(value)}"


def test_options_reach_the_loss_and_are_written_back(config: Path, tmp_path: Path) -> None:
    given = load_config(config, [loss_of({"weights": {"huber": 2.0}, "options": {"huber": {"delta": 0.5}}})])
    again = tmp_path / "again.json"
    again.write_text(json.dumps(given.to_dict()))
    keys = load_config(again).nowcast.loss
    assert keys.options == {"huber": {"delta": 0.5}}
    prediction, target, weight = fields()
    expected = torch.nn.functional.huber_loss(prediction, target, reduction="none", delta=0.5)
    value = build_loss(keys, SETTING)(prediction, target, weight, 0)
    torch.testing.assert_close(value, 2 * (weight * expected).sum())


def test_a_file_with_a_wrong_loss_is_named_with_the_key(config: Path) -> None:
    wrong = {"weights": {"huber": 1.0}, "options": {"huber": {"detla": 1.0}}}
    with pytest.raises(UserError) as refusal:
        load_config(config, [loss_of(wrong)])
    assert str(refusal.value) == (
        f"{config}: in nowcast.loss.options.huber: unknown key 'detla'; did you mean 'delta'?"
    )


def test_a_unit_that_the_shards_do_not_have_is_refused_before_the_ranks_meet(config: Path, shards: Path) -> None:
    rain = {"thresholds": {"unit": "mm/h", "values": [2.0]}, "weights": [1, 5]}
    wrong = load_config(config, [loss_of({"weights": {"balanced_mse": 1}, "options": {"balanced_mse": rain}})])
    with pytest.raises(UserError, match="'mm/h'; shards of encoding vil255 have kg/m2, code"):
        check_start(wrong, open_shards(shards), None, world=1)


def test_the_page_of_losses_names_every_loss_and_option() -> None:
    for name in LOSSES:
        [row] = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
        for option in loss_options(name).model_fields:
            assert f"`{option}`" in row, f"{name}.{option} is not on the page"


def test_the_examples_of_the_page_are_losses(config: Path) -> None:
    examples = re.findall(r"```json\n\"loss\": (.*?)```", PAGE, re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        read = load_config(config, [loss_of(json.loads(example))])
        build_loss(read.nowcast.loss, LossSetting(SETTING.encoding, read.nowcast.steps, read.nowcast.seed))
