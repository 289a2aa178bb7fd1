"""The plan command: what it prints, what it gives to machines, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ds_nowcast import plan
from tests.launching import ROOT

pytestmark = pytest.mark.slow


def asked(config: Path, *options: str) -> list[str]:
    return ["--deepspeed_config", str(config), *options]


def planned(capsys: pytest.CaptureFixture[str], config: Path, *options: str) -> dict[str, Any]:
    """The object that --json prints."""
    assert plan.main(asked(config, "--json", *options)) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_machines_get_bytes_steps_and_what_to_set(
    capsys: pytest.CaptureFixture[str], config: Path, shards: Path
) -> None:
    found = planned(capsys, config, "--gpus", "2", "--gpu-memory", "8", "--shards", str(shards))
    assert list(found) == ["model", "precision", "batch", "learning_rate", "epoch", "memory", "disk", "recommendation"]
    assert found["model"]["name"] == "unet" and found["model"]["image"] == [32, 32]
    assert found["batch"] == {"total": 4, "micro": 2, "accumulation": 1, "ranks": 2}
    assert found["epoch"] == {
        "windows": 48,
        "steps": 12.0,
        "epochs": 1.0,
    }  # 24 sequences of 12 frames: windows at 0 and 4
    memory = found["memory"]
    assert memory["usable"] == 8e9 * 0.92 - 1e9 and memory["device"] == "cuda"
    parts = ("weights", "gradients", "optimizer", "buffers", "activations")
    for option in [memory["config"], *(option["peak"] for option in memory["options"] if option["peak"])]:
        assert option["per_gpu"] == sum(option[part] for part in parts) > 0
    assert [option["stage"] for option in memory["options"]] == [0, 0, 1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3, 3, 3]
    count = found["model"]["parameters"]
    assert found["disk"]["exported"] == 4 * count and found["disk"]["checkpoint"] == 16 * count
    assert found["recommendation"]["set"] == [] and found["recommendation"]["stage"] == 2  # as configured


def test_people_get_a_table_and_what_to_take(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    assert plan.main(asked(config, "--gpu-memory", "8", "--size", "64")) == 0
    printed = capsys.readouterr().out
    for text in ("parameters, fp32", "at 64 x 64 pixels (--size)", "give --shards to know its steps", "ZeRO"):
        assert text in printed
    assert "take: the config as it is" in printed and "all 4 of a step" in printed


def test_what_is_recommended_is_a_config_that_loads_and_fits(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    small = ("--gpu-memory", "1.8", "--size", "384", "--set", "nowcast.model.width=16", "train_batch_size=16")
    small = (*small, "zero_optimization.reduce_bucket_size=1000000")
    first = planned(capsys, config, *small)
    words = first["recommendation"]["set"]
    assert any(word.startswith("train_micro_batch_size_per_gpu=") for word in words)
    assert "fits nowhere" in first["recommendation"]["reason"]
    then = planned(capsys, config, *small, *words)
    assert then["memory"]["config"]["per_gpu"] <= then["memory"]["usable"]
    assert then["batch"]["total"] == 16


def test_less_memory_and_larger_images_fit_smaller_micro_batches(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    def micro(*options: str) -> list[int]:
        found = planned(capsys, config, "--set", "train_batch_size=64", *options)
        return [option["micro_batch"] or 0 for option in found["memory"]["options"]]

    wide, narrow, large = (
        micro("--gpu-memory", "6", "--size", "256"),
        micro("--gpu-memory", "2", "--size", "256"),
        micro("--gpu-memory", "6", "--size", "512"),
    )
    assert narrow < wide and large < wide
    assert all(a <= b for a, b in zip(narrow, wide, strict=True)) and all(
        a <= b for a, b in zip(large, wide, strict=True)
    )


def test_choices_that_the_config_refuses_are_said_and_not_recommended(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    settings = ("--set", "gradient_clipping=0", "zero_optimization.compute_grad_norm=false")
    assert plan.main(asked(config, "--gpu-memory", "80", *settings)) == 0
    printed = capsys.readouterr().out
    assert "refused: " in printed and "compute_grad_norm false needs stage 1 or 2, stage is 0" in printed
    found = planned(capsys, config, "--gpu-memory", "80", *settings)
    assert {o["stage"] for o in found["memory"]["options"] if o["refused"] is None} == {1, 2}
    assert found["recommendation"]["stage"] == 2


def test_without_a_gpu_it_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert plan.main(asked(config)) == 0
    assert "there is no GPU here: give --gpu-memory GB to know what fits" in capsys.readouterr().out
    assert planned(capsys, config)["recommendation"] is None


def test_nothing_fits_is_an_answer(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    assert plan.main(asked(config, "--gpu-memory", "0.5")) == 0
    assert "nothing fits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "30"], "images of 30 x 30 pixels do not fit a model of stride 4"),
        (["--gpus", "3"], "train_batch_size=4 does not divide over 3 ranks"),
        (["--size", "64", "--shards", "SHARDS"], "--size and --shards both say how large images are; give one of them"),
        (
            ["--device", "cpu", "--gpu-memory", "8"],
            "--gpu-memory is of GPUs and --device is cpu; leave one of them out",
        ),
        (["--set", "nowcast.data.augment.crop=512"], "crop=512 is larger than the samples' 384 x 384 pixels"),
        (["--shards", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], config: Path, shards: Path
) -> None:
    options = [str(shards) if option == "SHARDS" else option for option in options]
    assert plan.main(asked(config, *options)) == 2
    printed = capsys.readouterr()
    assert message in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""


def test_it_needs_no_deepspeed_and_forms_no_group(config: Path) -> None:
    code = (
        "import sys; sys.modules['deepspeed'] = None\n"
        "import torch.distributed as dist\n"
        "from ds_nowcast import plan\n"
        f"assert plan.main(['--deepspeed_config', {str(config)!r}, '--gpus', '4', '--gpu-memory', '8', '--json']) == 0\n"
        "assert not dist.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
