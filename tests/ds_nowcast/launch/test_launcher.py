"""Whether a launcher is still there: chains of real processes that look like DeepSpeed's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.ds_nowcast.launch.conftest import until
from tests.launching import ROOT

# Each process starts the next and waits for it; the last one is a rank, which answers when it is asked.
LINK = (
    "import json, os, subprocess, sys\n"
    "print(os.getpid(), flush=True)\n"
    "name, *rest = json.loads(os.environ['NAMES'])\n"
    "os.environ['NAMES'] = json.dumps(rest)\n"  # not an argument, which would look like a name
    "code = ['-c', os.environ['LAST']] if not rest else ['-S', '-c', os.environ['LINK']]\n"
    "subprocess.run([name[0], *code, *name[1:]], executable=os.environ['PYTHON'])\n"
)
RANK = (
    "import os, sys\n"
    "from ds_nowcast.launch.launcher import Launcher\n"
    "launcher = Launcher()\n"
    "print(os.getpid(), flush=True)\n"
    "for _ in sys.stdin: print('gone' if launcher.gone else 'there', flush=True)\n"
)
SLEEP = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()\n"
LAUNCH = ["python", "-u", "-m", "deepspeed.launcher.launch", "--world_info=e30=", "--master_port=29511"]
SHELL = ["bash", "-c", "cd /home/user; python -u -m deepspeed.launcher.launch --world_info=e30= --master_port=29511"]
PDSH = ["/usr/bin/pdsh", "-S", "-w", "n1,n2", *LAUNCH]


class Chain:
    """Processes, each the parent of the next."""

    def __init__(self, *names: list[str], last: str) -> None:
        """names: of each process below the first, argv[0] and what stands behind the code."""
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", LINK], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {
                "NAMES": json.dumps(names), "LINK": LINK, "LAST": last, "PYTHON": sys.executable, "PYTHONHOME": sys.base_prefix,
                "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            },
        )  # fmt: skip
        assert self._process.stdout is not None
        self.processes = [psutil.Process(int(self._process.stdout.readline())) for _ in range(len(names) + 1)]

    def kill(self, index: int) -> None:
        """And waits until it is seen that it has gone."""
        victim = self.processes[index]
        victim.send_signal(signal.SIGKILL)
        if victim is self.processes[-1]:
            until(lambda: not victim.is_running(), "the end of a process")
        else:
            until(lambda: self.processes[index + 1].ppid() != victim.pid, "the end of a process")

    @property
    def gone(self) -> bool:
        """What the rank says of its launcher."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {"gone\n": True, "there\n": False}[self._process.stdout.readline()]

    def end(self) -> None:
        for process in self.processes:
            if process.is_running():
                process.send_signal(signal.SIGKILL)
        with self._process:
            pass


@pytest.fixture
def chains() -> Iterator[list[Chain]]:
    """Those to be ended."""
    started: list[Chain] = []
    yield started
    for chain in started:
        chain.end()


RANK_NAME = [sys.executable]


@pytest.mark.parametrize(
    ("above", "deaths"),
    [
        # what the user started the launcher from may go
        ([["screen"], ["torchrun"]], {"screen": False, "torchrun": True}),
        ([["screen"], ["deepspeed"], LAUNCH], {"screen": False, "deepspeed": True}),
        ([["init"], ["sshd"], SHELL, LAUNCH], {"init": False, "sshd": True}),
        ([["sshd"], SHELL, LAUNCH], {"bash": True}),
        ([["sshd"], SHELL, LAUNCH], {"python": True}),
    ],
)
def test_of_what_started_a_rank_all_must_stay_that_belongs_to_the_launcher(
    chains: list[Chain], above: list[list[str]], deaths: dict[str, bool]
) -> None:
    chain = Chain(*above, RANK_NAME, last=RANK)
    chains.append(chain)
    assert not chain.gone
    for name, gone in deaths.items():
        chain.kill([words[0] for words in above].index(name) + 1)
        assert chain.gone is gone


@pytest.mark.parametrize("dies", ["pdsh", "what started pdsh"])
def test_pdsh_on_this_host_is_known_by_its_launch(chains: list[Chain], dies: str) -> None:
    another = [word.replace("29511", "29512") for word in PDSH]
    others = [(another, False), (["/usr/bin/rsync", *PDSH[1:]], False), (PDSH, True)]
    chains += [Chain(words, last=SLEEP) for words, _ in others]
    chain = Chain(["sshd"], SHELL, LAUNCH, RANK_NAME, last=RANK)
    chains.append(chain)
    assert not chain.gone
    for other, (_, gone) in zip(chains, others, strict=False):
        other.kill(1 if dies == "pdsh" else 0)
        assert chain.gone is gone
