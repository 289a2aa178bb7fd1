"""What need not be tried because something that takes no more memory ran out of it."""

from __future__ import annotations

import json

import pytest

from ds_nowcast.tuning.prior import out_of_memory_too

MICRO, STAGE = "train_micro_batch_size_per_gpu", "zero_optimization.stage"
CHECKPOINTING, OFFLOAD = "nowcast.compute.activation_checkpointing", "zero_optimization.offload_optimizer"
FAILED = {
    MICRO: "8", STAGE: "2", CHECKPOINTING: "true", OFFLOAD: '{"device": "cpu"}', "nowcast.compute.compile": "false",
    "nowcast.data.threads": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "spared"),
    [
        ({}, True),
        ({MICRO: "16"}, True),
        ({MICRO: "4"}, False),
        ({MICRO: "16", CHECKPOINTING: "false"}, True),
        ({MICRO: "16", OFFLOAD: "null"}, True),
        ({STAGE: "1"}, True),
        ({STAGE: "3"}, False),
        ({MICRO: "16", "nowcast.data.threads": "4"}, True),
        ({"nowcast.compute.compile": "true"}, False),  # it may save memory, or take more
        ({OFFLOAD: '{"device": "nvme"}'}, False),
    ],
)
def test_only_what_surely_takes_as_much_is_spared(changed: dict[str, str], spared: bool) -> None:
    found = out_of_memory_too({**FAILED, **changed}, [FAILED], lambda combination: int(json.loads(combination[MICRO])))
    assert (found is not None) == spared


def test_a_lower_stage_may_save_memory_where_stage_3_ran_out_of_it() -> None:
    failed = {**FAILED, STAGE: "3"}
    combination = {**FAILED, STAGE: "2"}
    assert out_of_memory_too(combination, [failed], lambda c: int(c[MICRO])) is None


def test_saving_settings_of_what_failed_do_not_spare_what_failed_without_them() -> None:
    without = {**FAILED, CHECKPOINTING: "false"}
    assert out_of_memory_too(FAILED, [without], lambda c: int(c[MICRO])) is None
