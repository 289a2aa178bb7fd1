"""The same command at another number of ranks or another ZeRO stage goes on from where the run stands."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from tests.ds_nowcast.conftest import TINY
from tests.launching import launch

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]  # five launches, before the first test

MIDDLE, STEPS, TOTAL = 6, 12, 12
WEIGHTS_ALIKE = (
    1e-4  # of their norm: the order of summation, which Adam's division amplifies where gradients nearly vanish
)


class Base(NamedTuple):
    """A run that was never interrupted."""

    ranks: int
    stage: int
    precision: str = "fp32"

    @property
    def name(self) -> str:
        return f"{self.precision}-zero{self.stage}-by{self.ranks}"

    @property
    def settings(self) -> list[str]:
        return [f"zero_optimization.stage={self.stage}", *(["bf16.enabled=true"] if self.precision == "bf16" else [])]


class Move(NamedTuple):
    """Where its middle checkpoint goes on."""

    base: Base
    ranks: int
    stage: int
    losses_alike: float = 2e-6

    @property
    def name(self) -> str:
        return f"{self.base.name}-to-zero{self.stage}-by{self.ranks}"


BASES = [Base(2, stage) for stage in range(4)] + [Base(2, 2, "bf16"), Base(2, 0, "bf16"), Base(1, 2), Base(1, 3)]
MOVES = [
    Move(Base(2, 1), 1, 1), Move(Base(2, 2), 1, 2), Move(Base(2, 3), 1, 3), Move(Base(2, 0), 1, 0),
    Move(Base(1, 2), 2, 2), Move(Base(1, 3), 2, 3), Move(Base(2, 2), 3, 2), Move(Base(2, 3), 3, 3),
    Move(Base(2, 2), 2, 3), Move(Base(2, 3), 2, 2), Move(Base(2, 1), 2, 0), Move(Base(2, 0), 2, 2),
    Move(Base(2, 3), 1, 0), Move(Base(2, 0), 3, 3), Move(Base(2, 2), 3, 1),
    Move(Base(2, 2, "bf16"), 1, 2, 1e-3), Move(Base(2, 2, "bf16"), 3, 3, 1e-3),
    Move(Base(2, 0, "bf16"), 1, 1, 1e-3), Move(Base(2, 2, "bf16"), 2, 0, 1e-3),
]  # fmt: skip


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("elastic") / "config.json"
    keys: dict[str, Any] = {**TINY, "train_batch_size": TOTAL, "train_micro_batch_size_per_gpu": 3}
    del keys["gradient_accumulation_steps"]
    keys["nowcast"] = {
        **TINY["nowcast"],
        "steps": STEPS,
        "learning_rate": {"rule": "linear", "base_batch": 16},  # rates must not follow the number of ranks
        "checkpoint": {"every": MIDDLE},
        "evaluation": {"every": STEPS},
    }
    path.write_text(json.dumps(keys))
    return path


def train_all(trainings: dict[Path, list[Any]], ranks: int, file: Path) -> str:
    """Those trainings in one launch; returns the output."""
    file.write_text(json.dumps({str(run): [str(word) for word in words] for run, words in trainings.items()}))
    ended = launch("tests.ds_nowcast.trainings_case", file, ranks=ranks, timeout=240)
    assert ended.code == 0, ended.output[-4000:]
    return ended.output


@pytest.fixture(scope="module")
def bases(config_file: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All uninterrupted runs, in two launches."""
    folder = tmp_path_factory.mktemp("bases")
    for ranks in (2, 1):
        trainings = {
            folder / base.name: ["--deepspeed_config", config_file, "--shards", shards, "--set", *base.settings]
            for base in BASES
            if base.ranks == ranks
        }
        train_all(trainings, ranks, folder / f"{ranks}.json")
    return folder


def back_to_the_middle(base: Path, run: Path) -> None:
    """A copy of a finished run as it stood at its middle checkpoint."""
    shutil.copytree(base, run)
    shutil.rmtree(run / f"checkpoints/step_{STEPS:08d}")
    (run / "checkpoints/latest").write_text(f"step_{MIDDLE:08d}")
    for name in ("last.safetensors", "model.safetensors"):
        (run / name).unlink()


@pytest.fixture(scope="module")
def moved(bases: Path, config_file: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """All moves, in three launches, and what they printed."""
    folder, output = tmp_path_factory.mktemp("moved"), ""
    for ranks in (1, 2, 3):
        trainings = {}
        for move in (move for move in MOVES if move.ranks == ranks):
            back_to_the_middle(bases / move.base.name, folder / move.name)
            settings = [*move.base.settings, f"zero_optimization.stage={move.stage}"]
            trainings[folder / move.name] = [
                "--deepspeed_config", config_file, "--shards", shards, "--set", *settings,
            ]  # fmt: skip
        output += train_all(trainings, ranks, folder / f"{ranks}.json")
    return folder, output


def norm(weights: dict[str, torch.Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in weights.values()))


def logged(run: Path) -> dict[int, dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if "loss" in line}


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.name)
def test_the_run_goes_on_as_if_nothing_had_changed(move: Move, bases: Path, moved: tuple[Path, str]) -> None:
    base, run = bases / move.base.name, moved[0] / move.name
    expected, lines = logged(base), logged(run)
    assert sorted(lines) == list(range(1, STEPS + 1))
    assert [line["samples"] for line in lines.values()] == [step * TOTAL for step in lines], "the same samples"
    assert [lines[step] for step in range(1, MIDDLE + 1)] == [expected[step] for step in range(1, MIDDLE + 1)]
    apart = max(abs(lines[step]["loss"] / expected[step]["loss"] - 1) for step in range(MIDDLE + 1, STEPS + 1))
    assert [line["lr"] for line in lines.values()] == [line["lr"] for line in expected.values()]
    ours, theirs = load_file(run / "last.safetensors"), load_file(base / "last.safetensors")
    weights_apart = norm({name: ours[name] - theirs[name] for name in theirs}) / norm(theirs)
    print(f"{move.name}: apart by {apart:.1e} of a loss, {weights_apart:.1e} of the weights' norm")
    assert apart < move.losses_alike
    if move.base.precision == "fp32":
        assert weights_apart < WEIGHTS_ALIKE
    assert not (run / "checkpoints/.universal").exists()


def test_it_says_what_it_does(moved: tuple[Path, str]) -> None:
    folder, output = moved
    assert (
        "resuming at step 6 from step_00000006, saved by 2 ranks at ZeRO 2; "
        "now 12 samples a step = micro-batch 3 x accumulation 4 x 1 ranks at ZeRO 2" in output
    )
    assert "now 12 samples a step = micro-batch 2 x accumulation 2 x 3 ranks at ZeRO 2" in output
    described = json.loads((folder / "fp32-zero2-by2-to-zero2-by3/run.json").read_text())
    assert described["ranks"] == 3
    assert described["batch"] == {"total": 12, "micro": 2, "accumulation": 2, "ranks": 3}
    assert described["batch_asked"] == {"total": 12, "micro": 3, "accumulation": 2, "ranks": 2}
