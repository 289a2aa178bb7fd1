"""The launch that is asked about, and what is known of its hosts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ds_nowcast.doctor.hostfile import Host
from ds_nowcast.doctor.protocol import Devices, Digest, Folder, Hello, Listening, Way, Wrong


@dataclass(frozen=True)
class Job:
    """The launch that is asked about."""

    hosts: Sequence[Host]
    hostfile: str
    local: bool  # all hosts are names of this machine: no ssh
    launcher: str = "pdsh"  # or no_ssh, torchrun, srun: what must be there follows from it
    folder: str = field(default_factory=lambda: str(Path.cwd()))
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)  # that the launcher gives ranks
    secrets: Mapping[str, str] = field(default_factory=dict)  # the part of it that must not be seen
    ssh_port: int | None = None
    master_addr: str | None = None
    master_port: int = 29500
    config: str | None = None
    overrides: Sequence[str] = ()
    shards: str | None = None
    run: str | None = None

    @property
    def world(self) -> int:
        """Ranks."""
        return sum(host.slots for host in self.hosts)


class Skew(NamedTuple):
    """A host's clock less ours, and by how much that may be wrong."""

    seconds: float
    uncertainty: float


@dataclass
class Seen:
    """What is known of a host; None where it was not asked."""

    host: Host
    hello: Hello | Wrong = field(default_factory=lambda: Wrong("not asked"))
    skew: Skew | None = None
    devices: Devices | Wrong | None = None
    hostfile: Digest | Wrong | None = None
    config: Digest | Wrong | None = None
    shards: Digest | Wrong | None = None
    fit: Digest | Wrong | None = None  # of the first host
    folder: Folder | Wrong | None = None
    way: Way | Wrong | None = None
    port: Listening | Wrong | None = None
    reaches: str | None = None  # the master's port: "" or why not; None where not tried
    reached: str | None = None  # from the master
    shared: str | None = None  # the run folder with the master, both ways

    @property
    def answers(self) -> bool:
        """Whether there is a probe on it."""
        return isinstance(self.hello, Hello)


@dataclass
class Examined:
    """All that is known."""

    seen: list[Seen]
    master: str  # the address at which ranks would meet
