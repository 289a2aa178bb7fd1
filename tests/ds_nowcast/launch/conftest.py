"""Launches of real ranks, forked by one process per test worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.launching import ROOT, free_port

DEADLINE_S = 60.0
StartRanks = Callable[..., "Started"]


def until(holds: Callable[[], object], what: str) -> None:
    """Waits for it."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


class Started:
    """A launch under way."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        until((folder / "pids").exists, "the ranks to start")
        self.pids: list[int] = json.loads((folder / "pids").read_text())

    def kill(self, rank: int, number: signal.Signals) -> None:
        """Sends one rank a signal."""
        os.kill(self.pids[rank], number)

    def kill_launcher(self) -> None:
        """At once."""
        launcher = int(Path(f"/proc/{self.pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(launcher, signal.SIGKILL)

    def runs(self, rank: int) -> bool:
        """Whether it has not ended."""
        return not (self.folder / f"{self.pids[rank]}.ended").exists()

    def until_all(self, name: str) -> None:
        """Waits for a file `NAME.rank` of every rank, see cases.tell."""
        for rank in range(len(self.pids)):
            until((self.folder / f"{name}.{rank}").exists, f"{name} of rank {rank}; {self.screen}")

    def code(self, rank: int) -> int:
        """The exit code, or minus the number of the signal that ended it; waits for the end."""
        until(lambda: not self.runs(rank), f"the end of rank {rank}; on the screen: {self.screen}")
        return int((self.folder / f"{self.pids[rank]}.ended").read_text())

    @property
    def codes(self) -> list[int]:
        """Of all ranks."""
        return [self.code(rank) for rank in range(len(self.pids))]

    @property
    def screen(self) -> str:
        """What is on the screen."""
        return (self.folder / "screen").read_text()

    @property
    def told(self) -> list[str]:
        """The lines on the screen."""
        return self.screen.splitlines()

    def go_on(self, name: str = "go") -> None:
        """What cases.wait_for waits for."""
        (self.folder / name).touch()


@pytest.fixture(scope="session")
def nursery() -> Iterator[subprocess.Popen[bytes]]:
    """The process that forks ranks."""
    command = [sys.executable, "-m", "tests.ds_nowcast.launch.nursery"]
    env = os.environ | {"RES_OPTIONS": "timeout:1"}  # torch's store asks the DNS, which may lose a packet
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.stdin.close()


@pytest.fixture
def start_ranks(nursery: subprocess.Popen[bytes], tmp_path: Path) -> Iterator[StartRanks]:
    """`start_ranks(case, world=2)`: each rank runs the function of that name in `cases`."""
    started: list[Started] = []

    def start(case: str, world: int = 2, port: int | None = None, **env: str) -> Started:
        folder = tmp_path / f"launch{len(started)}"
        folder.mkdir()
        port = port or free_port()
        asked = {"folder": str(folder), "case": case, "world": world, "port": port, "env": env}
        assert nursery.stdin is not None
        nursery.stdin.write(json.dumps(asked).encode())
        nursery.stdin.flush()
        started.append(Started(folder, port))
        return started[-1]

    yield start
    for launch in started:
        for rank, pid in enumerate(launch.pids):
            with suppress(ProcessLookupError):
                if launch.runs(rank):
                    os.kill(pid, signal.SIGKILL)
            launch.code(rank)
