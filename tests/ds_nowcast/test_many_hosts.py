"""Trainings whose ranks are on several hosts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.hosts import Hosts
from tests.launching import ROOT, launch
from tests.shard_maker import make_shards, moving_blobs

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

FEW_STEPS = ["nowcast.steps=5", "nowcast.log_every=1", "nowcast.evaluation.every=5", "nowcast.checkpoint.every=5"]


@pytest.fixture(scope="module")
def demo_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the size of `make demo`: 16 training and 4 validation sequences of 25 frames of 96 x 96 codes."""
    rng = np.random.default_rng(5)
    splits = {
        name: [moving_blobs(rng, frames=25, missing=0.1, size=96) for _ in range(count)]
        for name, count in (("train", 16), ("val", 4))
    }
    return make_shards(tmp_path_factory.mktemp("demo") / "shards", splits)


def metrics_of(run: Path) -> list[dict[str, object]]:
    """What was measured, without what depends on the machine."""
    told = ("step", "loss", "valid", "samples", "grad_norm", "learning_rate", "evaluation")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in told if name in line} for line in lines]


@pytest.fixture(scope="module")
def by_stage(make_hosts: Callable[..., Hosts], demo_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs {one, two}/{1, 2, 3}: two ranks on one and on two hosts, at three ZeRO stages."""
    folder = tmp_path_factory.mktemp("stages")
    for hosts in ("one", "two"):
        trainings = {
            str(folder / hosts / str(stage)): [
                "--deepspeed_config", str(ROOT / "ds_configs/demo.json"), "--shards", str(demo_shards),
                "--set", *FEW_STEPS, f"zero_optimization.stage={stage}",
            ]
            for stage in (1, 2, 3)
        }  # fmt: skip
        (folder / f"{hosts}.json").write_text(json.dumps(trainings))
    case = "tests.ds_nowcast.trainings_case"
    ended = [launch(case, folder / "one.json")]
    with make_hosts(2) as two:
        ended.append(two.launch(case, folder / "two.json"))
    for end in ended:
        assert end.code == 0, end.output[-3000:]
    return folder


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_hosts_train_as_one_does(stage: int, by_stage: Path) -> None:
    one, two = (by_stage / hosts / str(stage) for hosts in ("one", "two"))
    assert len(metrics_of(one)) == 6
    assert metrics_of(two) == metrics_of(one)
    assert (two / "last.safetensors").read_bytes() == (one / "last.safetensors").read_bytes()
