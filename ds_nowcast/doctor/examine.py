"""The rounds of questions that go to all hosts at once; each host's answers in one place."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ds_nowcast.doctor.hostfile import Host
from ds_nowcast.doctor.ports import REACH_S
from ds_nowcast.doctor.protocol import Clock, Devices, Digest, Folder, Hello, Listening, Outcomes, Way, Wrong
from ds_nowcast.doctor.remote import PROBE, Session, over_ssh
from ds_nowcast.doctor.tokens import PREFIX
from ds_nowcast.doctor.trouble import Target

HELLO_S, LOOK_S, DISK_S, PORT_S = 30.0, 60.0, 20.0, 10.0
_STARTING_AT_ONCE = 64


@dataclass(frozen=True)
class Job:
    """The launch that is asked about."""

    hosts: Sequence[Host]
    hostfile: str
    local: bool  # all hosts are names of this machine: no ssh
    folder: str = field(default_factory=lambda: str(Path.cwd()))
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)  # that the launcher gives ranks
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


def examine(job: Job) -> Examined:
    """Asks all hosts all there is to ask; takes a few seconds, and bounded time whatever hosts do."""
    return asyncio.run(_examine(job))


async def _examine(job: Job) -> Examined:
    seen = [Seen(host) for host in job.hosts]
    async with _sessions(job) as sessions:
        pairs = list(zip(seen, sessions, strict=True))
        starting = asyncio.Semaphore(_STARTING_AT_ONCE)
        await _all(_meet(job, one, session, starting) for one, session in pairs)
        master = job.master_addr or master_address(job, seen)
        there = [(one, session) for one, session in pairs if one.answers]
        await _all(_look(job, one, session, first=one is seen[0], master=master) for one, session in there)
        if seen[0].answers and len(seen) > 1:
            await _reach_each_other(job.master_port, master, there)
            await _share(there)
        elif seen[0].answers:
            seen[0].port = await sessions[0].ask(Listening, "listen", PORT_S, port=job.master_port, word="")
    return Examined(seen, master)


@asynccontextmanager
async def _sessions(job: Job) -> AsyncIterator[list[Session]]:
    """One per host, all of them ended whatever happens."""
    sessions = []
    for host in job.hosts:
        target = Target(host.name, job.folder, job.python, ssh=not job.local)
        local = [job.python, *PROBE]
        sessions.append(Session(target, local if job.local else over_ssh(target, job.environment, job.ssh_port)))
    try:
        yield sessions
    finally:
        await _all(session.close() for session in sessions)


async def _all(work: Any) -> None:
    tasks: list[Coroutine[Any, Any, None]] = list(work)
    await asyncio.gather(*tasks)


async def _meet(job: Job, one: Seen, session: Session, starting: asyncio.Semaphore) -> None:
    async with starting:
        await session.start()
        one.hello = await session.ask(Hello, "hello", HELLO_S, first=job.hosts[0].name)
    began, before = time.monotonic(), time.time()
    clock = await session.ask(Clock, "clock", PORT_S)
    if isinstance(clock, Clock):
        half = (time.monotonic() - began) / 2
        one.skew = Skew(clock.now - before - half, half)


async def _look(job: Job, one: Seen, session: Session, *, first: bool, master: str) -> None:
    """What a host can tell alone."""
    one.way = await session.ask(Way, "way", PORT_S, master=master)
    one.hostfile = await session.ask(Digest, "file", DISK_S, path=job.hostfile)
    one.devices = await session.ask(Devices, "devices", LOOK_S)
    settings = {"config": job.config, "overrides": list(job.overrides)}
    if job.config is not None:
        one.config = await session.ask(Digest, "config", LOOK_S, path=job.config, overrides=settings["overrides"])
    if job.shards is not None:
        one.shards = await session.ask(Digest, "shards", LOOK_S, location=job.shards, **settings)
    if job.run is not None:
        one.folder = await session.ask(Folder, "folder", DISK_S, path=job.run)
    if first and isinstance(one.config, Digest) and isinstance(one.shards, Digest):
        given = {"location": job.shards, "run": job.run, "world": job.world}
        one.fit = await session.ask(Digest, "fit", LOOK_S, **given, **settings)


def master_address(job: Job, seen: Sequence[Seen]) -> str:
    """The first host's address: the one that its name means to the others, if it has it, else its first."""
    first = seen[0].hello
    if job.local or not isinstance(first, Hello):
        return "127.0.0.1" if job.local else job.hosts[0].name
    meanings = [meant for one in [*seen[1:], seen[0]] if isinstance(one.hello, Hello) for meant in one.hello.first]
    return next((meant for meant in meanings if meant in first.addresses), (first.addresses or [job.hosts[0].name])[0])


