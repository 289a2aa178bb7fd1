"""Training: what is refused before it starts, and real launches on two ranks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

from ds_nowcast import train
from tests.launching import command_of, launch, output_of, start, wait

# What a user can get wrong: settings, then what the one line of the error must say.
WRONG_SETTINGS = [
    (
        ["gradient_acumulation_steps=2"],
        "unknown key 'gradient_acumulation_steps'; did you mean 'gradient_accumulation_steps'?",
    ),
    (["nowcast.model.widht=4"], "unknown key 'widht'; did you mean 'width'?"),
    (["nowcast.evaluation.evry=4"], "did you mean 'nowcast.evaluation.every'?"),
    (["nowcast.loss.weights.mes=1"], "loss 'mes' is not known; did you mean 'mse'?"),
    (["nowcast.model.name=transformer"], "model 'transformer' is not known; choose one of unet"),
    (
        ["train_batch_size=9", "gradient_accumulation_steps=2"],
        "gradient_accumulation_steps=2 does not divide; give --set gradient_accumulation_steps= one of 1, 3, 9",
    ),
    (["train_micro_batch_size_per_gpu=3"], "is not train_micro_batch_size_per_gpu=3 x gradient_accumulation_steps=1"),
    (["nowcast.data.output_frames=30"], "= 34 frames are more than the 12 of a sequence"),
    (["nowcast.model.levels=6"], "32 x 32 pixels do not fit a model of stride 64"),
    (["nowcast.data.split=training"], "has no split 'training'; it has train, val, test"),
    (["nowcast.evaluation.split=none"], "has no split 'none'; it has train, val, test"),
    (
        ['nowcast.evaluation.thresholds={"unit":"dBZ","values":[10]}'],
        "thresholds.unit is 'dBZ'; shards of encoding vil255 have",
    ),
    (["nowcast.data.augment.crop=40"], "crop=40 is larger than the samples' 32 x 32 pixels"),
    (["nowcast.steps"], "--set 'nowcast.steps' is not key=value"),
    (["nowcast.steps=0"], "nowcast.steps is 0; give at least 1"),
    (
        ["nowcast.data.buffer_mb=1", "train_batch_size=512"],
        "buffer_mb=1 holds less than two steps of 512 samples; give 7 or more",
    ),
    (
        ["nowcast.data.buffer_mb=1", "nowcast.evaluation.micro_batch=512"],
        "buffer_mb=1 holds less than two steps of 512 samples",
    ),
]


@pytest.mark.parametrize(("settings", "message"), WRONG_SETTINGS)
def test_wrong_settings_are_refused_before_anything_starts(
    settings: list[str], message: str, shards: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    code = train.main(
        ["--deepspeed_config", str(config), "--shards", str(shards), "--run", str(run), "--set", *settings]
    )
    error = capfd.readouterr().err
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not run.exists()


def missing_index(shards: Path) -> tuple[str, int]:
    (shards / "index.json").unlink()
    return "has no index.json; build it with `python -m data_prep build`", 2


def damaged_index(shards: Path) -> tuple[str, int]:
    index = shards / "index.json"
    index.write_text(index.read_text()[:200])
    return "index.json is damaged", 2


def half_a_shard(shards: Path) -> tuple[str, int]:
    tar = shards / "train/train-000002.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    return f"shard {tar} has {tar.stat().st_size} bytes, index.json says", 3


def no_shard(shards: Path) -> tuple[str, int]:
    (shards / "val/val-000000.tar").unlink()
    return "is missing, index.json says", 3


@pytest.mark.parametrize("damage", [missing_index, damaged_index, half_a_shard, no_shard])
def test_damaged_shards_are_refused_before_anything_starts(  # type: ignore[no-untyped-def]
    damage, shards: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, run = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(shards, copy)
    message, expected = damage(copy)
    code = train.main(["--deepspeed_config", str(config), "--shards", str(copy), "--run", str(run)])
    error = capfd.readouterr().err
    assert (code, message in error) == (expected, True), error
    assert len(error.strip().splitlines()) == 1
    assert not run.exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"notes.txt": "mine"}, "exists and is not a run folder"),
        ({"run.json": "{"}, "run.json cannot be read"),
        (
            {"run.json": json.dumps({"model": {"name": "unet", "width": 16}})},
            "is the run of another model or data (model: {'name': 'unet', 'width': 16} ->",
        ),
    ],
)
def test_another_run_folder_is_refused_and_left_alone(
    files: dict[str, str], message: str, shards: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    code = train.main(["--deepspeed_config", str(config), "--shards", str(shards), "--run", str(tmp_path)])
    assert code == 2
    assert message in capfd.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def a_missing_file(path: Path) -> str:
    return f"weights {path} cannot be read (No such file or directory); give a .safetensors file that a training wrote"


def a_folder(path: Path) -> str:
    path.mkdir()
    return f"weights {path} cannot be read (Is a directory)"


def half_a_file(path: Path) -> str:
    save_file({"bias": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    return f"{path} is not a whole safetensors file"


def weights_of_another_model(path: Path) -> str:
    save_file({"bias": torch.zeros(3)}, path)
    return f"{path} holds another model's weights: "


@pytest.mark.parametrize("made", [a_missing_file, a_folder, half_a_file, weights_of_another_model])
def test_weights_that_cannot_start_a_run_are_refused_before_anything_starts(
    made: Callable[[Path], str], shards: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, run = tmp_path / "start.safetensors", tmp_path / "run"
    message = made(path)
    code = train.main(
        ["--deepspeed_config", str(config), "--shards", str(shards), "--run", str(run), "--init-from", str(path)]
    )
    error = capfd.readouterr().err
    assert (code, message in error) == (2, True), error
    assert len(error.strip().splitlines()) == 1
    assert not run.exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--run", "exists and is not a run folder"),
        ("--shards", "is not a folder"),
        ("--deepspeed_config", "is not JSON"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    option: str, message: str, shards: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    given = {"--deepspeed_config": config, "--shards": shards, "--run": tmp_path / "run", option: file}
    assert train.main([str(word) for pair in given.items() for word in pair]) == 2
    error = capfd.readouterr().err
    assert str(file) in error
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert file.read_text() == "mine"


def losses_of(run: Path) -> dict[int, float]:
    """Loss by step of a run."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def rank_process(launcher: int, rank: int) -> psutil.Process:
    """The process of a rank below the launcher."""
    for process in psutil.Process(launcher).children(recursive=True):
        if f"--local_rank={rank}" in command_of(process):
            return process
    raise AssertionError(f"rank {rank} is not running")


