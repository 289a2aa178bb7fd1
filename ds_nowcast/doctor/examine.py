"""The rounds of questions that go to all hosts at once; each host's answers in one place."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ds_nowcast.doctor.job import Examined, Job, Seen, Skew
from ds_nowcast.doctor.meeting import reach_each_other, share, together
from ds_nowcast.doctor.protocol import Clock, Devices, Digest, Folder, Hello, Listening, Way
from ds_nowcast.doctor.remote import PROBE, Session, over_ssh
from ds_nowcast.doctor.trouble import Target

HELLO_S, LOOK_S, DISK_S, PORT_S = 30.0, 60.0, 20.0, 10.0
TORCH_S = 180.0  # to import it from a cold disk, which a launch allows too
_STARTING_AT_ONCE = 64


def examine(job: Job) -> Examined:
    """Asks all hosts all there is to ask; takes a few seconds, and bounded time whatever hosts do."""
    _allow_files(8 * len(job.hosts) + 64)
    return asyncio.run(_examine(job))


def _allow_files(number: int) -> None:
    """Raises this process's limit of open files towards `number`: a host takes three pipes, and more while it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wished = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wished:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))


async def _examine(job: Job) -> Examined:
    seen = [Seen(host) for host in job.hosts]
    async with _sessions(job) as sessions:
        pairs = list(zip(seen, sessions, strict=True))
        starting = asyncio.Semaphore(_STARTING_AT_ONCE)
        await together(_meet(job, one, session, starting) for one, session in pairs)
        master = job.master_addr or master_address(job, seen)
        there = [(one, session) for one, session in pairs if one.answers]
        await together(_look(job, one, session, first=one is seen[0], master=master) for one, session in there)
        if seen[0].answers and len(seen) > 1:
            await reach_each_other(job.master_port, master, there)
            await share(there)
        elif seen[0].answers:
            seen[0].port = await sessions[0].ask(Listening, "listen", PORT_S, port=job.master_port, word="")
    lost = [Seen(one.host, hello=session.broken) if session.broken else one for one, session in pairs]
    return Examined(lost, master)


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
        await together(session.close() for session in sessions)


async def _meet(job: Job, one: Seen, session: Session, starting: asyncio.Semaphore) -> None:
    async with starting:
        await session.start()
        one.hello = await session.ask(Hello, "hello", HELLO_S, first=job.hosts[0].name, environment=dict(job.secrets))
    began, before = time.monotonic(), time.time()
    clock = await session.ask(Clock, "clock", PORT_S)
    if isinstance(clock, Clock):
        half = (time.monotonic() - began) / 2
        one.skew = Skew(clock.now - before - half, half)


async def _look(job: Job, one: Seen, session: Session, *, first: bool, master: str) -> None:
    """What a host can tell alone."""
    one.way = await session.ask(Way, "way", PORT_S, master=master)
    one.hostfile = await session.ask(Digest, "file", DISK_S, path=job.hostfile)
    one.devices = await session.ask(Devices, "devices", TORCH_S)
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
