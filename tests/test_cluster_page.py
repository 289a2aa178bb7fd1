"""docs/cluster.md, followed to the letter on two hosts: the doctor, a training, an evaluation."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts import Hosts
from tests.launching import ROOT, VENV

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

QUICKLY = "nowcast.steps=2 nowcast.evaluation.every=2 nowcast.evaluation.max_windows=4 train_batch_size=8 train_micro_batch_size_per_gpu=2"


def code_of(page: str, beginning: str) -> str:
    """The one block of the page that begins so, or the one command of a line."""
    parts = page.split("`")
    [found] = {
        part.strip() for part in parts if part.strip().startswith(beginning) and not part.strip().endswith("...")
    }
    return found


def test_two_workstations_are_set_up_as_the_page_says(two_hosts: Hosts, tmp_path: Path) -> None:
    page = (ROOT / "docs/cluster.md").read_text().replace("node01", "n1").replace("node02", "n2")
    archive, shards = tmp_path / "archive", tmp_path / "shards/sevir"
    for words in (
        ["simulate", "--out", archive, "--events", 8, "--size", 32, "--frames", 25],
        ["build", "--format", "sevir", "--source", archive, "--out", shards, "--samples-per-shard", 4],
    ):
        command = [sys.executable, "-m", "data_prep", *map(str, words)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    shutil.copytree(ROOT / "ds_configs", tmp_path / "ds_configs")
    (tmp_path / ".venv").symlink_to(VENV)
    (tmp_path / "hostfile").write_text(code_of(page, "n1 slots") + "\n")

    def typed(*lines: str) -> str:
        nothing = "unset PDSH_SSH_ARGS_APPEND PYTHONPATH"  # which the page has not told to set
        done = two_hosts.command(0, ["bash", "-c", "\n".join([nothing, *lines])], cwd=tmp_path, timeout=300)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    doctor, shell = code_of(page, "source .venv"), code_of(page, "export PDSH")
    told = typed(shell, doctor)
    assert "2 of 2 hosts ok, 0 failed" in told and "keep-alive: set" in told
    assert "DS_ACCELERATOR=cpu\n" in (tmp_path / ".deepspeed_env").read_text()
    launch = code_of(page, "deepspeed --hostfile hostfile --module ds_nowcast.train")
    typed("source .venv/bin/activate", shell, f"{launch} --set {QUICKLY}")
    assert json.loads((tmp_path / "runs/unet/run.json").read_text())["ranks"] == 4
    typed("source .venv/bin/activate", code_of(page, "deepspeed --hostfile hostfile --module ds_nowcast.evaluate"))
    assert json.loads((tmp_path / "runs/unet/scores.json").read_text())["task"]["split"] == "test"
