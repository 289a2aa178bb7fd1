"""What hosts can only tell together: whether they reach each other, and whether they share the run folder's disk."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from ds_nowcast.doctor.job import Seen
from ds_nowcast.doctor.ports import REACH_S
from ds_nowcast.doctor.protocol import Folder, Listening, Outcomes, Way, Wrong
from ds_nowcast.doctor.remote import Session
from ds_nowcast.doctor.tokens import PREFIX

_PORT_S, _DISK_S = 10.0, 20.0
Pair = tuple[Seen, Session]


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Does all of it at once."""
    await asyncio.gather(*work)


async def reach_each_other(port: int, master: str, pairs: Sequence[Pair]) -> None:
    """All reach the first host's port at the master address; it reaches a port of each other, as collectives need."""
    word = secrets.token_hex(8)

    async def listen(one: Seen, session: Session, number: int) -> None:
        one.port = await session.ask(Listening, "listen", _PORT_S, port=0 if number else port, word=f"{word}{number}")

    async def try_master(one: Seen, session: Session) -> None:
        target = {"address": master, "port": port, "word": f"{word}0"}
        [one.reaches] = _outcomes(await session.ask(Outcomes, "reach", _PORT_S, targets=[target]), 1)

    await together(listen(*pair, number) for number, pair in enumerate(pairs))
    (first, of_first), *others = pairs
    if isinstance(first.port, Listening):
        await together(try_master(*pair) for pair in pairs)
    targets = [
        (one, {"address": one.way.address, "port": one.port.port, "word": f"{word}{number}"})
        for number, (one, _) in enumerate(others, 1)
        if isinstance(one.way, Way) and one.way.address and isinstance(one.port, Listening)
    ]
    limit = _PORT_S + REACH_S * len(targets) / 16  # it tries many at once
    answer = await of_first.ask(Outcomes, "reach", limit, targets=[target for _, target in targets])
    for (one, _), outcome in zip(targets, _outcomes(answer, len(targets)), strict=True):
        one.reached = outcome


async def share(pairs: Sequence[Pair]) -> None:
    """Each host leaves a file in the first one's folder: the first must see all of them, and each the first's."""
    (first, of_first), *others = pairs
    if not isinstance(first.folder, Folder):
        return
    place, name = first.folder.place, f"{PREFIX}{secrets.token_hex(8)}"

    async def leave(one: Seen, session: Session, number: int) -> None:
        left = await session.ask(Outcomes, "leave", _DISK_S, place=place, name=f"{name}.{number}")
        [one.shared] = _outcomes(left, 1)

    async def see(one: Seen, session: Session, written: dict[str, Seen]) -> None:
        """`written`: names of files, and who wrote each."""
        seen = await session.ask(Outcomes, "see", _DISK_S, place=place, names=list(written))
        for writer, outcome in zip(written.values(), _outcomes(seen, len(written)), strict=True):
            if outcome:
                unseen = f"{one.host.name} does not see in {place} what {writer.host.name} wrote"
                problem = writer if one is first else one, unseen if outcome in written else outcome
                (by_first if one is first else by_others).append(problem)

    by_first, by_others = list[tuple[Seen, str]](), list[tuple[Seen, str]]()
    await together(leave(*pair, number) for number, pair in enumerate(pairs))
    if first.shared == "":
        theirs = {f"{name}.{number}": one for number, (one, _) in enumerate(others, 1) if one.shared == ""}
        await together([see(first, of_first, theirs), *(see(*pair, {f"{name}.0": first}) for pair in others)])
    else:
        for one, _ in others:
            one.shared = None  # the first host's trouble comes first
    for blamed, problem in by_first + by_others:  # whoever answered sooner
        blamed.shared = blamed.shared or problem
    await together(_removed(session) for _, session in pairs)


async def _removed(session: Session) -> None:
    await session.ask(Outcomes, "remove", _DISK_S)


def _outcomes(answer: Outcomes | Wrong, number: int) -> list[str]:
    return [answer.reason] * number if isinstance(answer, Wrong) else answer.reasons
