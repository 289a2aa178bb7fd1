"""Real searches: launches that run out of memory, a signal in the midst, trials that go on where they were."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ds_nowcast.config import load_config
from tests.ds_nowcast.conftest import TINY
from tests.launching import ON_ALL_RANKS, ROOT, until
from tests.shard_maker import make_shards, moving_blobs

pytestmark = pytest.mark.hosts


def _command(folder: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "ds_nowcast.tune", "--deepspeed_config", str(folder / "config.json"),
        "--shards", str(folder / "shards"), "--out", str(folder / "tuned.json"), "--ranks", "1", "--turns", "1", *more,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    return {**os.environ, **ON_ALL_RANKS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _made(folder: Path, size: int, **changed: Any) -> None:
    rng = np.random.default_rng(9)
    splits = {
        name: [moving_blobs(rng, frames=12, size=size) for _ in range(count)]
        for name, count in (("train", 8), ("val", 2))
    }
    make_shards(folder / "shards", splits)
    keys = {**TINY["nowcast"], "data": {**TINY["nowcast"]["data"], "buffer_mb": 64, "threads": 1}, "log_every": 10}
    content = {**TINY, "train_batch_size": 16, "gradient_accumulation_steps": 4, "nowcast": keys, **changed}
    (folder / "config.json").write_text(json.dumps(content))


def _private_memory(folder: Path) -> int:
    """Bytes of private memory that a rank takes at most at one sample at a time."""
    measure = [
        sys.executable, "-m", "ds_nowcast.measure", "--deepspeed_config", folder / "config.json", "--shards",
        folder / "shards", "--out", folder / "alone.json", "--steps", "3", "--warmup", "1",
        "--set", "gradient_accumulation_steps=16",
    ]  # fmt: skip
    process = subprocess.Popen(measure, env=_environment(), cwd=ROOT, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max([most, *(int(found) * 1024 for found in re.findall(r"VmData:\s+(\d+)", status))])
    assert process.returncode == 0
    return most


def _outcomes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "tuned.trials").glob("0*/outcome.json"))]


@pytest.mark.timeout(900)
def test_a_real_search_survives_running_out_of_memory_and_a_signal_and_finds_what_fits(tmp_path: Path) -> None:
    _made(tmp_path, 128)
    space = {
        "train_micro_batch_size_per_gpu": [1, 4, 16],
        "zero_optimization.stage": [0, 2],
        "nowcast.compute.activation_checkpointing": [False, True],
    }
    (tmp_path / "space.json").write_text(json.dumps(space))
    limit = _private_memory(tmp_path) + 140_000_000  # four samples take some 70 MB more than one, sixteen some 280

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            _command(tmp_path, "--trials", "8", "--steps", "3", "--space", str(tmp_path / "space.json")),
            env=_environment(), cwd=ROOT, text=True, stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        )  # fmt: skip

    process = start()
    until(lambda: len(_outcomes(tmp_path)) >= 2, 240, "the second trial")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    assert process.returncode == 143
    before = _outcomes(tmp_path)

    process = start()
    _, told = process.communicate(timeout=800)
    assert process.returncode == 0, told
    outcomes = _outcomes(tmp_path)
    assert outcomes[: len(before)] == before and len(outcomes) >= 8
    over = [o for o in outcomes if o["result"]["ended"] == "out_of_memory"]
    assert over and all(o["combination"]["train_micro_batch_size_per_gpu"] == "16" for o in over), told
    tuned = load_config(tmp_path / "tuned.json").batch(1)
    assert tuned.total == 16 and tuned.micro in (1, 4, 16)
    assert "out of memory" in (tmp_path / "tuned.md").read_text() and (tmp_path / "tuned.png").is_file()


@pytest.mark.timeout(900)
def test_a_real_search_for_a_score_promotes_by_going_on_in_the_run_folder(tmp_path: Path) -> None:
    _made(tmp_path, 32, train_batch_size=4, gradient_accumulation_steps=1)
    (tmp_path / "space.json").write_text('{"optimizer.params.lr": [0.000001, 0.003]}')
    command = _command(
        tmp_path, "--objective", "val_csi", "--trials", "2", "--steps", "9", "--space", str(tmp_path / "space.json")
    )
    ended = subprocess.run(command, env=_environment(), cwd=ROOT, text=True, stderr=subprocess.PIPE, timeout=800)
    assert ended.returncode == 0, ended.stderr
    first, second = _outcomes(tmp_path)
    assert list(first["result"]["rungs"]) == ["1", "3", "9"]
    assert second["result"]["ended"] in ("slow", "measured")
    metrics = (tmp_path / "tuned.trials/0001/run/metrics.jsonl").read_text().splitlines()
    evaluated = [json.loads(line)["step"] for line in metrics if "evaluation" in line]
    assert evaluated == [1, 3, 9]
    assert load_config(tmp_path / "tuned.json").nowcast.steps == TINY["nowcast"]["steps"]
