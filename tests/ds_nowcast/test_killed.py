"""A run that was killed, wherever, goes on bit for bit; a rank's death leaves no process behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from ds_nowcast.engine import WORKPLACE
from tests.ds_nowcast.killed_case import MOMENTS
from tests.launching import Ended, launch

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]  # eight launches, before the first test

SETTINGS = ["nowcast.checkpoint.keep=2", "nowcast.evaluation.every=12"]


def still_running(run: Path) -> list[psutil.Process]:
    """Processes whose command line names the run, launchers included."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(run) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def gone_within(run: Path, seconds: float) -> bool:
    """Whether all processes of a run end by themselves; those that do not are killed."""
    deadline = time.monotonic() + seconds
    while still_running(run) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = still_running(run)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    return not left


def losses_of(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


class Killed:
    """What every moment's launch left, then what the same command made of it; and a run that was left alone."""

    def __init__(self, folder: Path, config: Path, shards: Path) -> None:
        self.folder, self.ended, self.latest = folder, dict[str, Ended](), dict[str, str]()
        arguments = ["--deepspeed_config", config, "--shards", shards, "--set", *SETTINGS]
        trainings: dict[str, list[str]] = {str(folder / "alone"): [str(word) for word in arguments]}
        for moment, killed_at in MOMENTS.items():
            run = self.run(moment)
            self.ended[moment] = launch(
                "tests.ds_nowcast.killed_case", *arguments, "--run", run, env={"KILLED_AT": killed_at}
            )
            assert gone_within(run, 5), f"processes are left after {moment}:\n{self.ended[moment].output[-3000:]}"
            self.latest[moment] = (run / "checkpoints/latest").read_text()
            trainings[str(run)] = trainings[str(folder / "alone")]
        (folder / "trainings.json").write_text(json.dumps(trainings))
        self.again = launch("tests.ds_nowcast.trainings_case", folder / "trainings.json", timeout=240)

    def run(self, moment: str) -> Path:
        return self.folder / moment.replace(" ", "_")


@pytest.fixture(scope="module")
def killed(config: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return Killed(tmp_path_factory.mktemp("killed"), config, shards)


def test_a_rank_s_death_ends_the_launch(killed: Killed) -> None:
    for moment, ended in killed.ended.items():
        assert ended.code not in (0, 75), f"{moment}:\n{ended.output[-3000:]}"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on_bit_for_bit(moment: str, killed: Killed) -> None:
    assert killed.again.code == 0, killed.again.output[-3000:]
    alone, run = killed.folder / "alone", killed.run(moment)
    pruned = "pruning" in moment
    assert killed.latest[moment] == ("step_00000012" if pruned else "step_00000005")
    assert losses_of(run) == losses_of(alone)
    assert (run / "last.safetensors").read_bytes() == (alone / "last.safetensors").read_bytes()
    assert not (run / "failure.json").exists()
    tags = sorted(path.name for path in (run / "checkpoints").iterdir() if path.is_dir())
    assert tags[-2:] == ["step_00000010", "step_00000012"]


def test_a_move_to_another_stage_that_is_killed_leaves_the_run_as_it_was(
    killed: Killed, config: Path, shards: Path, tmp_path: Path
) -> None:
    run, alone = tmp_path / "run", killed.folder / "alone"
    shutil.copytree(alone, run)
    shutil.rmtree(run / "checkpoints/step_00000012")
    (run / "checkpoints/latest").write_text("step_00000010")
    arguments = ["--deepspeed_config", config, "--shards", shards, "--run", run, "--set", *SETTINGS]
    moving = [*arguments, "zero_optimization.stage=3"]
    ended = launch("tests.ds_nowcast.killed_case", *moving, env={"KILLED_AT": "0:universal:10"})
    assert ended.code not in (0, 75), ended.output[-3000:]
    assert gone_within(run, 5)
    assert (run / "checkpoints" / WORKPLACE).is_dir()
    ended = launch("ds_nowcast.train", *arguments)
    assert ended.code == 0, ended.output[-3000:]
    assert ended.lines("resuming at step 10 from step_00000010")
    assert not (run / "checkpoints" / WORKPLACE).exists()
    assert (run / "last.safetensors").read_bytes() == (alone / "last.safetensors").read_bytes()


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A file system of so many bytes in a folder; yields whether this machine lets us have one (it takes root)."""
    folder.mkdir()
    mounted = mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*words: object) -> bool:
    with suppress(FileNotFoundError):
        return subprocess.run(["mount", *map(str, words)], capture_output=True).returncode == 0
    return False


def test_a_full_disk_ends_the_save_on_all_ranks_and_with_room_the_run_goes_on_bit_for_bit(
    killed: Killed, config: Path, shards: Path, tmp_path: Path
) -> None:
    run, alone = tmp_path / "run", killed.folder / "alone"
    checkpoint = sum(path.stat().st_size for path in (alone / "checkpoints/step_00000010").iterdir())
    arguments = ("--deepspeed_config", config, "--shards", shards, "--run", run, "--set", *SETTINGS)
    with small_disk(run, checkpoint * 8 // 5) as real:
        ended = launch("ds_nowcast.train" if real else "tests.ds_nowcast.full_disk_case", *arguments)
        assert ended.code == 3, ended.output[-3000:]
        [error] = ended.lines("FAILED rank ")
        assert "step_00000010 could not be written (rank " in error
        assert "make room and run the same command again" in error
        assert not ended.lines("Traceback")
        assert (run / "checkpoints/latest").read_text() == "step_00000005"
        assert not (run / "checkpoints/step_00000010").exists()
        assert "step_00000010 could not be written" in json.loads((run / "failure.json").read_text())["reason"]
        assert not real or mount("-o", f"remount,size={checkpoint * 20}", run)
        ended = launch("ds_nowcast.train", *arguments)
        assert ended.code == 0, ended.output[-3000:]
        assert ended.lines("resuming at step 5 from step_00000005")
        assert losses_of(run) == losses_of(alone)
        assert (run / "last.safetensors").read_bytes() == (alone / "last.safetensors").read_bytes()
