"""The command: what is refused before anything is launched, what goes on, and real searches."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ds_nowcast import tune
from ds_nowcast.config import load_config
from ds_nowcast.measuring.launching import Job
from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.tuning.speed import Speed
from tests.ds_nowcast.conftest import TINY
from tests.ds_nowcast.tuning.landscape import START, Landscape
from tests.launching import ON_ALL_RANKS, ROOT, until
from tests.shard_maker import make_shards, moving_blobs

pytestmark = pytest.mark.slow  # seconds in all, of searches and processes


def words(config: Path, shards: Path, out: Path, *more: str) -> list[str]:
    """The command line of a search at two ranks with a limit of 40 GB."""
    return [
        "--deepspeed_config", str(config), "--shards", str(shards), "--out", str(out), "--ranks", "2", "--set", *START,
        "--device", "cpu", *more,
    ]  # fmt: skip


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Landscape:
    """In the place of launches."""
    landscape = Landscape()
    monkeypatch.setattr(tune, "Speed", partial(Speed, measure=landscape))
    return landscape


SPACES: list[tuple[str, str]] = [
    ("{", "is not JSON"),
    ("[1]", "is no space; give an object"),
    ("{}", "is no space"),
    ('{"zero_optimization.stage": 2}', "zero_optimization.stage is 2; give a list of its values"),
    ('{"zero_optimization.stage": [1, 1]}', "zero_optimization.stage has 1 twice"),
    ('{"zero_optimization.stage": [1], "zero_optimization.stage": [2]}', "occurs twice"),
    (
        '{"nowcast.model.width": [8]}',
        "change what is trained, give them with --set, or try them with --objective val_csi",
    ),
    ('{"train_batch_size": [8]}', "train_batch_size is none of what is tried for speed"),
    ('{"zero_optimisation": [{"stage": 1}]}', "did you mean zero_optimization?"),
    ('{"zero_optimization.stagge": [1]}', "unknown key 'zero_optimization.stagge'"),
    ('{"nowcast.model.norm": ["wide"]}', "norm is"),
    ('{"nowcast.compute.compile": ["yes"]}', 'nowcast.compute.compile is "yes"; give true or false'),
    ('{"zero_optimization": [{"stage": 1}], "zero_optimization.stage": [2]}', "is within zero_optimization"),
    ('{"zero_optimization.stage": [2]}', "there is nothing to try"),
]


@pytest.mark.parametrize(("space", "says"), SPACES)
def test_a_space_that_cannot_be_used_is_refused_by_name_before_anything_is_launched(
    space: str,
    says: str,
    config: Path,
    shards: Path,
    tmp_path: Path,
    fake: Landscape,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "space.json").write_text(space)
    code = tune.main(words(config, shards, tmp_path / "t.json", "--space", str(tmp_path / "space.json")))
    assert code == 2 and says in capsys.readouterr().err
    assert fake.launches == [] and sorted(path.name for path in tmp_path.iterdir()) == ["space.json"]


WRONG = [
    (["--memory-limit", "1", "--objective", "val_csi"], "--memory-limit is of samples_per_s"),
    (["--objective", "val_csi", "--steps", "13"], "--steps 13 is more than nowcast.steps 12"),
    (["--ranks", "3"], "train_batch_size=64 does not divide over 3 ranks"),
    (["--hostfile", "nowhere"], "hostfile nowhere cannot be read"),
    (["--space", "nowhere"], "--space nowhere cannot be read"),
]


@pytest.mark.parametrize(("more", "says"), WRONG)
def test_options_that_do_not_go_together_are_refused(
    more: list[str], says: str, config: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main(words(config, shards, tmp_path / "t.json", *more)) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_result_is_the_users_file_with_what_was_chosen_and_a_table_says_why(
    config: Path, shards: Path, tmp_path: Path, fake: Landscape
) -> None:
    out = tmp_path / "tuned.json"
    assert tune.main(words(config, shards, out, "--trials", "12", "--memory-limit", "40")) == 0
    tuned, start = load_config(out), load_config(config, START)
    assert tuned.batch(2).total == 64 and tuned.batch(2).micro > start.batch(2).micro
    assert json.loads(out.read_text())["nowcast"]["model"] == TINY["nowcast"]["model"]
    table = out.with_suffix(".md").read_text()
    assert "`train_micro_batch_size_per_gpu` | `2` |" in table
    assert re.search(r"\*\*[\d.]+ -> [\d.]+ samples/s, x [\d.]+ \(x [\d.]+ to x [\d.]+ in 3 turns\)\.\*\*", table)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_goes_on_and_another_is_refused_by_what_differs_or_begun_anew_by_name(
    config: Path, shards: Path, tmp_path: Path, fake: Landscape, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned.json"
    again = words(config, shards, out, "--trials", "5", "--turns", "1", "--memory-limit", "40")
    assert tune.main(again) == 0
    launches, first = len(fake.launches), out.read_bytes()
    assert tune.main(again) == 0
    assert len(fake.launches) == launches and out.read_bytes() == first
    other = [*again, "--set", "nowcast.compute.channels_last=true"]
    capsys.readouterr()
    assert tune.main(other) == 2
    told = capsys.readouterr().err
    assert "config.nowcast.compute.channels_last: false -> true" in told and "--anew" in told
    assert tune.main([*other, "--anew"]) == 0
    assert len(fake.launches) > launches and (tmp_path / "tuned.trials.1" / "0001" / "outcome.json").is_file()
    (tmp_path / "tuned.trials" / "search.json").write_text("{")
    assert tune.main(other) == 2 and "--anew" in capsys.readouterr().err
    assert tune.main([*other, "--anew"]) == 0  # as it says
    assert (tmp_path / "tuned.trials.2" / "search.json").read_text() == "{"


def test_ranks_run_where_device_says_and_a_file_that_changes_meanwhile_changes_nothing(
    config: Path, shards: Path, tmp_path: Path, fake: Landscape
) -> None:
    mine = tmp_path / "mine.json"
    mine.write_bytes(config.read_bytes())

    def measure(job: Job, folder: Path, timeout_s: float) -> Outcome:
        assert job.environment == {"DS_ACCELERATOR": "cpu"}
        mine.write_text("{")
        return fake(job, folder, timeout_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "Speed", partial(Speed, measure=measure))
        out = tmp_path / "tuned.json"
        assert tune.main(words(mine, shards, out, "--trials", "4", "--turns", "1", "--memory-limit", "40")) == 0
    assert load_config(out).batch(2).total == 64


def test_nothing_is_written_where_nothing_could_be_measured(
    config: Path, shards: Path, tmp_path: Path, fake: Landscape, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.device = 1.0
    out = tmp_path / "tuned.json"
    assert tune.main(words(config, shards, out, "--trials", "4")) == 2
    assert "no trial could be measured: CUDA out of memory" in capsys.readouterr().err
    assert not out.exists()


# Real launches


def _command(folder: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "ds_nowcast.tune", "--deepspeed_config", str(folder / "config.json"),
        "--shards", str(folder / "shards"), "--out", str(folder / "tuned.json"), "--ranks", "1", "--turns", "1", *more,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    return {**os.environ, **ON_ALL_RANKS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _made(folder: Path, size: int, **changed: Any) -> None:
    rng = np.random.default_rng(9)
    splits = {
        name: [moving_blobs(rng, frames=12, size=size) for _ in range(count)]
        for name, count in (("train", 8), ("val", 2))
    }
    make_shards(folder / "shards", splits)
    keys = {**TINY["nowcast"], "data": {**TINY["nowcast"]["data"], "buffer_mb": 64, "threads": 1}, "log_every": 10}
    content = {**TINY, "train_batch_size": 16, "gradient_accumulation_steps": 4, "nowcast": keys, **changed}
    (folder / "config.json").write_text(json.dumps(content))


def _private_memory(folder: Path) -> int:
    """Bytes of private memory that a rank takes at most at one sample at a time."""
    measure = [
        sys.executable, "-m", "ds_nowcast.measure", "--deepspeed_config", folder / "config.json", "--shards",
        folder / "shards", "--out", folder / "alone.json", "--steps", "3", "--warmup", "1",
        "--set", "gradient_accumulation_steps=16",
    ]  # fmt: skip
    process = subprocess.Popen(measure, env=_environment(), cwd=ROOT, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max([most, *(int(found) * 1024 for found in re.findall(r"VmData:\s+(\d+)", status))])
    assert process.returncode == 0
    return most


def _outcomes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "tuned.trials").glob("0*/outcome.json"))]


@pytest.mark.hosts
@pytest.mark.timeout(900)
def test_a_real_search_survives_running_out_of_memory_and_a_signal_and_finds_what_fits(tmp_path: Path) -> None:
    _made(tmp_path, 128)
    space = {
        "train_micro_batch_size_per_gpu": [1, 4, 16],
        "zero_optimization.stage": [0, 2],
        "nowcast.compute.activation_checkpointing": [False, True],
    }
    (tmp_path / "space.json").write_text(json.dumps(space))
    limit = _private_memory(tmp_path) + 140_000_000  # four samples take some 70 MB more than one, sixteen some 280

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            _command(tmp_path, "--trials", "8", "--steps", "3", "--space", str(tmp_path / "space.json")),
            env=_environment(), cwd=ROOT, text=True, stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        )  # fmt: skip

    process = start()
    until(lambda: len(_outcomes(tmp_path)) >= 2, 240, "the second trial")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    assert process.returncode == 143
    before = _outcomes(tmp_path)

    process = start()
    _, told = process.communicate(timeout=800)
    assert process.returncode == 0, told
    outcomes = _outcomes(tmp_path)
    assert outcomes[: len(before)] == before and len(outcomes) >= 8
    over = [o for o in outcomes if o["result"]["ended"] == "out_of_memory"]
    assert over and all(o["combination"]["train_micro_batch_size_per_gpu"] == "16" for o in over), told
    tuned = load_config(tmp_path / "tuned.json").batch(1)
    assert tuned.total == 16 and tuned.micro in (1, 4, 16)
    assert "out of memory" in (tmp_path / "tuned.md").read_text() and (tmp_path / "tuned.png").is_file()


@pytest.mark.hosts
@pytest.mark.timeout(900)
def test_a_real_search_for_a_score_promotes_by_going_on_in_the_run_folder(tmp_path: Path) -> None:
    _made(tmp_path, 32, train_batch_size=4, gradient_accumulation_steps=1)
    (tmp_path / "space.json").write_text('{"optimizer.params.lr": [0.000001, 0.003]}')
    command = _command(
        tmp_path, "--objective", "val_csi", "--trials", "2", "--steps", "9", "--space", str(tmp_path / "space.json")
    )
    ended = subprocess.run(command, env=_environment(), cwd=ROOT, text=True, stderr=subprocess.PIPE, timeout=800)
    assert ended.returncode == 0, ended.stderr
    first, second = _outcomes(tmp_path)
    assert list(first["result"]["rungs"]) == ["1", "3", "9"]
    assert second["result"]["ended"] in ("slow", "measured")
    metrics = (tmp_path / "tuned.trials/0001/run/metrics.jsonl").read_text().splitlines()
    evaluated = [json.loads(line)["step"] for line in metrics if "evaluation" in line]
    assert evaluated == [1, 3, 9]
    assert load_config(tmp_path / "tuned.json").nowcast.steps == TINY["nowcast"]["steps"]
