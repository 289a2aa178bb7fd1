"""What the same command does to a run that has begun, and which changes of it are refused. One process, no launcher."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ds_nowcast.config import load_config
from ds_nowcast.models import build_model
from ds_nowcast.order import Asked
from tests.launching import ROOT, Ended, launch
from tests.shard_maker import make_shards, moving_blobs

pytestmark = pytest.mark.launch


def trained(config: Path, shards: Path, run: Path, *options: Any, env: dict[str, str] | None = None) -> Ended:
    """`python -m ds_nowcast.train`, to its end."""
    command = ["-m", "ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run, *options]
    alone = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    ended = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env={**alone, "DS_ACCELERATOR": "cpu", **(env or {})},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100,
    )  # fmt: skip
    return Ended(ended.returncode, ended.stdout)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def first_loss(run: Path) -> float:
    return float(json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["loss"])


@pytest.fixture(scope="module")
def finished(config: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of 12 steps."""
    run = tmp_path_factory.mktemp("finished") / "run"
    ended = trained(config, shards, run)
    assert ended.code == 0, ended.output
    return run


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", "train_batch_size=8"], "was trained with 4 samples a step and this launch has 8; keep the batch size"),
        (
            ["--set", "nowcast.seed=5", "nowcast.data.shuffle_shards=2", "nowcast.data.windows=one", "nowcast.data.window_stride=3"],
            "in another order (seed: 0 -> 5; shuffle_shards: None -> 2; windows: 'all' -> 'one'; window_stride: 4 -> 3); give",
        ),
        (["--set", "scheduler.type=WarmupDecayLR"], "other settings (scheduler WarmupCosineLR -> WarmupDecayLR)"),
        (
            ["--set", "zero_optimization.stage=1", "optimizer.params.amsgrad=true"],
            "saved by 1 ranks at ZeRO 2 and cannot be resumed by 1 ranks at ZeRO 1: that is not possible with amsgrad",
        ),
        (["--set", "bf16.enabled=true", "zero_optimization.stage=0", "data_types.grad_accum_dtype=fp32"], "with a model in 'bf16' needs"),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_is_one_sentence_and_leaves_the_run_as_it_was(
    options: list[str], told: str, finished: Path, config: Path, shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    ended = trained(config, shards, run, *options)
    assert ended.code == 2, ended.output
    [error] = ended.lines("error: ")
    assert told in error
    assert not ended.lines("Traceback")
    now = content(run)
    recorded = now.pop("failure.json", None)  # not where the config alone tells: then nothing has begun
    assert (recorded is None) == ("samples a step" in told or "another order" in told or "with a model in" in told)
    assert recorded is None or told in json.loads(recorded)["reason"]
    assert now == content(finished)


def test_steps_below_those_made_just_finish(finished: Path, config: Path, shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "failure.json").write_text("{}")
    ended = trained(config, shards, run, "--set", "nowcast.steps=7", "--quiet")
    assert ended.code == 0, ended.output
    assert (run / "last.safetensors").read_bytes() == (finished / "last.safetensors").read_bytes()
    assert (run / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    assert not (run / "failure.json").exists(), "an earlier launch's failure is over"
    assert not ended.lines("step"), "--quiet shows no progress"


def test_starting_weights_are_read_again_where_no_checkpoint_was_saved_yet(
    finished: Path, config: Path, shards: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "start.safetensors"
    shutil.copy(finished / "last.safetensors", weights)
    once, killed = tmp_path / "once", tmp_path / "killed"
    arguments = ("--init-from", weights, "--set", "nowcast.steps=2")
    assert trained(config, shards, once, *arguments).code == 0
    assert first_loss(once) != first_loss(finished)
    killed.mkdir()
    for name in ("run.json", "config.json", "metrics.jsonl"):
        shutil.copy(once / name, killed)
    assert trained(config, shards, killed, *arguments).code == 0
    assert (killed / "last.safetensors").read_bytes() == (once / "last.safetensors").read_bytes()

    weights.unlink()  # from now on the checkpoint counts
    ended = trained(config, shards, once, *arguments)
    assert ended.code == 0, ended.output
    assert ended.lines("resuming at step 2")


def test_steps_without_a_valid_pixel_make_no_update(config: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    unseen = [np.full((12, 32, 32), 255, np.uint8) for _ in range(6)]
    shards = make_shards(tmp_path / "shards", {"train": unseen, "val": [moving_blobs(rng, frames=12)]})
    run = tmp_path / "run"
    ended = trained(config, shards, run, "--set", "nowcast.steps=3")
    assert ended.code == 0, ended.output
    keys = load_config(config).nowcast
    initial = build_model(
        keys.model.name, keys.model.options, keys.data.input_frames, keys.data.output_frames, seed=keys.seed
    )
    last = load_file(run / "last.safetensors")
    assert all(torch.equal(last[name], tensor) for name, tensor in initial.state_dict().items())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["samples"], line["loss"]) for line in lines if "samples" in line] == [
        (1, 4, None), (2, 8, None), (3, 12, None),
    ]  # fmt: skip


def test_a_config_that_deepspeed_does_not_take_is_one_sentence(config: Path, shards: Path, tmp_path: Path) -> None:
    ended = trained(
        config, shards, tmp_path / "run",
        "--set", "zero_optimization.stage=3", "zero_optimization.zero_quantized_weights=true",
    )  # fmt: skip
    assert ended.code == 2, ended.output
    [error] = ended.lines("error: DeepSpeed does not take this config")
    assert "not been implemented on CPU backend" in error
    assert not (tmp_path / "run").exists()


def test_a_learning_rate_changed_between_launches_holds(config: Path, shards: Path, tmp_path: Path) -> None:
    plain = json.loads(config.read_text()) | {"scheduler": None}
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    run = tmp_path / "run"
    assert trained(tmp_path / "plain.json", shards, run, "--set", "nowcast.steps=2").code == 0
    changed = ("optimizer.params.lr=0.0025", "optimizer.params.weight_decay=0.5", "nowcast.steps=4")
    assert trained(tmp_path / "plain.json", shards, run, "--set", *changed).code == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines if "lr" in line] == [0.001, 0.001, 0.0025, 0.0025]


def test_other_shards_are_another_order_and_are_seen_with_new_order_from_there_on(
    finished: Path, config: Path, shards: Path, tmp_path: Path
) -> None:
    other, run = tmp_path / "shards", tmp_path / "run"
    shutil.copytree(shards, other)
    shutil.copytree(finished, run)
    index = other / "index.json"
    index.write_text(index.read_text().replace('"left_out": {}', '"left_out": {"too dry": 1}'))
    ended = trained(config, other, run, "--set", "nowcast.steps=14")
    assert ended.code == 2 and "index_hash: " in ended.output and "--new-order" in ended.output
    settings = ("nowcast.steps=14", "nowcast.seed=5", "nowcast.log_samples=true")
    ended = trained(config, other, run, "--new-order", "--set", *settings)
    assert ended.code == 0, ended.output
    seen = [json.loads(line) for line in (run / "samples/rank00000.jsonl").read_text().splitlines()]
    said = Asked(str(config), str(other), 1, ["nowcast.seed=5"]).samples((13, 15))
    assert seen == list(said)


def test_another_loss_is_told_when_a_run_goes_on(finished: Path, config: Path, shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    ended = trained(config, shards, run, "--set", 'nowcast.loss.weights={"mae":1.0}')
    assert ended.code == 0, ended.output
    [line] = ended.lines("changed since the last launch: nowcast.loss: ")
    assert line.endswith("-> {'weights': {'mae': 1.0}, 'options': {}}")


def test_ranks_that_do_not_divide_the_samples_of_a_step_are_refused_before_anything_starts(
    finished: Path, config: Path, shards: Path
) -> None:
    before = content(finished)
    ended = launch("ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", finished, ranks=3)
    assert ended.code == 2, ended.output
    [error] = ended.lines("error: ")
    assert (
        "4 samples a step, which do not divide over 3 ranks; give a number of ranks that divides it: 1, 2, 4" in error
    )
    assert content(finished) == before