async def _reach_each_other(port: int, master: str, pairs: Sequence[tuple[Seen, Session]]) -> None:
    """The others reach the first host's port; it reaches a port of each of them, as collectives need."""
    word = secrets.token_hex(8)

    async def listen(one: Seen, session: Session, number: int) -> None:
        one.port = await session.ask(Listening, "listen", PORT_S, port=0 if number else port, word=f"{word}{number}")

    async def try_master(one: Seen, session: Session) -> None:
        target = {"address": master, "port": port, "word": f"{word}0"}
        one.reaches = _outcomes(await session.ask(Outcomes, "reach", PORT_S, targets=[target]), 1)[0]

    await _all(listen(*pair, number) for number, pair in enumerate(pairs))
    if isinstance(pairs[0][0].port, Listening):
        await _all(try_master(*pair) for pair in pairs)
    others = [
        (one, {"address": one.way.address, "port": one.port.port, "word": f"{word}{number}"})
        for number, (one, _) in enumerate(pairs)
        if number and isinstance(one.way, Way) and one.way.address and isinstance(one.port, Listening)
    ]
    targets = [target for _, target in others]
    answer = await pairs[0][1].ask(Outcomes, "reach", PORT_S + REACH_S * len(targets) / 16, targets=targets)
    for (one, _), outcome in zip(others, _outcomes(answer, len(others)), strict=True):
        one.reached = outcome


async def _share(pairs: Sequence[tuple[Seen, Session]]) -> None:
    """Each host leaves a file in the first one's folder; the first must see all, each other one the first's."""
    place = pairs[0][0].folder
    if not isinstance(place, Folder):
        return
    name = f"{PREFIX}{secrets.token_hex(8)}"

    async def leave(one: Seen, session: Session, number: int) -> None:
        left = await session.ask(Outcomes, "leave", DISK_S, place=place.place, name=f"{name}.{number}")
        one.shared = _outcomes(left, 1)[0]

    async def see(one: Seen, session: Session) -> None:
        names = [f"{name}.{n}" for n, (o, _) in enumerate(pairs) if o is not one and o.shared == ""]
        seen = await session.ask(Outcomes, "see", DISK_S, place=place.place, names=names[:1] if one is not first else names)
        unseen.append((one, [text for text in _outcomes(seen, len(names)) if text]))

    first, unseen = pairs[0][0], list[tuple[Seen, list[str]]]()
    await _all(leave(*pair, number) for number, pair in enumerate(pairs))
    await _all(see(*pair) for pair in pairs)
    await _all(_removed(session) for _, session in pairs)
    _note_unseen(first, unseen, [one for one, _ in pairs])


async def _removed(session: Session) -> None:
    await session.ask(Outcomes, "remove", DISK_S)


def _note_unseen(first: Seen, unseen: Sequence[tuple[Seen, list[str]]], all_of_them: Sequence[Seen]) -> None:
    for one, names in unseen:
        for name in names:
            other = all_of_them[int(name.rpartition(".")[2])] if name.startswith(PREFIX) else one
            blamed = other if one is first else one
            blamed.shared = blamed.shared or f"{one.host.name} does not see what {other.host.name} wrote"


def _outcomes(answer: Outcomes | Wrong, number: int) -> list[str]:
    return [answer.reason] * number if isinstance(answer, Wrong) else answer.reasons
