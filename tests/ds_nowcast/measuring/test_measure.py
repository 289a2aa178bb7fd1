"""The command on two ranks, and alone."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ds_nowcast.measuring.collectives import SIZES
from ds_nowcast.measuring.launching import Job, measured
from ds_nowcast.measuring.session import run
from tests.ds_nowcast.conftest import TINY
from tests.launching import ON_ALL_RANKS, ROOT, launch
from tests.shard_maker import make_shards, moving_blobs

ONE_THREAD = {**ON_ALL_RANKS, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
STEPS, ACCUMULATION = 9, 2
# of each step: four numbers agreed on before it (float64), whether a loss is not finite (float64), the norm (float32)
AGREED, NORM = 4 * 8 + 8, 4


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With accumulation, and weights at ZeRO 3 that are gathered for each forward and each backward pass."""
    keys = json.loads(json.dumps(TINY)) | {"train_batch_size": 8, "gradient_accumulation_steps": ACCUMULATION}
    names = ("stage3_param_persistence_threshold", "stage3_max_reuse_distance", "stage3_max_live_parameters")
    keys["zero_optimization"] |= dict.fromkeys(names, 0)
    path = tmp_path_factory.mktemp("config") / "tiny.json"
    keys["csv_monitor"] = {"enabled": True, "output_path": str(path.parent / "monitored"), "job_name": "tiny"}
    path.write_text(json.dumps(keys))
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, config: Path, shards: Path) -> dict[str, Any]:
    """What measurements at every ZeRO stage and with every feed told, all of one launch."""
    folder = tmp_path_factory.mktemp("measured")
    base = ["--deepspeed_config", str(config), "--shards", str(shards), "--steps", str(STEPS), "--warmup", "2"]
    kinds = {f"zero{stage}": ["--set", f"zero_optimization.stage={stage}"] for stage in range(4)}
    kinds |= {
        "synthetic": ["--feed", "synthetic"],
        "stream": ["--feed", "stream", "--collectives", "--steps", "50"],
        "soon": ["--feed", "stream", "--seconds", "1e-9"],
        "full": ["--seconds", "1e-9"],
    }
    listed = folder / "measurements.json"
    listed.write_text(json.dumps({str(folder / f"{name}.json"): [*base, *more] for name, more in kinds.items()}))
    ended = launch("tests.ds_nowcast.measuring.measure_case", listed, folder / "same.json", env=ONE_THREAD, timeout=240)
    assert ended.code == 0, ended.output[-3000:]
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json") if path != listed}


@pytest.mark.launch
def test_the_parts_of_a_step_add_up_to_it(found: dict[str, Any]) -> None:
    for name in ("zero0", "zero1", "zero2", "zero3", "synthetic"):
        split, step = found[name]["split_s"], found[name]["step_s"]
        assert sum(split.values()) == pytest.approx(step["median"], rel=0.3), name
        assert min(split.values()) >= 0 and split["compute"] > 0 and split["communication"] > 0
        assert step["least"] <= step["median"] <= step["most"]
        assert found[name]["samples_per_s"] == pytest.approx(8 / step["median"])


@pytest.mark.launch
def test_collectives_move_what_the_zero_stage_must(found: dict[str, Any]) -> None:
    weights = 4 * found["zero0"]["parameters"]
    moved = [found[f"zero{stage}"]["collective_bytes"] for stage in range(4)]
    assert moved[0] == {"all_reduce": weights + AGREED + NORM}
    # gradients once a step at ZeRO 1, after every micro-batch from 2 on; then each rank's weights go to all
    for stage, reductions in ((1, 1), (2, ACCUMULATION)):
        assert moved[stage]["all_reduce"] == reductions * weights + AGREED + NORM
        assert moved[stage]["all_gather"] == pytest.approx(weights, rel=0.01)  # and what fills it to equal parts
        assert set(moved[stage]) == {"all_reduce", "all_gather"}
    assert moved[3]["reduce_scatter"] == pytest.approx(ACCUMULATION * weights, rel=0.01)
    assert moved[3]["all_gather"] == pytest.approx(2 * ACCUMULATION * weights, rel=0.01)
    assert moved[3]["all_reduce"] < 2 * (AGREED + NORM)


@pytest.mark.launch
def test_timing_changes_no_weight(found: dict[str, Any]) -> None:
    assert len(found["same"]) > 5 and all(found["same"])


@pytest.mark.launch
def test_a_synthetic_feed_waits_for_no_data_and_a_stream_for_nothing_else(found: dict[str, Any]) -> None:
    synthetic, stream = found["synthetic"], found["stream"]
    assert synthetic["split_s"]["data_wait"] < 1e-3 * synthetic["step_s"]["median"]
    assert stream["split_s"]["compute"] == stream["split_s"]["optimizer"] == stream["split_s"]["communication"] == 0
    assert stream["parameters"] == 0 and stream["steps"] == 50 and stream["samples_per_s"] > 0
    assert found["soon"]["steps"] == found["full"]["steps"] == 3


