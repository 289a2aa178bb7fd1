"""Run on ranks by test_faults: a training whose steps take a while, one of whose ranks has a fault of its own.

FAULT is rank:what:step. `exception` and `memory` come in that step, and the file FAULT_AT with them; `save` is a checkpoint
of that step half of which takes FAULT_S seconds, during which the run folder holds a file `saving`; `none` is nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ds_nowcast import train
from ds_nowcast.launch.environment import environment_rank
from ds_nowcast.ranks import end_process
from ds_nowcast.training.checkpoints import tag_of
from ds_nowcast.training.step import TrainingStep

STEP_S = 0.2


def fail() -> None:
    raise RuntimeError("the tubes of the sixth stage are cold")


def ask_for_too_much() -> None:
    torch.empty(10**15)


def in_step(step: int, fault: Callable[[], None]) -> None:
    really = TrainingStep.run

    def run(self: TrainingStep, *args: Any) -> Any:
        time.sleep(STEP_S)
        if self._engine.steps == step and "FAULT_AT" in os.environ:
            Path(os.environ["FAULT_AT"]).touch()
            fault()
        return really(self, *args)

    TrainingStep.run = run  # type: ignore[method-assign]


def slow_save(step: int, seconds: float) -> None:
    really = torch.save

    def save(state: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        really(state, path, *args, **kwargs)
        if Path(path).parent.name == tag_of(step):
            os.truncate(path, Path(path).stat().st_size // 2)
            marker = Path(path).parents[2] / "saving"
            marker.touch()
            time.sleep(seconds)
            really(state, path, *args, **kwargs)
            marker.unlink()

    torch.save = save


if __name__ == "__main__":
    rank, what, step = os.environ.get("FAULT", "-1:none:0").split(":")
    mine = environment_rank() == int(rank)
    fault = {"exception": fail, "memory": ask_for_too_much}.get(what if mine else "none", lambda: None)
    in_step(int(step), fault)
    if mine and what == "save":
        slow_save(int(step), float(os.environ["FAULT_S"]))
    end_process(train.main())