def wait_for_step(run: Path, step: int, process) -> None:  # type: ignore[no-untyped-def]
    """Until the run has logged a step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "metrics.jsonl").is_file() and max(losses_of(run), default=0) >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached:\n{output_of(process)[-3000:]}")


@pytest.fixture(scope="module")
def finished(shards: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training on two ranks."""
    run = tmp_path_factory.mktemp("finished") / "run"
    ended = launch("ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run)
    assert ended.code == 0, ended.output[-3000:]
    return run


@pytest.mark.launch
def test_a_run_leaves_what_the_design_names(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        ".lock",
        "config.json",
        "run.json",
        "metrics.jsonl",
        "checkpoints",
        "model.safetensors",
        "model.json",
        "last.safetensors",
        "last.json",
    }
    assert sorted(losses_of(finished)) == list(range(1, 13))
    tags = sorted(path.name for path in (finished / "checkpoints").iterdir() if path.is_dir())
    assert tags == ["step_00000005", "step_00000010", "step_00000012"]
    assert (finished / "checkpoints/latest").read_text() == "step_00000012"
    manifest = json.loads((finished / "checkpoints/step_00000012/manifest.json").read_text())
    assert len(manifest["files"]) == 3  # the weights and each rank's optimizer state
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "evaluation" in line] == [6, 12]


@pytest.mark.launch
def test_a_signal_to_one_rank_saves_on_all_and_the_same_command_goes_on_bit_for_bit(
    finished: Path, shards: Path, config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run)
    for signal_number, step in ((signal.SIGTERM, 2), (signal.SIGUSR1, 7)):
        process = start(*command)
        wait_for_step(run, step, process)
        os.kill(rank_process(process.pid, 1).pid, signal_number)
        ended = wait(process)
        assert ended.code == 75, ended.output[-3000:]
        assert ended.lines("saved, the same command goes on")
        assert max(losses_of(run)) < 12, "the signal came too late to test anything"
    ended = launch(*command)
    assert ended.code == 0, ended.output[-3000:]
    assert ended.lines("resuming at step")
    assert losses_of(run) == losses_of(finished)
    assert (run / "last.safetensors").read_bytes() == (finished / "last.safetensors").read_bytes()
    assert json.loads((run / "model.json").read_text()) == json.loads((finished / "model.json").read_text())


@pytest.mark.launch
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    finished: Path, shards: Path, config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    victim = next((run / "checkpoints/step_00000012").glob("zero_pp_rank_1*"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    ended = launch("ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run)
    assert ended.code == 0, ended.output[-3000:]
    [warning] = ended.lines("is damaged")
    assert f"{victim.name} has changed since it was written" in warning
    assert ended.lines("resuming at step 10 from step_00000010")
    assert (run / "last.safetensors").read_bytes() == (finished / "last.safetensors").read_bytes()


@pytest.mark.launch
def test_what_all_ranks_find_wrong_is_said_once(shards: Path, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = launch(
        "ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run, "--set", "nowcast.stps=3"
    )
    assert ended.code == 2
    assert len(ended.lines("unknown key 'nowcast.stps'")) == 1, ended.output
    assert not ended.lines("Traceback")
    assert not run.exists()


@pytest.mark.launch
def test_a_loss_that_is_not_finite_ends_all_ranks_and_names_the_samples(
    shards: Path, config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = [
        "optimizer.params.lr=1e30",
        "nowcast.steps=40",
        "gradient_clipping=0.0",
        "nowcast.evaluation.every=40",
        "nowcast.checkpoint.every=1",
    ]
    ended = launch(
        "ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run, "--set", *settings
    )
    assert ended.code == 4, ended.output[-3000:]
    [error] = ended.lines("FAILED rank ")
    assert "the loss is not finite in step" in error
    assert "train/train-" in error
    assert not ended.lines("Traceback")
    assert json.loads((run / "failure.json").read_text())["exit_code"] == 4


@pytest.mark.launch
def test_a_shard_damaged_while_training_ends_all_ranks(shards: Path, config: Path, tmp_path: Path) -> None:
    copy, run = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(shards, copy)
    for tar in (copy / "train").glob("*.tar"):  # same size, so that only decoding finds it
        content = bytearray(tar.read_bytes())
        content[1000:-2000:50] = bytes(b ^ 0xFF for b in content[1000:-2000:50])
        tar.write_bytes(content)
    ended = launch(
        "ds_nowcast.train",
        "--deepspeed_config",
        config,
        "--shards",
        copy,
        "--run",
        run,
        "--set",
        "nowcast.data.max_bad_samples=2",
    )
    assert ended.code == 3, ended.output[-3000:]
    assert "are more than nowcast.data.max_bad_samples=2" in ended.lines("FAILED rank ")[-1]
    assert ended.lines("warning: unreadable sample counts as all missing: train/train-")
    assert not ended.lines("Traceback")
