"""A hostfile, read as DeepSpeed's launcher reads it: lines `name slots=N`, comments, blank lines."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import UserError

_LINE = re.compile(r"(\S+)\s+slots=(\d+)")  # what follows is ignored, as there
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:%@-]*")  # others mean something to ssh, pdsh or a shell


@dataclass(frozen=True)
class Host:
    """A line of the hostfile."""

    name: str
    slots: int  # ranks there

    @property
    def loopback(self) -> bool:
        """Whether the name means the machine it is said on."""
        try:
            return ipaddress.ip_address(self.name).is_loopback
        except ValueError:
            return self.name in ("localhost", "ip6-localhost", "localhost.localdomain")


def read_hostfile(path: Path) -> list[Host]:
    """The hosts of a file. Raises UserError."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UserError(
            f"hostfile {path} cannot be read ({error.strerror}); give a file with a line such as 'worker-0 slots=4' per host"
        ) from None
    except ValueError:
        raise UserError(
            f"hostfile {path} is not text; give a file with a line such as 'worker-0 slots=4' per host"
        ) from None
    return parse_hostfile(text, str(path))


def parse_hostfile(text: str, where: str) -> list[Host]:
    """The hosts in their order: ranks are given out in it, and the first one is the master. Raises UserError."""
    hosts: dict[str, Host] = {}
    for number, line in enumerate((raw.strip() for raw in text.split("\n")), 1):
        if not line or line.startswith("#"):
            continue
        host = _host(line, f"{where} line {number}")
        if host.name in hosts:
            raise UserError(
                f"{where} line {number} names {host.name} again; give each host one line with all its slots"
            )
        hosts[host.name] = host
    if not hosts:
        raise UserError(f"{where} names no host; give a line such as 'worker-0 slots=4' per host")
    return list(hosts.values())


def _host(line: str, where: str) -> Host:
    found = _LINE.match(line)
    if found is None:
        raise UserError(f"{where} is {line[:80]!r}; write NAME slots=N, such as 'worker-0 slots=4'")
    name, slots = found[1], int(found[2][:9])
    if not _NAME.fullmatch(name):
        raise UserError(f"{where}: {name[:80]!r} is not a host's name; give a name or an address")
    if slots < 1:
        raise UserError(f"{where} gives {name} no slots; give it 1 or more, or leave the line out")
    return Host(name, slots)
