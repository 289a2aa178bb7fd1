"""The order command: what it lists is what the stream delivers, and what it cannot list it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_prep.shards.index import open_shards
from data_prep.shards.stored import read_sample
from ds_nowcast import order
from ds_nowcast.config import load_config
from ds_nowcast.stream.pipeline import training_stream


def listed(capsys: pytest.CaptureFixture[str], config: Path, shards: Path, *options: str) -> list[dict[str, Any]]:
    """The objects that --json prints."""
    argv = ["--deepspeed_config", str(config), "--shards", str(shards), "--json", *options]
    assert order.main(argv) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_samples_listed_are_those_that_the_stream_delivers(
    world: int, capsys: pytest.CaptureFixture[str], config: Path, shards: Path
) -> None:
    lines = listed(capsys, config, shards, "--steps", "10:16", "--world-size", str(world))  # across an epoch's end
    keys, opened = load_config(config).nowcast, open_shards(shards)
    codes = {meta["key"]: codes for meta, codes in (read_sample(opened, "train", number) for number in range(24))}
    delivered = []
    for rank in range(world):
        stream = training_stream(
            opened, keys.data, keys.seed, batch=4 // world, rank=rank, world=world, start=9 * 4, threads=1
        )
        with stream:
            for step in range(10, 16):
                batch = next(stream)
                for sample, codes_THW in zip(batch.samples, batch.codes_BTHW.numpy(), strict=True):
                    delivered.append((step, rank, sample.position, sample.shard, sample.key, sample.start))
                    assert (codes_THW == codes[sample.key][sample.start : sample.start + 7]).all()
    named = [tuple(line[k] for k in ("step", "rank", "position", "shard", "key", "first")) for line in lines]
    assert named == sorted(delivered, key=lambda sample: sample[2])
    assert all(line["last"] == line["first"] + 6 for line in lines)


def test_a_line_for_people_says_the_same(capsys: pytest.CaptureFixture[str], config: Path, shards: Path) -> None:
    objects = listed(capsys, config, shards, "--steps", "1:3")
    assert order.main(["--deepspeed_config", str(config), "--shards", str(shards), "--steps", "1:3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    for line, sample in zip(lines, objects, strict=True):
        where = f"{sample['shard']} {sample['key']} frames {sample['first']}-{sample['last']}"
        assert line == f"step {sample['step']} rank {sample['rank']} {where}"


def test_a_step_holds_the_same_samples_at_any_world_size(
    capsys: pytest.CaptureFixture[str], config: Path, shards: Path
) -> None:
    def samples(world: str) -> list[Any]:
        lines = listed(capsys, config, shards, "--steps", "3:5", "--world-size", world)
        return [{key: value for key, value in line.items() if key != "rank"} for line in lines]

    assert samples("1") == samples("2") == samples("4")


def test_another_seed_is_another_order(capsys: pytest.CaptureFixture[str], config: Path, shards: Path) -> None:
    def keys(*options: str) -> list[str]:
        return [line["key"] for line in listed(capsys, config, shards, "--steps", "1:9", *options)]

    assert keys("--seed", "5") == keys("--set", "nowcast.seed=5") != keys()
    assert keys("--seed", "5", "--set", "nowcast.seed=3") == keys("--seed", "5")


def test_a_shard_without_its_table_of_contents_is_listed_by_number(
    capsys: pytest.CaptureFixture[str], config: Path, shards: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(shards, tmp_path / "copy")
    whole = listed(capsys, config, shards, "--steps", "1:13")
    (copy / "train/train-000002.idx").unlink()
    found = listed(capsys, config, copy, "--steps", "1:13")
    assert [line["position"] for line in found] == list(range(48))
    for sample, line in zip(whole, found, strict=True):
        damaged = sample["shard"] == "train/train-000002.tar"
        assert line["key"] == (f"sample {int(sample['key'][-4:]) % 4}" if damaged else sample["key"])


@pytest.mark.parametrize("steps", ["0:3", "3:3", "5:2", "a:b", "3", "1:2:3", "-1:2", ":", "1:", "", "1.5:3", "²:3"])
def test_steps_that_are_no_range_are_refused(
    steps: str, capsys: pytest.CaptureFixture[str], config: Path, shards: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        order.main(["--deepspeed_config", str(config), "--shards", str(shards), f"--steps={steps}"])
    assert ended.value.code == 2
    assert f"argument --steps: {steps!r} is not A:B with whole numbers 1 <= A < B" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--world-size", "3"],
            "train_batch_size=4 does not divide over 3 ranks; give a number of ranks that divides it: 1, 2, 4",
        ),
        (["--world-size", "0"], "--world-size 0 is not a number of ranks; give 1 or more"),
        (["--seed", "-1"], "nowcast.seed"),
        (["--set", "nowcast.data.split=none"], "has no split 'none'; it has train, val, test"),
        (["--set", "nowcast.data.output_frames=30"], "= 34 frames are more than the 12 of a sequence"),
        (["--shards", "nowhere"], "nowhere is not a folder"),
        (["--deepspeed_config", "nowhere.json"], "config nowhere.json cannot be read"),
    ],
)
def test_what_cannot_be_listed_is_refused_in_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], config: Path, shards: Path
) -> None:
    argv = ["--deepspeed_config", str(config), "--shards", str(shards), "--steps", "1:3", *options]
    assert order.main(argv) == 2
    printed = capsys.readouterr()
    assert message in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""


def test_it_goes_on_into_epochs_far_ahead_without_reading_those_before(
    capsys: pytest.CaptureFixture[str], config: Path, shards: Path
) -> None:
    lines = listed(capsys, config, shards, "--steps", "1000000001:1000000002")
    assert [line["step"] for line in lines] == [1000000001] * 4


def test_a_run_s_config_is_asked_with_the_samples_of_a_step_that_its_first_launch_fixed(
    capsys: pytest.CaptureFixture[str], config: Path, shards: Path, tmp_path: Path
) -> None:
    content = json.loads(config.read_text())
    del content["train_batch_size"]
    content |= {"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}  # 8 samples a step on one rank
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "run.json").write_text(json.dumps({"batch": {"total": 8, "micro": 4, "accumulation": 2, "ranks": 1}}))
    for world in ("1", "2", "8"):
        lines = listed(capsys, tmp_path / "config.json", shards, "--steps", "3:4", "--world-size", world)
        assert [line["position"] for line in lines] == list(range(16, 24))
    argv = [
        "--deepspeed_config",
        str(tmp_path / "config.json"),
        "--shards",
        str(shards),
        "--steps",
        "3:4",
        "--world-size",
        "3",
    ]
    assert order.main(argv) == 2
    assert "train_batch_size=8 does not divide over 3 ranks" in capsys.readouterr().err
