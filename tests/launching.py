"""Real `deepspeed` launches on this machine for tests; on several hosts, see `tests/hosts.py`."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

ROOT = Path(__file__).parent.parent
VENV = Path(sys.prefix).resolve()  # where the `deepspeed` script's python is, too, if .venv is a link
# DeepSpeed builds an extension at its first start, and again wherever another environment's paths were built in
EXTENSIONS = Path.home() / ".cache/torch_extensions" / f"nowcast-{hashlib.sha256(bytes(VENV)).hexdigest()[:8]}"
ON_ALL_RANKS = {"DS_ACCELERATOR": "cpu", "TORCH_EXTENSIONS_DIR": str(EXTENSIONS)}
T = TypeVar("T")


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], T], seconds: float, what: str = "what was waited for") -> T:
    """The condition's value once it is true; AssertionError past the time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {seconds} s")
        time.sleep(0.02)
    return value


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; nothing where it has ended since it was found, zombies included."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@dataclass(frozen=True)
class Ended:
    """How a launch ended."""

    code: int
    output: str  # stdout and stderr of all ranks, mixed

    def lines(self, containing: str) -> list[str]:
        """The lines of the output that contain a text."""
        return [line for line in self.output.splitlines() if containing in line]


class Started(subprocess.Popen[str]):
    """A launch under way in a session of its own, its output in a file that `wait` reads and removes."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: dict[str, str], hostfile: Path | None = None) -> None:
        """hostfile: one that nobody needs after the end; None: there is none, or it has another owner."""
        handle, log = tempfile.mkstemp(prefix="launch-", suffix=".log")
        self.log, self._hostfile = Path(log), hostfile
        super().__init__(
            command, cwd=cwd, env=env, stdout=handle, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        os.close(handle)

    def kill_all(self) -> None:
        """Ends all of its processes at once."""
        os.killpg(self.pid, signal.SIGKILL)

    def tidy(self) -> None:
        """Removes its files."""
        for path in filter(None, (self.log, self._hostfile)):
            path.unlink(missing_ok=True)


def deepspeed(hostfile: Path, address: str, port: int, *options: Any, module: str, args: Sequence[Any]) -> list[str]:
    """The user's command. options: further ones of the launcher."""
    command = [VENV / "bin/deepspeed", "--hostfile", hostfile, *options]
    return [
        str(word) for word in (*command, "--master_addr", address, "--master_port", port, "--module", module, *args)
    ]


def start(
    module: str, *args: Any, ranks: int = 2, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """`deepspeed --hostfile ... --module module args`, its output in a file that `wait` reads."""
    handle, name = tempfile.mkstemp(prefix="hostfile-")
    os.write(handle, f"localhost slots={ranks}\n".encode())
    os.close(handle)
    command = deepspeed(Path(name), "127.0.0.1", free_port(), "--no_ssh_check", module=module, args=args)
    environment = {**os.environ, **ON_ALL_RANKS, "PYTHONPATH": str(ROOT), **(env or {})}
    return Started(command, cwd=cwd, env=environment, hostfile=Path(name))


def output_of(process: subprocess.Popen[str]) -> str:
    """What a launch has printed so far."""
    assert isinstance(process, Started)
    return process.log.read_text(errors="replace")


def wait(process: subprocess.Popen[str], timeout: float = 150) -> Ended:
    """The launch's end; past the time all of its processes are killed and the test fails with the output."""
    assert isinstance(process, Started)
    try:
        process.wait(timeout)
        return Ended(process.returncode, output_of(process))
    except subprocess.TimeoutExpired:
        process.kill_all()
        process.wait()
        raise AssertionError(f"the launch did not end within {timeout} s:\n{output_of(process)[-4000:]}") from None
    finally:
        process.tidy()


def launch(module: str, *args: Any, ranks: int = 2, timeout: float = 150, **kwargs: Any) -> Ended:
    """Starts and waits."""
    return wait(start(module, *args, ranks=ranks, **kwargs), timeout)