@pytest.mark.launch
@pytest.mark.usefixtures("found")
def test_a_measurement_leaves_one_file_and_no_monitors(config: Path) -> None:
    assert [path.name for path in config.parent.iterdir()] == [config.name]


@pytest.mark.launch
def test_what_was_measured_is_told_with_it(found: dict[str, Any]) -> None:
    one = found["zero3"]
    told = {"format_version": 1, "feed": "full", "ranks": 2, "hosts": 1, "device": "cpu", "steps": STEPS}
    told |= {"zero_stage": 3, "precision": "float32", "image": [32, 32], "frames": 7, "idle_steps": 0}
    assert {name: one[name] for name in told} == told
    assert one["batch"] == {"total": 8, "micro": 2, "accumulation": ACCUMULATION, "ranks": 2}
    assert one["sample_bytes"] == 7 * 32 * 32 and 0 < one["stored_bytes"] < one["sample_bytes"] * 12 / 7
    assert 50e6 < one["memory_bytes"] == one["host_memory_bytes"] < 20e9 and one["cpu_s"] > 0


@pytest.mark.launch
def test_collectives_are_timed_by_size(found: dict[str, Any]) -> None:
    table = found["stream"]["collectives"]
    assert [(row["op"], row["bytes"]) for row in table] == [
        (op, size) for op in ("all_reduce", "reduce_scatter", "all_gather") for size in SIZES
    ]
    for op in ("all_reduce", "reduce_scatter", "all_gather"):
        seconds = {row["bytes"]: row["seconds"] for row in table if row["op"] == op}
        assert seconds[SIZES[-1]] > 5 * seconds[SIZES[0]] > 0


@pytest.mark.launch
def test_a_launch_is_measured_on_the_first_slots_of_a_hostfile(tmp_path: Path, config: Path, shards: Path) -> None:
    (tmp_path / "hostfile").write_text("localhost slots=3\nnowhere.invalid slots=4\n")
    job = Job(config, str(shards), ["nowcast.model.width=16"], 2, tmp_path / "hostfile", ["--steps", "3"], ONE_THREAD)
    outcome = measured(job, tmp_path / "trial", 120)
    assert (outcome.ended, outcome.reason, outcome.code) == ("measured", "", 0), outcome.log.read_text()[-3000:]
    assert outcome.result is not None and outcome.result["ranks"] == 2
    assert sorted(path.name for path in (tmp_path / "trial").iterdir()) == [
        "deepspeed_env", "hostfile", "log", "measured.json",
    ]  # fmt: skip


@pytest.mark.launch
def test_too_large_a_model_is_out_of_memory(tmp_path: Path, config: Path, shards: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, before[1]))  # of what we start, too
    try:
        job = Job(config, str(shards), ["nowcast.model.width=16384"], 2, None, [], ONE_THREAD)
        outcome = measured(job, tmp_path, 120)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert outcome.ended == "out_of_memory", outcome.log.read_text()[-3000:]
    assert outcome.reason.startswith("FAILED rank ") and "train_micro_batch_size_per_gpu" in outcome.reason


@pytest.mark.slow
def test_alone_it_measures_too_and_refuses_with_the_trainers_words(tmp_path: Path, config: Path) -> None:
    rng = np.random.default_rng(0)
    splits = {name: [moving_blobs(rng, frames=7) for _ in range(4)] for name in ("train", "val")}
    shards = make_shards(tmp_path / "shards", splits)
    command = [sys.executable, "-m", "ds_nowcast.measure", "--deepspeed_config", str(config), "--shards", str(shards)]
    out, env = tmp_path / "out.json", {**os.environ, **ONE_THREAD}
    done = run([*command, "--out", str(out), "--feed", "stream", "--collectives"], tmp_path / "log", 100, env)
    assert done.code == 0, (tmp_path / "log").read_text()
    told = json.loads(out.read_text())
    assert (told["ranks"], told["batch"]["micro"], told["collectives"]) == (1, 4, [])
    assert "samples/s" in (tmp_path / "log").read_text()

    wrong = run([*command, "--out", str(out), "--set", "nowcast.stepz=3"], tmp_path / "log", 100, env)
    assert wrong.code == 2 and "stepz" in (tmp_path / "log").read_text()
    wrong = run([*command, "--out", str(out), "--shards", str(tmp_path)], tmp_path / "log", 100, env)
    assert wrong.code == 2 and "index.json" in (tmp_path / "log").read_text()
    wrong = run([*command, "--out", str(tmp_path / "none/out.json")], tmp_path / "log", 100, env)
    assert wrong.code == 2 and "is not a folder" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
