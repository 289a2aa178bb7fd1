"""Run on ranks by test_killed: a training one of whose ranks is killed at the moment that KILLED_AT names.

A moment is rank:what:step. Checkpoints are saved every 5 steps.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ds_nowcast import train
from ds_nowcast.engine import WORKPLACE
from ds_nowcast.launch.environment import environment_rank
from ds_nowcast.ranks import end_process
from ds_nowcast.training import checkpoints
from ds_nowcast.training.step import TrainingStep

MOMENTS = {
    "rank 0 in a step": "0:step:7",
    "rank 1 in a step": "1:step:7",
    "rank 0 half-way through the model file": "0:model_states:10",
    "rank 1 half-way through its optimizer file": "1:zero_pp_rank_1:10",
    "all files there and no manifest": "0:manifest.json:10",
    "a manifest and latest not moved": "0:latest:10",
    "half-way through the pruning of an older checkpoint": "0:prune:5",
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, dies: Callable[..., bool]) -> None:
    """Puts a test in front of a function: this process dies where it holds of the arguments."""
    really = getattr(owner, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        if dies(*args, **kwargs):
            die()
        return really(*args, **kwargs)

    setattr(owner, name, function)


def half_written(what: str, step: int) -> Callable[..., bool]:
    """Of torch.save: whether it is that file of that step; half of one is then there."""

    def dies(state: Any, path: Any, *args: Any, **kwargs: Any) -> bool:
        wanted = what in Path(path).name and Path(path).parent.name == checkpoints.tag_of(step)
        if wanted:
            torch_save(state, path)
            os.truncate(path, Path(path).stat().st_size // 2)
        return wanted

    return dies


def half_pruned(step: int) -> Callable[[Path], bool]:
    """Of what removes a checkpoint: whether it is that step's, finished one; half of it is then gone."""

    def dies(target: Path) -> bool:
        wanted = target.name == checkpoints.tag_of(step) and (target / checkpoints.MANIFEST).is_file()
        if wanted:
            (target / checkpoints.MANIFEST).unlink()
            next(target.glob("*.pt")).unlink()
        return wanted

    return dies


torch_save = torch.save


def arm(what: str, step: int) -> None:
    if what == "step":
        before(TrainingStep, "run", lambda self, *args: self._engine.steps == step)
    elif what in ("manifest.json", "latest"):
        before(
            checkpoints, "write_atomically",
            lambda path, content: path.name == what and checkpoints.tag_of(step) in f"{path} {content!r}",
        )  # fmt: skip
    elif what == "universal":
        before(
            torch, "save", lambda state, path, *args, **kwargs: f"{WORKPLACE}/{checkpoints.tag_of(step)}" in str(path)
        )
    elif what == "prune":
        before(checkpoints, "_remove", half_pruned(step))
    else:
        before(torch, "save", half_written(what, step))


if __name__ == "__main__":
    rank, what, step = os.environ["KILLED_AT"].split(":")
    if environment_rank() == int(rank):
        arm(what, int(step))
    end_process(train.main())
