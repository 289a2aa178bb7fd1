"""Where a launch's ranks go: the first slots of a hostfile, or this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.errors import UserError
from data_prep.files import write_atomically, writing
from ds_nowcast.doctor.env_file import env_paths, read_env_files
from ds_nowcast.doctor.hostfile import Host, read_hostfile
from ds_nowcast.launch.interfaces import interface_to


def hosts_for(ranks: int, hostfile: Path | None) -> list[Host]:
    """Hosts and slots in the order of the file until so many ranks are reached. Raises UserError where there are too few."""
    if hostfile is None:
        return [Host("localhost", ranks)]
    hosts, left = [], ranks
    for host in read_hostfile(hostfile):
        if left:
            hosts.append(Host(host.name, min(host.slots, left)))
            left -= hosts[-1].slots
    if left:
        raise UserError(
            f"{hostfile} has {ranks - left} slots and {ranks} ranks were asked for; give at most {ranks - left} ranks, or more slots"
        )
    return hosts


def is_here(host: Host) -> bool:
    """Whether it is this machine, by whatever name: what is sent there would not leave it."""
    try:
        interface = interface_to(host.name)
    except OSError:
        return False
    here = host.loopback or (interface is not None and (interface.loopback or host.name == interface.address))
    return here or host.name == socket.gethostname()


def launcher_options(hosts: Sequence[Host], folder: Path) -> list[str]:
    """Options of the launcher for these hosts; its hostfile is written to the folder."""
    hostfile = folder / "hostfile"
    with writing(hostfile):
        write_atomically(hostfile, "".join(f"{host.name} slots={host.slots}\n" for host in hosts).encode())
    options = ["--hostfile", str(hostfile), "--master_port", str(_free_port())]
    if len(hosts) == 1 and is_here(hosts[0]):
        return [*options, "--no_ssh_check", "--master_addr", "127.0.0.1"]
    return [*options, "--force_multi", *_master_of(hosts[0])]


def _master_of(first: Host) -> list[str]:
    """The first host's address; where its name leads to loopback alone, the launcher asks that host itself."""
    try:
        address = socket.gethostbyname(first.name)
    except OSError:
        return []
    return [] if address.startswith("127.") else ["--master_addr", address]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def environment_for(settings: Mapping[str, str], folder: Path) -> dict[str, str]:
    """This process's variables and these; other hosts get them, and those of .deepspeed_env, by a file in the folder.

    Raises UserError.
    """
    environment = {**os.environ, **settings}
    if settings:
        told: dict[str, str] = {}
        for file in read_env_files(env_paths()):
            told |= file.values
        path = folder.absolute() / "deepspeed_env"
        with writing(path):
            write_atomically(path, "".join(f"{k}={v}\n" for k, v in (told | dict(settings)).items()).encode())
        environment["DS_ENV_FILE"] = str(path)
    return environment
