"""The launching machine: what DeepSpeed's launcher needs here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ds_nowcast.doctor.env_file import EnvFile
from ds_nowcast.doctor.findings import Finding, Level
from ds_nowcast.doctor.job import Examined, Job
from ds_nowcast.doctor.protocol import Devices, Way

ALONE = "--no_ssh_check --master_addr 127.0.0.1"  # else DeepSpeed asks for ssh to this machine
KEEP_ALIVE = "export PDSH_SSH_ARGS_APPEND='-o ServerAliveInterval=5 -o ServerAliveCountMax=3'"


@dataclass(frozen=True)
class Here:
    """What matters of this machine and of the user's shell."""

    pdsh: str | None = None  # path
    keep_alive: bool = False  # whether ssh under pdsh notices that a host is gone
    env_files: Sequence[EnvFile] = ()
    accelerator: str = ""  # DS_ACCELERATOR
    python_path: str = ""  # PYTHONPATH
    settings: Mapping[str, str] = field(default_factory=dict)  # of the .deepspeed_env files

    @staticmethod
    def seen(job: Job, env_files: Sequence[EnvFile], settings: Mapping[str, str]) -> Here:
        """As it is now."""
        appended = os.environ.get("PDSH_SSH_ARGS_APPEND", "")
        alive = "serveraliveinterval" in appended.lower() or (not job.local and _configured(job.hosts[0].name))
        accelerator, path = (os.environ.get(name, "") for name in ("DS_ACCELERATOR", "PYTHONPATH"))
        return Here(shutil.which("pdsh"), alive, env_files, accelerator, path, settings)


def _configured(host: str) -> bool:
    """Whether ssh's own config keeps connections to a host alive."""
    try:
        told = subprocess.run(["ssh", "-G", "--", host], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(line.startswith("serveraliveinterval ") and not line.endswith(" 0") for line in told.splitlines())


def check_here(job: Job, here: Here, examined: Examined) -> list[Finding]:
    """Of a launch on other hosts; one on this machine needs none of it."""
    master = _found("master", Level.OK, f"{examined.master} port {job.master_port}")
    if job.local:
        return [_found("launch", Level.OK, f"this machine alone: without ssh, with {ALONE}"), master]
    names = [_mixed(job), master] if any(host.loopback for host in job.hosts) else [master]
    if job.launcher != "pdsh":
        return names
    return [*names, *_pdsh(here), _env_files(here), *_accelerator(here, examined)]


def _found(check: str, level: Level, shown: str, advice: str = "") -> Finding:
    return Finding(check, "", level, shown, advice)


def _mixed(job: Job) -> Finding:
    [name, *_] = [host.name for host in job.hosts if host.loopback]
    advice = f"{name} means another machine to every host; write the name or address by which the others know it"
    return _found("hostfile", Level.WARNING, f"has {name}", advice)


def _pdsh(here: Here) -> list[Finding]:
    if here.pdsh is None:
        advice = "DeepSpeed starts ranks on other hosts with pdsh; `apt install pdsh` (or the like), or use the --no_ssh lines below"
        return [_found("pdsh", Level.FAILURE, "not installed", advice)]
    found = [_found("pdsh", Level.OK, here.pdsh)]
    if here.keep_alive:
        return [*found, _found("keep-alive", Level.OK, "set")]
    advice = f"when a host is cut off, its ssh waits for it for ever and the launch does not end; `{KEEP_ALIVE}`"
    return [*found, _found("keep-alive", Level.WARNING, "not set", advice)]


def _env_files(here: Here) -> Finding:
    problems = [f"{file.path} {problem}" for file in here.env_files for problem in file.problems]
    if problems:
        return _found(
            ".deepspeed_env", Level.FAILURE, "breaks", f"{'; '.join(problems)}; mend it, or run this with --write-env"
        )
    names = ", ".join(here.settings)
    return _found(".deepspeed_env", Level.OK, names or "none, none needed")


def _accelerator(here: Here, examined: Examined) -> list[Finding]:
    """A choice that was made in this shell alone."""
    others = [
        one for one in examined.seen if isinstance(one.devices, Devices) and one.devices.forced != here.accelerator
    ]
    if not here.accelerator or not others:
        return []
    advice = (
        f"DS_ACCELERATOR={here.accelerator} is set in this shell and does not reach {others[0].host.name}; run this with --write-env, "
        "which puts it into .deepspeed_env"
    )
    return [_found("accelerator", Level.WARNING, here.accelerator, advice)]


def wanted(here: Here, examined: Examined) -> tuple[dict[str, str], str]:
    """What .deepspeed_env should hold, and what is to be said about interfaces."""
    settings = {"DS_ACCELERATOR": here.accelerator} if here.accelerator else {}
    ways = {one.host.name: one.way.name for one in examined.seen if isinstance(one.way, Way) and one.way.name}
    names = sorted(set(ways.values()))
    if len(ways) < len(examined.seen):
        return settings, "interfaces are left out: not all hosts told theirs"
    if len(names) > 1:
        listed = ", ".join(f"{host} {name}" for host, name in list(ways.items())[:8])
        return settings, (
            f"interfaces are left out: their names differ ({listed}). The trainer finds gloo's on each host by itself; for NCCL, put "
            "NCCL_SOCKET_IFNAME into /etc/environment of each, or use the lines for each host below"
        )
    return settings | {"GLOO_SOCKET_IFNAME": names[0], "NCCL_SOCKET_IFNAME": names[0]}, ""
