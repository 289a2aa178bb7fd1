"""A launch of ranks on this machine, and the memory and disk that each of its phases took, as the kernel counts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CONSTRUCTED, FORECAST = "constructed", "forecast"  # how lines of `benchmarks.forward_case` begin
PAUSE_S = 0.1  # between looks
LEFT = 2_000_000_000  # bytes of the machine's memory: with less the launch is ended, before the kernel chooses whom to kill
# What is freed goes back at once: what a process holds is then what torch holds
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}


@dataclass
class Phase:
    """What one phase of a launch took."""

    name: str
    seconds: float = 0.0
    peaks: dict[int, int] = field(default_factory=dict)  # by process: most resident bytes
    together: int = 0  # most bytes of all ranks at once; what they share is counted once
    disk: int = 0  # bytes of the watched folder at its end

    @property
    def peak(self) -> int:
        """Most resident bytes of a rank."""
        return max(self.peaks.values(), default=0)


def launch(module: str, args: Sequence[object], ranks: int, log: Path) -> subprocess.Popen[bytes]:
    """Starts `deepspeed --module module args` on this machine's CPUs; what it prints goes to `log`."""
    hostfile = log.with_suffix(".hostfile")
    hostfile.write_text(f"localhost slots={ranks}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    deepspeed = Path(sys.executable).parent / "deepspeed"
    command = [deepspeed, "--hostfile", hostfile, "--no_ssh_check", "--master_addr", "127.0.0.1", "--master_port", port]
    words = [str(word) for word in (*command, "--module", module, *args)]
    environment = {**os.environ, **MALLOC, "DS_ACCELERATOR": "cpu", "PYTHONPATH": os.getcwd()}
    with log.open("wb") as out:
        return subprocess.Popen(words, env=environment, stdout=out, stderr=subprocess.STDOUT)


def watch(started: subprocess.Popen[bytes], phase_of: Callable[[], str], folder: Path) -> list[Phase]:
    """Looks at a launch until it ends; its phases in order. phase_of: the present one's name; folder: whose size is told.

    Raises RuntimeError where the launch failed, or was ended because the machine's memory was running out.
    """
    phases: list[Phase] = []
    began = time.monotonic()
    while started.poll() is None:
        name = phase_of()
        if not phases or phases[-1].name != name:
            phases.append(Phase(name))
            began = time.monotonic()
            _begin_anew(started.pid)
        _look(phases[-1], started.pid)
        phases[-1].seconds, phases[-1].disk = time.monotonic() - began, size_of(folder)
        if psutil.virtual_memory().available < LEFT:
            started.terminate()
            started.wait()
            raise RuntimeError(f"ended in {name!r}: less than {LEFT / 1e9:.0f} GB of this machine's memory were left")
        time.sleep(PAUSE_S)
    if started.returncode:
        raise RuntimeError(f"the launch ended with {started.returncode} in {phases[-1].name!r}")
    return phases


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder, of those that are there still when looked at."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def scratch() -> Path:
    """A new folder for logs and shards."""
    return Path(tempfile.mkdtemp(prefix="nowcast-large-"))


def _ranks(launcher: int) -> list[int]:
    """The processes of the ranks."""
    found = []
    with suppress(psutil.Error):
        for process in psutil.Process(launcher).children(recursive=True):
            with suppress(psutil.Error):
                if any(word.startswith("--local_rank") for word in process.cmdline()):
                    found.append(process.pid)
    return found


def _begin_anew(launcher: int) -> None:
    """The kernel's high-water mark of each rank becomes what it holds now."""
    for pid in _ranks(launcher):
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def _look(phase: Phase, launcher: int) -> None:
    together = 0
    for pid in _ranks(launcher):
        with suppress(OSError):
            phase.peaks[pid] = max(phase.peaks.get(pid, 0), bytes_of(Path(f"/proc/{pid}/status").read_text(), "VmHWM"))
            together += bytes_of(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss")
    phase.together = max(phase.together, together)


def bytes_of(text: str, name: str) -> int:
    """Bytes of a line of /proc; 0 where a process has just ended and has none."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
