"""DeepSpeed's refusals as sentences."""

from __future__ import annotations

import pytest
from deepspeed.ops.op_builder.cpu import NotImplementedBuilder

from data_prep.errors import UserError
from ds_nowcast.engine.starting import starting


def test_an_optimizer_that_the_device_has_not_is_named_with_those_it_has() -> None:
    with (
        pytest.raises(UserError, match=r"has no optimizer Lion .*; use AdamW"),
        starting({"optimizer": {"type": "Lion"}}),
    ):
        NotImplementedBuilder().load()


def test_another_operator_that_the_device_has_not_is_not_taken_for_the_optimizer() -> None:
    with pytest.raises(UserError, match="does not take this config"), starting({"optimizer": {"type": "AdamW"}}):
        NotImplementedBuilder().load()


def test_what_deepspeed_refuses_is_one_line_of_its_own_words() -> None:
    with pytest.raises(UserError, match=r"does not take this config on .*: odd batch of 3; change"), starting({}):
        raise AssertionError("odd batch\n  of 3.")
