"""Linux namespaces that one process of ours holds, for the hosts of `tests/hosts.py`.

They have no name outside: runs beside each other cannot meet, and when we die, by whatever signal, the kernel ends the
holder and, with it, all that runs within.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.launching import ROOT, until

OF_HOST = ("net", "uts", "ipc", "mount", "pid")
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child")
_HOLDER = ("env", "--ignore-signal=CHLD", "sleep", "infinity")  # as a host's process 1 it leaves no zombies
_TOOLS = {
    "ip": "iproute2", "pdsh": "pdsh", "sshd": "openssh-server", "ssh": "openssh-client", "mount": "mount",
    "hostname": "hostname", "nsenter": "util-linux", "unshare": "util-linux", "setpriv": "util-linux",
    "taskset": "util-linux",
}  # fmt: skip
_TRIED = "ip link add bridge type bridge && ip link add one type veth peer name other"


def missing() -> list[str]:
    """What this machine lacks for hosts, in sentences; none where it has all."""
    lacking = [f"{tool} is not there, of the package {_TOOLS[tool]}" for tool in _TOOLS if not found(tool)]
    if os.geteuid() != 0:
        lacking.append("it takes root to make hosts")
    if lacking:
        return lacking
    namespaces = [f"--{kind}" for kind in OF_HOST]
    tried = subprocess.run(
        [*_ENDS_WITH_US, *namespaces, "--mount-proc", "sh", "-c", _TRIED], capture_output=True, text=True
    )
    return [f"this machine lets us have no hosts ({tried.stderr.strip()})"] if tried.returncode else []


def found(tool: str) -> str | None:
    """Where a program lies."""
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Namespaces:
    """Namespaces that last as long as the thread that made them, or until `close`; then all within is killed."""

    def __init__(self, *kinds: str, cores: Iterable[int] = ()) -> None:
        """kinds: as `unshare` names them. cores: which ones all within may use; none: as it is for us."""
        flags = [f"--{kind}" for kind in kinds] + (["--mount-proc"] if "pid" in kinds else [])
        self._kinds = [f"--{kind}" for kind in kinds]
        self._cores = ",".join(map(str, cores))
        self._keeper = subprocess.Popen(
            [*_ENDS_WITH_US, *flags, *_HOLDER], start_new_session=True, stderr=subprocess.DEVNULL
        )
        self.pid = int(until(self._holder, 10, "a namespace") or 0)

    def _holder(self) -> int | None:
        """The process in them that holds them, once it is all set up."""
        with suppress(psutil.Error):
            for child in psutil.Process(self._keeper.pid).children():
                if child.cmdline() == list(_HOLDER[-2:]):
                    return int(child.pid)
        return None

    def entering(self, command: Sequence[Any], cwd: Path = ROOT) -> list[str]:
        """A command line that runs another one within."""
        limits = ["taskset", "--cpu-list", self._cores] if self._cores else []
        inside = ["nsenter", "--target", self.pid, *self._kinds, "--", *limits, "env", f"--chdir={cwd}", *command]
        return [str(word) for word in inside]

    def run(self, *command: Any, given: str | None = None) -> str:
        """Runs a command of the harness itself within; its output. given: its input."""
        ended = subprocess.run(self.entering(command), capture_output=True, text=True, input=given)
        assert ended.returncode == 0, f"{shlex.join(map(str, command))}: {ended.stderr}"
        return ended.stdout

    def ip(self, *lines: str) -> None:
        """Commands of `ip`."""
        self.run("ip", "-batch", "-", given="\n".join(lines) + "\n")

    def processes(self) -> list[psutil.Process]:
        """All that run within, as they are known outside."""
        mine, within = self._namespace_of(self.pid), []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if self._namespace_of(process.pid) == mine and process.status() != psutil.STATUS_ZOMBIE:
                    within.append(process)
        return within

    def _namespace_of(self, process: int) -> int:
        """The last of those kinds: of a host's the one that its processes cannot leave."""
        return os.stat(f"/proc/{process}/ns/{self._kinds[-1].lstrip('-')}").st_ino

    def close(self) -> None:
        """Ends all within; returns when it has ended."""
        if self._keeper.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._keeper.wait(30)
