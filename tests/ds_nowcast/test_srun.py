"""The same command as tasks of a SLURM step: warned of the time limit it saves and ends with 75, again it goes on. No SLURM."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ds_nowcast.errors import STOPPED
from tests.launching import ON_ALL_RANKS, ROOT, VENV, Ended, free_port, until

pytestmark = pytest.mark.launch

LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_")


class Step:
    """Tasks on this host with what srun sets for each, and no launcher."""

    def __init__(self, tasks: int, folder: Path, *command: Any) -> None:
        rest = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
        of_step = {
            "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NODEID": "0", "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": str(tasks), "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_TASKS_PER_NODE": str(tasks),
            "MASTER_PORT": str(free_port()), "PYTHONPATH": str(ROOT), **ON_ALL_RANKS,
        }  # fmt: skip
        self.outputs = [folder / f"task{task}.txt" for task in range(tasks)]
        self.tasks = []
        for task, output in enumerate(self.outputs):
            who = {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)}
            with output.open("w") as file:
                self.tasks.append(
                    subprocess.Popen(
                        [VENV / "bin/python", *map(str, command)], cwd=folder, env=rest | of_step | who, stdout=file, stderr=file
                    )
                )  # fmt: skip

    def __enter__(self) -> Step:
        return self

    def __exit__(self, *exc: object) -> None:
        for task in self.tasks:
            task.kill()
            task.wait()

    def trains_in(self, run: Path) -> bool:
        """Whether a step was made, or none will be."""
        metrics = run / "metrics.jsonl"
        return (metrics.exists() and metrics.stat().st_size > 0) or any(task.poll() is not None for task in self.tasks)

    def wait(self, seconds: float = 120) -> list[Ended]:
        """How each task ended."""
        deadline = time.monotonic() + seconds
        codes = [task.wait(max(0, deadline - time.monotonic())) for task in self.tasks]
        return [Ended(code, output.read_text()) for code, output in zip(codes, self.outputs, strict=True)]


def test_a_warned_step_saves_and_the_same_command_goes_on(config: Path, shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [
        "-m", "ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run,
        "--set", "nowcast.steps=300", "nowcast.evaluation.every=150", "nowcast.checkpoint.every=300",
    ]  # fmt: skip
    with Step(2, tmp_path, *command) as step:
        until(lambda: step.trains_in(run), 120, "the first step")
        step.tasks[1].send_signal(signal.SIGUSR1)
        first, other = step.wait()
    assert (first.code, other.code) == (STOPPED, STOPPED), first.output + other.output
    [told] = first.lines("stopped at step ")
    assert "by SIGUSR1; saved, the same command goes on" in told
    assert other.output == "", "only rank 0 speaks on srun's screen"

    with Step(2, tmp_path, *command) as step:
        first, other = step.wait()
    assert (first.code, other.code) == (0, 0), first.output + other.output
    stopped_at = int(told.split("stopped at step ")[1].split()[0])
    assert 0 < stopped_at < 300
    assert first.lines(f"resuming at step {stopped_at} from step_")
    assert first.lines("2 ranks on cpu")
    assert (run / "last.safetensors").exists()
