"""What dies on one host ends the launch on all of them, says so in one line, and the same command goes on."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ds_nowcast.test_killed import losses_of
from tests.hosts import Hosts, Inside
from tests.launching import Ended, output_of, until, wait

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

CASE = "tests.ds_nowcast.fault_case"
LIMIT_S = 60.0
STEPS = 60
SETTINGS = [f"nowcast.steps={STEPS}", f"nowcast.evaluation.every={STEPS}", "nowcast.checkpoint.keep=2"]


@dataclass
class Faults:
    """Two hosts of two ranks, and the runs that were hurt on them."""

    hosts: Hosts
    folder: Path
    arguments: list[str]
    hurt: dict[str, Path] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def start(self, name: str, **env: str) -> tuple[Path, Inside]:
        """A launch that has begun to train, or, where a rank's own fault is named, has been started."""
        run = self.hurt[name] = self.folder / name.replace(" ", "_")
        process = self.hosts.start(CASE, *self.arguments, "--run", run, env=env)
        if "FAULT" not in env:
            self.wait_for(process, lambda: (run / "metrics.jsonl").is_file() and max(losses_of(run), default=0) >= 7)
        return run, process

    def wait_for(self, process: Inside, moment: Callable[[], bool]) -> None:
        try:
            until(lambda: process.poll() is not None or moment(), 120, "the moment")
            assert process.poll() is None
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{output_of(process)[-3000:]}") from None

    def left(self) -> list[str]:
        """Ours, and what started them; a host that was cut off keeps its sshd's half of a session until it hears."""
        with suppress(psutil.Error):
            return [" ".join(p.cmdline()[:6]) for p in self.hosts.processes() if p.name() != "sshd"]
        return ["one that is just ending"]

    def end(self, name: str, process: Inside, strike: Callable[[], Any] = lambda: None) -> Ended:
        """Strikes; waits for the end of every process on every host, which must come in time."""
        began = time.monotonic()
        strike()
        try:
            until(lambda: not self.left(), LIMIT_S, "the end of all processes")
            self.took[name] = time.monotonic() - began
            print(f"{name}: all gone after {self.took[name]:.1f} s")
            self.hosts.mend(1)
            until(lambda: not self.hosts.processes(), LIMIT_S, "the end of sshd's sessions")
            return wait(process, 10)
        except AssertionError as error:
            left = self.left()
            self.hosts.mend(1)
            process.kill_all()
            raise AssertionError(f"{error}; left after {name} are {left}:\n{output_of(process)[-3000:]}") from None


@pytest.fixture(scope="module")
def faults(
    make_hosts: Callable[..., Hosts], config: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Faults]:
    folder = tmp_path_factory.mktemp("faults")
    shutil.copytree(shards, folder / "shards")
    arguments = ["--deepspeed_config", str(config), "--shards", str(folder / "shards"), "--set", *SETTINGS]
    with make_hosts(2, slots=2) as hosts:
        yield Faults(hosts, folder, arguments)


def failure_told(ended: Ended, run: Path) -> dict[str, Any]:
    """The one failure line, which is among the last 20 and in failure.json."""
    assert ended.code not in (0, 75), ended.output[-3000:]
    told = [line for line in ended.output.splitlines()[-20:] if "FAILED rank " in line]
    assert len(told) == 1 and len(ended.lines("FAILED rank ")) == 1, ended.output[-3000:]
    recorded = dict(json.loads((run / "failure.json").read_text()))
    assert told[0].endswith(f"FAILED rank {recorded['rank']} on {recorded['host']}: {recorded['reason']}")
    return recorded


def ranks_on(faults: Faults, host: int) -> Callable[[], int]:
    return lambda: faults.hosts.kill(signal.SIGKILL, host, containing=f"-m {CASE} --local_rank")


def kill_a_rank(faults: Faults) -> Callable[[], Any]:
    [last] = faults.hosts.processes(1, containing=f"-m {CASE} --local_rank=1")
    return last.kill


KILLS: dict[str, tuple[Callable[[Faults], Callable[[], Any]], set[int]]] = {
    "one rank killed": (kill_a_rank, {3}),
    "all ranks of the second host killed": (lambda faults: ranks_on(faults, 1), {2, 3}),
    "all ranks of the first host killed": (lambda faults: ranks_on(faults, 0), {0}),
    "the link cut in training": (lambda faults: lambda: faults.hosts.cut(1), {2, 3}),
}


