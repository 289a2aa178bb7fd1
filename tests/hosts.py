"""Several hosts on one machine for tests: each with a network, a name, processes and mounts of its own, and an sshd.

    with Hosts(2, slots=1) as hosts:
        ended = hosts.launch("ds_nowcast.train", "--deepspeed_config", ...)  # deepspeed over pdsh and ssh, from host 0
        assert not hosts.processes()

Hosts are numbered from 0, as DeepSpeed's --node_rank is. Each is a set of namespaces, and so is the switch between them.
`/etc/hosts` is what Debian's installer writes: a host's own name is 127.0.1.1 to itself.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.launching import ON_ALL_RANKS, ROOT, VENV, Ended, Started, deepspeed, until, wait
from tests.namespaces import OF_HOST, Namespaces, found

PREFIX = "nowcast-hosts-"  # of the temporary folders, before the process id of their owner
PORT = 29500  # DeepSpeed's own; every Hosts has a network of its own
_SSHD = (
    "UseDNS=no", "StrictModes=no", "PermitRootLogin=yes", "PasswordAuthentication=no", "UsePAM=no", "PrintMotd=no",
)  # fmt: skip
_SSH = """\
BatchMode yes
ConnectTimeout 10
IdentityFile {folder}/key
LogLevel ERROR
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
"""


class Inside(Started):
    """A command that runs on a host; `tests.launching.wait` waits for it."""

    def __init__(self, hosts: Hosts, command: Sequence[str], env: dict[str, str]) -> None:
        self._hosts = hosts
        super().__init__(command, cwd=ROOT, env=env)

    def send_signal(self, sig: int) -> None:
        """To the command itself rather than to nsenter, which would pass nothing on."""
        of_command = until(lambda: self.poll() is not None or psutil.Process(self.pid).children(), 10, "the command")
        for process in of_command if isinstance(of_command, list) else ():
            process.send_signal(sig)

    def kill_all(self) -> None:
        """Ends all that was started on all hosts."""
        self._hosts.kill(signal.SIGKILL)
        self.kill()


class Hosts:
    """Hosts n1, n2, ... at 10.77.0.1, 10.77.0.2, ... on one network; this machine's cores are shared out to them."""

    def __init__(self, number: int, *, slots: int = 1) -> None:
        """slots: ranks a host, unless a launch says otherwise. Must be made in a thread that lasts, such as the main one."""
        _remove_what_the_dead_left()
        self.names = [f"n{i + 1}" for i in range(number)]
        self.addresses = [f"10.77.0.{i + 1}" for i in range(number)]
        self.slots, self.folder = slots, Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._started: list[Inside] = []
        self._switch, self._hosts = Namespaces("net"), list[Namespaces]()
        atexit.register(self.close)
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        self._own = {process.pid for host in self._hosts for process in host.processes()}

    def _build(self) -> None:
        """The switch, then host by host."""
        self._switch.ip("link add br0 type bridge", "link set br0 up")
        self._make_ssh()
        number, cores = len(self.names), sorted(os.sched_getaffinity(0))
        for host in range(number):
            self._hosts.append(Namespaces(*OF_HOST, cores=cores[host::number] or [cores[host % len(cores)]]))
            self._boot(host)
        until(lambda: all((self.folder / f"{name}.pid").exists() for name in self.names), 20, "an sshd on each host")

    def _make_ssh(self) -> None:
        """Keys, and an `ssh` that uses them."""
        for name in ("key", *self.names):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)
        (self.folder / "config").write_text(_SSH.format(folder=self.folder))
        wrapper = self.folder / "bin/ssh"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec {found("ssh")} -F {self.folder}/config "$@"\n')
        wrapper.chmod(0o755)
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on it

    def _boot(self, host: int) -> None:
        """Network, name, names of the others, sshd."""
        inside, name = self._hosts[host], self.names[host]
        self._switch.ip(
            f"link add {name} type veth peer name eth0 netns {inside.pid}", f"link set {name} master br0 up"
        )
        inside.ip("link set lo up", f"addr add {self.addresses[host]}/24 dev eth0", "link set eth0 up")
        known = [f"127.0.0.1 localhost\n127.0.1.1 {name}\n"]
        known += [f"{a} {n}\n" for n, a in zip(self.names, self.addresses, strict=True) if n != name]
        (self.folder / f"{name}.hosts").write_text("".join(known))
        inside.run("hostname", name)
        inside.run("mount", "--bind", self.folder / f"{name}.hosts", "/etc/hosts")
        inside.run("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
        own = (
            f"HostKey={self.folder / name}",
            f"AuthorizedKeysFile={self.folder}/key.pub",
            f"PidFile={self.folder}/{name}.pid",
        )
        options = [word for option in (*_SSHD, *own) for word in ("-o", option)]
        inside.run(found("sshd"), "-f", "/dev/null", "-E", self.folder / f"{name}.sshd.log", *options)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all that runs on the hosts, and them."""
        for namespaces in (*self._hosts, self._switch):
            namespaces.close()
        for process in self._started:
            process.wait()
            process.tidy()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def environment(self, **more: str) -> dict[str, str]:
        """Of a user's shell on a host."""
        return {
            **os.environ,
            "PATH": f"{self.folder}/bin:{VENV}/bin:{os.environ['PATH']}:/usr/sbin",
            "PYTHONPATH": str(ROOT),
            **ON_ALL_RANKS,
            "PDSH_SSH_ARGS_APPEND": "-o ServerAliveInterval=5 -o ServerAliveCountMax=3",
            **more,
        }

    def hostfile(self, *, slots: int | None = None, named: bool = False) -> Path:
        """A hostfile of all hosts. named: by their names instead of addresses."""
        path = Path(tempfile.mkdtemp(dir=self.folder)) / "hostfile"
        hosts = self.names if named else self.addresses
        path.write_text("".join(f"{host} slots={self.slots if slots is None else slots}\n" for host in hosts))
        return path

    def workplace(self, **env: str) -> Path:
        """A folder to launch from; DeepSpeed takes the variables to all hosts."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        lines = [f"{name}={value}\n" for name, value in {**ON_ALL_RANKS, **env}.items()]
        (folder / ".deepspeed_env").write_text("".join(lines))
        return folder

    def popen(
        self, host: int, command: Sequence[Any], *, cwd: Path = ROOT, env: dict[str, str] | None = None
    ) -> Inside:
        """Starts a command on a host; `wait` and `output_of` of tests.launching know what it returns."""
        process = Inside(self, self._hosts[host].entering(command, cwd), self.environment(**(env or {})))
        self._started.append(process)
        return process

    def command(
        self,
        host: int,
        command: Sequence[Any],
        *,
        cwd: Path = ROOT,
        env: dict[str, str] | None = None,
        timeout: float = 150,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host to its end."""
        return subprocess.run(
            self._hosts[host].entering(command, cwd), env=self.environment(**(env or {})),
            capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    def deepspeed(
        self,
        module: str,
        *args: Any,
        options: Sequence[Any] = (),
        slots: int | None = None,
        master_addr: str | None = None,
    ) -> list[str]:
        """The command line of a launch on all hosts. options: the launcher's; slots: of each host, if not those of `Hosts`."""
        master = master_addr or self.addresses[0]
        return deepspeed(self.hostfile(slots=slots), master, PORT, *options, module=module, args=args)

    def start(
        self, module: str, *args: Any, launcher: str = "pdsh", env: dict[str, str] | None = None, **more: Any
    ) -> Inside:
        """The user's command on host 0: `deepspeed --hostfile ... --module module args`. env: on all hosts; more: see `deepspeed`."""
        options = ("--launcher", launcher, "--force_multi")
        command = self.deepspeed(module, *args, options=options, **more)
        return self.popen(0, command, cwd=self.workplace(**(env or {})), env=env)

    def start_each(self, module: str, *args: Any, env: dict[str, str] | None = None, **more: Any) -> list[Inside]:
        """The same without ssh: a launcher on each host."""
        ranks = range(len(self.names))
        lines = [self.deepspeed(module, *args, options=("--no_ssh", "--node_rank", i), **more) for i in ranks]
        return [self.popen(host, line, env=env) for host, line in enumerate(lines)]

    def launch(self, module: str, *args: Any, timeout: float = 150, **kwargs: Any) -> Ended:
        """Starts and waits."""
        return wait(self.start(module, *args, **kwargs), timeout)

    def processes(self, host: int | None = None, *, containing: str = "") -> list[psutil.Process]:
        """What was started on a host, or on all, and still runs. containing: a text of the command line."""
        alive = []
        for inside in self._hosts if host is None else [self._hosts[host]]:
            for process in inside.processes():
                with suppress(psutil.Error):
                    if process.pid not in self._own and containing in " ".join(process.cmdline()):
                        alive.append(process)
        return alive

    def kill(self, number: int, host: int | None = None, *, containing: str = "") -> int:
        """Sends a signal to those; returns to how many."""
        meant = self.processes(host, containing=containing)
        for process in meant:
            with suppress(psutil.Error):
                process.send_signal(number)
        return len(meant)

    def cut(self, host: int) -> None:
        """Pulls a host's cable out."""
        self._switch.ip(f"link set {self.names[host]} down")

    def mend(self, host: int) -> None:
        """Puts it in again."""
        self._switch.ip(f"link set {self.names[host]} up")

    def private(self, host: int, folder: Path, *, content: Path | None = None) -> Path:
        """Gives a host its own, empty folder in a folder's place, or that of `content`; returns where we see it."""
        what = ("-t", "tmpfs", "tmpfs") if content is None else ("--bind", content)
        self._hosts[host].run("mount", *what, folder)
        return Path(f"/proc/{self._hosts[host].pid}/root{folder}")


def _remove_what_the_dead_left() -> None:
    """Folders; the kernel has seen to the rest."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).split("-")[0]
        if not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
