"""Real `deepspeed` launches on this machine for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Ended:
    """How a launch ended."""

    code: int
    output: str  # stdout and stderr of all ranks, mixed

    def lines(self, containing: str) -> list[str]:
        """The lines of the output that contain a text."""
        return [line for line in self.output.splitlines() if containing in line]


def start(
    module: str, *args: Any, ranks: int = 2, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """`deepspeed --hostfile ... --module module args`, its output in a file that `wait` reads."""
    handle, name = tempfile.mkstemp(prefix="hostfile-")
    os.write(handle, f"localhost slots={ranks}\n".encode())
    os.close(handle)
    command = [
        str(Path(sys.executable).parent / "deepspeed"), "--hostfile", name, "--no_ssh_check", "--master_addr", "127.0.0.1",
        "--master_port", str(free_port()), "--module", module, *map(str, args),
    ]  # fmt: skip
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT), **(env or {})}
    log_handle, log = tempfile.mkstemp(prefix="launch-", suffix=".log")
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=log_handle,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    os.close(log_handle)
    process.log = log  # type: ignore[attr-defined]
    process.hostfile = name  # type: ignore[attr-defined]
    return process


def output_of(process: subprocess.Popen[str]) -> str:
    """What a launch has printed so far."""
    return Path(process.log).read_text(errors="replace")  # type: ignore[attr-defined]


def wait(process: subprocess.Popen[str], timeout: float = 150) -> Ended:
    """The launch's end; past the time all of its processes are killed and the test fails with the output."""
    try:
        process.wait(timeout)
        return Ended(process.returncode, output_of(process))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise AssertionError(f"the launch did not end within {timeout} s:\n{output_of(process)[-4000:]}") from None
    finally:
        Path(process.log).unlink()  # type: ignore[attr-defined]
        Path(process.hostfile).unlink()  # type: ignore[attr-defined]


def launch(module: str, *args: Any, ranks: int = 2, timeout: float = 150, **kwargs: Any) -> Ended:
    """Starts and waits."""
    return wait(start(module, *args, ranks=ranks, **kwargs), timeout)
