"""Trainings whose ranks are on several hosts."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ds_nowcast import evaluate, order
from ds_nowcast.scoring.evaluation import headline
from tests.ds_nowcast.test_ranks_and_samples import lines_of, seen
from tests.hosts import PORT, Hosts
from tests.launching import ROOT, VENV, Ended, launch, wait
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
    ended = [launch(case, folder / "one.json", timeout=300)]
    with make_hosts(2) as two:
        ended.append(two.launch(case, folder / "two.json", timeout=300))
    for end in ended:
        assert end.code == 0, end.output[-3000:]
    return folder


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_hosts_train_as_one_does(stage: int, by_stage: Path) -> None:
    one, two = (by_stage / hosts / str(stage) for hosts in ("one", "two"))
    assert len(metrics_of(one)) == 6
    assert metrics_of(two) == metrics_of(one)
    assert (two / "last.safetensors").read_bytes() == (one / "last.safetensors").read_bytes()


def test_the_users_command_trains_on_the_hosts_that_the_hostfile_names(
    two_hosts: Hosts, demo_shards: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    command = [
        "deepspeed", "--hostfile", two_hosts.hostfile(named=True), "--module", "ds_nowcast.train",
        "--deepspeed_config", ROOT / "ds_configs/demo.json", "--shards", demo_shards, "--run", tmp_path / "run",
        "--set", *FEW_STEPS,
    ]  # fmt: skip
    began = time.monotonic()
    ended = wait(two_hosts.popen(0, command, cwd=two_hosts.workplace()))
    seconds = time.monotonic() - began
    record_property("seconds", seconds)
    print(f"two hosts, {len(metrics_of(tmp_path / 'run')) - 1} steps: {seconds:.1f} s from command to end")
    assert ended.code == 0, ended.output[-3000:]
    assert (tmp_path / "run/model.safetensors").is_file()
    assert not two_hosts.processes()
    assert seconds < 140, "it takes 20 s where nothing else runs"


def test_sixteen_ranks_on_four_hosts_see_each_sample_and_score_each_window_once(
    four_hosts: Hosts, config: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    settings = [
        "train_batch_size=32", "train_micro_batch_size_per_gpu=1", "gradient_accumulation_steps=2", "nowcast.steps=4",
        "nowcast.log_samples=true", "nowcast.evaluation.every=4",
    ]  # fmt: skip
    told = ["--deepspeed_config", str(config), "--shards", str(shards)]
    ended = four_hosts.launch("ds_nowcast.train", *told, "--run", run, "--set", *settings, timeout=400)
    assert ended.code == 0, ended.output[-3000:]
    asked = ["--deepspeed_config", str(run / "config.json"), "--shards", str(shards), "--steps", "1:5", "--json"]
    assert order.main([*asked, "--world-size", "16"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert seen(run) == said
    assert {line["rank"] for line in said} == set(range(16))
    [line] = lines_of(run, "evaluation")
    assert evaluate.main(["--run", str(run), "--shards", str(shards), "--split", "val", "--quiet"]) == 0
    alone = json.loads((run / "scores.json").read_text())
    assert line["evaluation"]["windows"] == alone["task"]["windows"] == 10
    assert line["evaluation"]["persistence"] == headline(alone["persistence"])
    assert line["evaluation"]["model"] == pytest.approx(headline(alone["model"]), rel=1e-3)
    assert not four_hosts.processes()


def torchrun(hosts: Hosts, *args: Any) -> list[Ended]:
    """A module on all hosts, one rank each, by torchrun on each. After `--` it takes no option of ours for one of its own."""
    meeting = ["--nnodes", 2, "--nproc_per_node", 1, "--master_addr", hosts.addresses[0], "--master_port", PORT]
    lines = [[VENV / "bin/torchrun", *meeting, "--node_rank", host, "-m", "--", *args] for host in range(2)]
    return [wait(process) for process in [hosts.popen(host, line) for host, line in enumerate(lines)]]


def test_a_run_is_begun_without_ssh_resumed_by_torchrun_and_scored_over_pdsh(
    two_hosts: Hosts, config: Path, shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    training: list[Any] = ["ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run, "--set"]
    begun = [wait(process) for process in two_hosts.start_each(*training, "nowcast.steps=6")]
    assert [ended.code for ended in begun] == [0, 0], begun
    resumed = torchrun(two_hosts, *training, "nowcast.steps=8")
    assert [ended.code for ended in resumed] == [0, 0], resumed
    assert resumed[0].lines("resuming at step 6 from step_00000006") and not resumed[1].lines("resuming")
    assert [line["step"] for line in lines_of(run, "loss")] == list(range(1, 9))
    scored = two_hosts.launch("ds_nowcast.evaluate", "--run", run, "--shards", shards, "--split", "test")
    assert scored.code == 0, scored.output[-3000:]
    assert json.loads((run / "scores.json").read_text())["task"]["windows"] == 10
    assert not two_hosts.processes()


def refused(hosts: Hosts, config: Path, shards: Path, run: Path, **more: Any) -> str:
    """Why a training was refused before it began: the one line that says it."""
    ended = hosts.launch("ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run, **more)
    assert ended.code == 2, ended.output[-3000:]
    assert not ended.lines("Traceback") and not ended.lines("step 1/")
    assert not (run / "checkpoints").exists()
    assert not hosts.processes()
    [line] = ended.lines("error: ") + ended.lines("FAILED ")
    return line


def test_what_the_hosts_do_not_share_is_refused_in_one_sentence_before_training(
    two_hosts: Hosts, config: Path, shards: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(shards, tmp_path / "other")
    index = json.loads((other / "index.json").read_text())
    (other / "index.json").write_text(json.dumps({**index, "archive": "another"}))
    mine = shutil.copytree(shards, tmp_path / "shards")
    two_hosts.private(1, mine, content=other)
    line = refused(two_hosts, config, mine, tmp_path / "run")
    assert (
        "shards' index.json on n2 (rank 1) differ from those on n1 (rank 0); give a path that all hosts share" in line
    )

    runs = tmp_path / "runs"
    runs.mkdir()
    on_second = two_hosts.private(1, runs)
    line = refused(two_hosts, config, shards, runs / "run")
    assert f"the run folder {runs / 'run'} is not shared: n1 does not see in {runs} what n2 wrote" in line
    assert not list(on_second.iterdir())


def test_a_master_address_that_other_hosts_cannot_reach_is_refused_in_one_sentence(
    two_hosts: Hosts, config: Path, shards: Path, tmp_path: Path
) -> None:
    line = refused(two_hosts, config, shards, tmp_path / "run", master_addr="n1")
    assert "on n1 the master address n1 leads to lo alone, where no other host reaches it" in line
    assert line.endswith("or mend /etc/hosts")
