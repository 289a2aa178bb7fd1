"""What the ranks of real launches saw, over damaged shards: the same at any number of ranks, micro-batch and accumulation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ds_nowcast import order
from tests.launching import Ended, launch

pytestmark = pytest.mark.hosts
STEPS, BATCH = 10, 6
WAYS = {1: (2, 3), 2: (3, 1), 3: (1, 2)}  # ranks: (micro-batch, accumulation)


def flip(tar: Path) -> None:
    """Damages the first sample's frames."""
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)


def break_json(tar: Path) -> None:
    tar.write_bytes(tar.read_bytes().replace(b'{"key"', b'<"key"', 1))


def cut(tar: Path) -> None:
    tar.write_bytes(tar.read_bytes()[:-600])


DAMAGE: dict[str, Callable[[Path], None]] = {
    "train/train-000000.tar": flip, "train/train-000002.tar": break_json, "train/train-000003.tar": cut,
    "train/train-000005.tar": Path.unlink, "val/val-000001.tar": flip,
}  # fmt: skip
BAD = ["train/train-000000.tar train0000", "train/train-000002.tar train0008", "val/val-000001.tar val0004"] + [
    f"train/train-{number:06d}.tar train{4 * number + i:04d}" for number in (3, 5) for i in range(4)
]


@pytest.fixture(scope="module")
def launches(
    shards: Path, config: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[int, tuple[Path, Ended]]]:
    """Trainings over damaged shards, by their number of ranks."""
    folder = tmp_path_factory.mktemp("damaged")
    damaged = shutil.copytree(shards, folder / "shards")
    for name, damage in DAMAGE.items():
        damage(damaged / name)
    found = {}
    for ranks, (micro, accumulation) in WAYS.items():
        settings = [
            f"train_batch_size={BATCH}", f"train_micro_batch_size_per_gpu={micro}",
            f"gradient_accumulation_steps={accumulation}", f"nowcast.steps={STEPS}", "nowcast.data.max_bad_samples=11",
            "nowcast.log_samples=true", "nowcast.evaluation.every=5", "nowcast.data.shuffle_shards=4",
        ]  # fmt: skip
        run = folder / f"run{ranks}"
        ended = launch(
            "ds_nowcast.train", "--deepspeed_config", config, "--shards", damaged, "--run", run, "--set", *settings,
            ranks=ranks,
        )  # fmt: skip
        assert ended.code == 0, ended.output[-3000:]
        found[ranks] = run, ended
    return damaged, found


def seen(run: Path) -> list[dict[str, Any]]:
    """The samples' log of all ranks, in the order of positions."""
    lines = [json.loads(line) for path in (run / "samples").iterdir() for line in path.read_text().splitlines()]
    return sorted(lines, key=lambda line: line["position"])


def lines_of(run: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if name in line]


def test_each_rank_saw_what_the_order_command_says(launches, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    damaged, runs = launches
    for ranks, (run, _) in runs.items():
        capsys.readouterr()
        asked = ["--deepspeed_config", str(run / "config.json"), "--shards", str(damaged), "--steps", f"1:{STEPS + 1}"]
        assert order.main([*asked, "--world-size", str(ranks), "--json"]) == 0
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert seen(run) == said
        assert {line["rank"] for line in said} == set(range(ranks))


def test_every_step_saw_the_same_samples_at_any_number_of_ranks(launches) -> None:  # type: ignore[no-untyped-def]
    one, two, three = ([{**line, "rank": 0} for line in seen(run)] for run, _ in launches[1].values())
    assert one == two == three
    assert [line["step"] for line in one] == [step for step in range(1, STEPS + 1) for _ in range(BATCH)]


def test_the_losses_agree_up_to_the_order_of_summation(launches) -> None:  # type: ignore[no-untyped-def]
    one, two, three = ([line["loss"] for line in lines_of(run, "loss")] for run, _ in launches[1].values())
    for other in (two, three):
        assert other[:3] == pytest.approx(one[:3], rel=1e-6)
        assert other == pytest.approx(one, rel=2e-4)  # Adam divides by the gradients' size: what differs grows
    valid = [[line["valid"] for line in lines_of(run, "loss")] for run, _ in launches[1].values()]
    assert valid[0] == valid[1] == valid[2]


def test_scores_of_persistence_while_training_are_the_same_at_any_number_of_ranks(launches) -> None:  # type: ignore[no-untyped-def]
    one, two, three = (lines_of(run, "evaluation") for run, _ in launches[1].values())
    for mine, others in zip(one, zip(two, three, strict=True), strict=True):
        assert all(other["evaluation"]["persistence"] == mine["evaluation"]["persistence"] for other in others)
        assert all(other["evaluation"]["windows"] == mine["evaluation"]["windows"] == 10 for other in others)


def test_each_damaged_sample_is_named_once_and_the_same_are_at_any_number_of_ranks(launches) -> None:  # type: ignore[no-untyped-def]
    for _, ended in launches[1].values():
        warnings = ended.lines("warning: unreadable sample counts as all missing: ")
        named = [line.partition("all missing: ")[2].partition(": ")[0] for line in warnings]
        assert sorted(named) == sorted(BAD)
