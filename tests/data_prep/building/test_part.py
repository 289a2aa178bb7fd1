from __future__ import annotations

import pytest

from data_prep.building.part import local_ranks, part_of
from data_prep.errors import UserError

STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}
ARRAY = {
    "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "10", "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_ARRAY_TASK_STEP": "3",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "environ", "number", "of", "said_by"),
    [
        (None, {}, 0, 1, ""),
        ("3/8", {}, 3, 8, "--part"),
        ("0/1", {"RANK": "1", "WORLD_SIZE": "2"}, 0, 1, "--part"),
        (None, {"RANK": "1", "WORLD_SIZE": "2"}, 1, 2, "the launcher"),
        (None, {"RANK": "0", "WORLD_SIZE": "1"}, 0, 1, ""),
        (None, STEP, 2, 4, "srun"),
        (None, {**STEP, "RANK": "1", "WORLD_SIZE": "2"}, 1, 2, "the launcher"),
        (None, ARRAY, 2, 4, "the SLURM array"),
        (None, {**ARRAY, **STEP}, 10, 16, "the SLURM array and srun"),
        (None, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 0, 1, ""),  # a batch script's own shell is no task of a step
        (None, {"SLURM_STEP_ID": "4294967291", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "8"}, 0, 1, ""),
    ],
)
def test_a_part_is_asked_for_or_told_by_what_started_the_process(
    text: str | None, environ: dict[str, str], number: int, of: int, said_by: str
) -> None:
    part = part_of(text, environ)
    assert (part.number, part.of, part.said_by) == (number, of, said_by) and part.whole == (of == 1)


def test_steps_in_an_array_share_all_parts_between_them() -> None:
    parts = set()
    for task in (1, 4, 7, 10):
        for process in range(4):
            environ = {**ARRAY, **STEP, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_PROCID": str(process)}
            part = part_of(None, environ)
            assert part.of == 16
            parts.add(part.number)
    assert parts == set(range(16))


@pytest.mark.parametrize("text", ["", "1", "8/8", "-1/2", "1/0", "a/b", "1/2/3", "٣/8"])
def test_anything_but_a_part_of_a_whole_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not I/N with I from 0 to N-1; give one such as 0/8"):
        part_of(text, {})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x', not a whole number"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE is 2"),
        # as of --array=1,7,10
        ({**ARRAY, "SLURM_ARRAY_TASK_COUNT": "3"}, "does not have 3 evenly spaced tasks"),
        ({**ARRAY, "SLURM_ARRAY_TASK_STEP": "0"}, "evenly spaced"),
        ({**ARRAY, "SLURM_ARRAY_TASK_MIN": ""}, "SLURM_ARRAY_TASK_MIN is ''"),
    ],
)
def test_variables_that_make_no_part_are_refused_by_name(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        part_of(None, environ)


def test_ranks_of_one_machine_share_its_cores() -> None:
    assert [local_ranks(environ) for environ in ({}, {"LOCAL_WORLD_SIZE": "4"}, {"LOCAL_SIZE": "2"})] == [1, 4, 2]
