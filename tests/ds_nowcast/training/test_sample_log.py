"""The log of samples: the order command's lines, without those of steps that a resume makes again."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ds_nowcast.config import Batch
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.windows import Sample
from ds_nowcast.training.sample_log import SampleLog

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
BATCH = Batch(4, 4, 1, 1)


def log(folder: Path, step: int, positions: list[int]) -> None:
    with SampleLog(folder, BATCH, ALONE, window=5, step=step) as seen:
        for position in positions:
            seen.add([Sample(position, "train/train-000000.tar", f"s{position}", 3)])


def test_a_line_is_that_of_the_order_command(tmp_path: Path) -> None:
    log(tmp_path / "samples", 0, [5])
    assert json.loads((tmp_path / "samples/rank00000.jsonl").read_text()) == {
        "step": 2, "rank": 0, "position": 5, "shard": "train/train-000000.tar", "key": "s5", "first": 3, "last": 7,
    }  # fmt: skip


def test_lines_after_the_step_resumed_at_go_in_the_files_of_all_ranks(tmp_path: Path) -> None:
    other = tmp_path / "rank00007.jsonl"
    lines = [json.dumps({"step": step}) + "\n" for step in (1, 2, 3)]
    other.write_text("".join(lines) + '{"step": 2, "ra')
    with SampleLog(tmp_path, BATCH, ALONE, window=5, step=2):
        pass
    assert other.read_text() == "".join(lines[:2])


def test_logging_goes_on_in_the_same_file(tmp_path: Path) -> None:
    log(tmp_path, 0, [0, 4])
    log(tmp_path, 2, [8])
    log(tmp_path, 3, [12])
    steps = [json.loads(line)["step"] for line in (tmp_path / "rank00000.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_a_log_that_cannot_be_written_is_kept_for_all_ranks_to_agree_on(tmp_path: Path) -> None:
    with SampleLog(tmp_path / "samples", BATCH, ALONE, window=5, step=0) as seen:
        (tmp_path / "samples/rank00000.jsonl").mkdir()
        seen.add([Sample(0, "train/train-000000.tar", "s0", 0)])
    assert seen.failure is not None and "cannot be written (Is a directory)" in str(seen.failure)