@pytest.mark.parametrize("name", KILLS)
def test_a_death_ends_all_hosts_and_is_told_in_one_line(name: str, faults: Faults) -> None:
    strike, culprits = KILLS[name]
    run, process = faults.start(name)
    ended = faults.end(name, process, strike(faults))
    failure = failure_told(ended, run)
    assert failure["rank"] in culprits and "no sign of life" in failure["reason"]
    assert failure["host"] == faults.hosts.names[failure["rank"] // 2]


def test_a_link_cut_in_the_middle_of_a_checkpoint(faults: Faults) -> None:
    name = "the link cut in a checkpoint"
    run, process = faults.start(name, FAULT="3:save:10", FAULT_S="3")
    faults.wait_for(process, (run / "saving").exists)
    ended = faults.end(name, process, lambda: faults.hosts.cut(1))
    assert failure_told(ended, run)["rank"] in {2, 3}
    assert (run / "checkpoints/latest").read_text() == "step_00000005"


@pytest.mark.parametrize(
    ("name", "fault", "told"),
    [
        ("an exception on one rank", "2:exception:7", "RuntimeError: the tubes of the sixth stage are cold"),
        ("one rank out of memory", "1:memory:7", "out of memory ("),
    ],
)
def test_an_error_of_one_rank_ends_all(name: str, fault: str, told: str, faults: Faults) -> None:
    moment = faults.folder / f"moment{fault[0]}"
    run, process = faults.start(name, FAULT=fault, FAULT_AT=str(moment))
    faults.wait_for(process, moment.exists)
    ended = faults.end(name, process)
    failure = failure_told(ended, run)
    rank = int(fault[0])
    assert (failure["rank"], failure["host"]) == (rank, faults.hosts.names[rank // 2])
    assert failure["reason"].startswith(told)
    [place] = ended.lines("each rank's log: ")
    assert str(run / "logs") in place
    log = (run / f"logs/rank{rank:05d}.log").read_text()
    assert failure["reason"] in log and "Traceback (most recent call last)" in log


def test_a_damaged_sample_past_the_limit_ends_all_and_names_the_rank_that_met_it(faults: Faults) -> None:
    name = "a damaged sample on one rank"
    [tar, *_] = sorted((faults.folder / "shards/train").glob("*.tar"))
    whole = tar.read_bytes()
    tar.write_bytes(whole[:600] + bytes(b ^ 0xFF for b in whole[600:-2000]) + whole[-2000:])
    try:
        run, process = faults.start(name, FAULT="-1:none:0")
        faults.wait_for(process, lambda: (run / "failure.json").exists())
        failure = failure_told(faults.end(name, process), run)
    finally:
        tar.write_bytes(whole)
    assert failure["exit_code"] == 3 and "more than nowcast.data.max_bad_samples=0" in failure["reason"]


LAUNCHERS: dict[str, tuple[int, int, str]] = {  # signal, host, what its command line holds
    "deepspeed killed": (signal.SIGKILL, 0, "bin/deepspeed"),
    "deepspeed interrupted": (signal.SIGINT, 0, "bin/deepspeed"),
    "deepspeed terminated": (signal.SIGTERM, 0, "bin/deepspeed"),
    "pdsh killed": (signal.SIGKILL, 0, "pdsh -S"),
    "the launcher of a host killed": (signal.SIGKILL, 1, "-m deepspeed.launcher.launch"),
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_no_orphan_is_left_where_a_launcher_goes(name: str, faults: Faults) -> None:
    number, host, command = LAUNCHERS[name]
    run, process = faults.start(name)
    made = max(losses_of(run))
    ended = faults.end(name, process, lambda: faults.hosts.kill(number, host, containing=command))
    saved = int((run / "checkpoints/latest").read_text().removeprefix("step_"))
    assert saved >= made, f"what was made by then is saved:\n{ended.output[-2000:]}"
    assert not (run / "failure.json").exists()
    assert ended.code != 0 or name == "pdsh killed", (
        "DeepSpeed's launcher takes a pdsh that was killed for one that is done"
    )


@pytest.mark.parametrize(("seconds", "saved"), [("12", True), ("45", False)])
def test_deepspeed_s_launcher_leaves_30_seconds_to_save(seconds: str, saved: bool, faults: Faults) -> None:
    name = f"the launcher of a host terminated in a save of {seconds} s"
    run, process = faults.start(name, FAULT="3:save:10", FAULT_S=seconds)
    faults.wait_for(process, (run / "saving").exists)
    ended = faults.end(
        name, process, lambda: faults.hosts.kill(signal.SIGTERM, 1, containing="-m deepspeed.launcher.launch")
    )
    assert ended.code != 0
    assert (run / "checkpoints/latest").read_text() == ("step_00000010" if saved else "step_00000005")
    if not saved:
        assert failure_told(ended, run)["rank"] == 2, (
            "the first that the launcher kills; it waits for the save of rank 3"
        )


def test_the_same_command_goes_on_bit_for_bit(faults: Faults) -> None:
    alone, (name, first) = faults.folder / "alone", next(iter(faults.hurt.items()))
    ended = faults.hosts.launch("ds_nowcast.train", *faults.arguments, "--run", first)
    assert ended.code == 0 and ended.lines("resuming at step"), ended.output[-3000:]
    file = faults.folder / "trainings.json"
    file.write_text(json.dumps({str(run): faults.arguments for run in (alone, *faults.hurt.values())}))
    ended = faults.hosts.launch("tests.ds_nowcast.trainings_case", file, timeout=400)
    assert ended.code == 0, ended.output[-3000:]
    assert len(losses_of(alone)) == STEPS
    for name, run in faults.hurt.items():
        assert losses_of(run) == losses_of(alone), name
        assert (run / "last.safetensors").read_bytes() == (alone / "last.safetensors").read_bytes(), name
        assert not (run / "failure.json").exists(), name
