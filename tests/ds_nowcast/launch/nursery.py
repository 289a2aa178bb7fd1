"""Ranks for the tests of this folder, real processes at a hundredth of the price: forked where torch is imported already.

Run as a process, which reads one line of JSON per launch. It forks a launcher, which forks the ranks and waits for them;
what a launch leaves behind when its launcher is killed comes back here.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from ds_nowcast.launch import beats, ending, watchdog
from tests.ds_nowcast.launch import cases

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Serves until its input ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    homes: dict[int, Path] = {}  # of launchers that run
    print("ready", flush=True)
    while True:
        if select.select([0], [], [], 0.02)[0]:
            line = os.read(0, 65536)
            if not line:
                return
            asked = json.loads(line)
            pid = os.fork()
            if pid == 0:
                launcher(asked)
            homes[pid] = Path(asked["folder"])
        with suppress(ChildProcessError):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                note_end(homes.get(pid) or next(f for f in homes.values() if (f / f"{pid}.rank").exists()), pid, status)


def note_end(folder: Path, pid: int, status: int) -> None:
    """For the test to see."""
    (folder / f"{pid}.part").write_text(str(os.waitstatus_to_exitcode(status)))
    (folder / f"{pid}.part").rename(folder / f"{pid}.ended")


def print_to(path: Path) -> None:
    """From now on."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)


def launcher(asked: dict[str, Any]) -> NoReturn:
    """Starts the ranks, all on one screen, and notes how they end."""
    folder = Path(asked["folder"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    print_to(folder / "screen")
    pids = []
    for number in range(asked["world"]):
        reading, writing = os.pipe()  # a rank begins when its name is known
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            os.read(reading, 1)
            rank(number, asked, folder)
        (folder / f"{pid}.rank").write_text(str(number))
        pids.append(pid)
        os.close(reading)
        os.close(writing)
    (folder / "pids.part").write_text(json.dumps(pids))
    (folder / "pids.part").rename(folder / "pids")
    while True:
        try:
            note_end(folder, *os.wait())
        except ChildProcessError:
            os._exit(0)


def rank(number: int, asked: dict[str, Any], folder: Path) -> NoReturn:
    """One rank of a launch: its case, with shorter times."""
    os.environ.update(
        RANK=str(number), WORLD_SIZE=str(asked["world"]), LOCAL_RANK=str(number), LOCAL_SIZE=str(asked["world"]),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(asked["port"]), DS_ACCELERATOR="cpu", TMPDIR=str(folder),
    )  # fmt: skip
    os.environ.update(asked["env"])
    tempfile.tempdir = None
    if "OWN_FILES" in os.environ:  # of what the launcher leads each rank's output into
        print_to(folder / f"stdout.{number}")
    watchdog._EVERY_S, watchdog._HEARD_S = 0.1, 1.0
    ending._WRITING_S = float(os.environ.get("WRITING", ending._WRITING_S))
    beats.SUSPICIOUS_S = watchdog.SUSPICIOUS_S = cases.SUSPICIOUS_S
    beats.AGREE_S = watchdog.AGREE_S = float(os.environ.get("AGREE", cases.AGREE_S))
    if os.environ.get("LATE") == str(number):
        cases.wait_for(folder / "come")
    case = getattr(cases, asked["case"])
    code = ending.ends_as_a_rank(lambda launch: int(case(launch, folder) or 0))
    sys.stdout.flush()
    os._exit(code)  # taking torch down in a forked process takes seconds


if __name__ == "__main__":
    main()
