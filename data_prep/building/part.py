"""Which part of a build is this process's, where many build one folder: I of N, from 0."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from data_prep.errors import UserError

_NO_STEPS = 0xFFFFFFF0  # SLURM's numbers of steps that are not srun's: a batch script's own shell, an interactive one


@dataclass(frozen=True)
class Part:
    """The tasks whose number is `number` modulo `of`. said_by: what said so."""

    number: int = 0
    of: int = 1
    said_by: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is all there is."""
        return self.of == 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Part()


def parse_part(text: str) -> Part:
    """A part of the form I/N. Raises UserError on anything else."""
    found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text)
    if not found or int(found[1]) >= int(found[2]):
        raise UserError(f"part {text!r} is not I/N with I from 0 to N-1; give one such as 0/8")
    return Part(int(found[1]), int(found[2]), "--part")


def part_of(text: str | None, environ: Mapping[str, str] = os.environ) -> Part:
    """The part that is asked for, or that this process has among a launcher's ranks, a SLURM step's tasks, a SLURM array's.

    Steps inside an array multiply. Raises UserError where the variables contradict each other.
    """
    if text is not None:
        return parse_part(text)
    ranks = _ranks(environ)
    array = _array(environ)
    said_by = " and ".join(part.said_by for part in (array, ranks) if not part.whole)
    return Part(array.number * ranks.of + ranks.number, array.of * ranks.of, said_by)


def local_ranks(environ: Mapping[str, str] = os.environ) -> int:
    """How many ranks share this machine's cores, as the launcher says."""
    for name in ("LOCAL_WORLD_SIZE", "LOCAL_SIZE"):
        if environ.get(name, "").isdigit():
            return max(int(environ[name]), 1)
    return 1


def _ranks(environ: Mapping[str, str]) -> Part:
    if environ.get("RANK") and environ.get("WORLD_SIZE"):
        return _part(environ, "RANK", "WORLD_SIZE", "the launcher")
    step = environ.get("SLURM_STEP_ID", "")
    if step.isdigit() and int(step) < _NO_STEPS:
        return _part(environ, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "srun")
    return Part()


def _array(environ: Mapping[str, str]) -> Part:
    if not environ.get("SLURM_ARRAY_TASK_ID"):
        return Part()
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT", "STEP")]
    number, first, last, count, step = (_number(environ, name) for name in names)
    if step < 1 or (last - first) // step + 1 != count or (number - first) % step:
        raise UserError(
            f"the SLURM array {first}-{last}:{step} does not have {count} evenly spaced tasks; "
            "give an array such as 0-7, or --part I/N"
        )
    return Part((number - first) // step, count, "the SLURM array")


def _part(environ: Mapping[str, str], number: str, of: str, said_by: str) -> Part:
    part = Part(_number(environ, number), _number(environ, of), said_by)
    if part.number >= part.of:
        raise UserError(f"{number} is {part.number} and {of} is {part.of}; unset them, or give --part I/N")
    return part


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not text.isascii() or not text.isdigit():
        raise UserError(f"{name} is {text!r}, not a whole number; unset it, or give --part I/N")
    return int(text)
