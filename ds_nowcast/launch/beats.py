"""What the ranks of a launch tell each other about themselves, and what follows from it: who has failed, if anyone has.

Each rank posts a beat every second. Rank 0 listens to all of them and judges; the others listen to rank 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from ds_nowcast.errors import PEER_LOST

START_LIMIT_S = 180.0  # for all ranks to meet: the slowest host's disk reads torch from cold
PATIENCE_S = 30.0  # silence of a rank that counts as its end, unless the config says otherwise
SUSPICIOUS_S = 10.0  # the same once something points to an end: a broken connection, a signal
AGREE_S = 3.0  # for rank 0 to find the same wrong as another rank did


class State(StrEnum):
    """Of a rank, in its own words."""

    UP = "up"
    STOPPING = "stopping"  # a signal asked it to end, as launchers do when a neighbour has gone
    CUT = "cut"  # a collective broke: a peer has gone, which one is not known to it
    FAILED = "failed"
    LEFT = "left"  # done, or about to end as it was told to


@dataclass(frozen=True)
class Beat:
    """A rank's latest word."""

    host: str
    count: int = 0  # changes with every beat
    state: State = State.UP
    reason: str = ""  # of CUT and FAILED, for the user
    exit_code: int = 0  # of CUT and FAILED
    culprit: int | None = None  # the rank that a failure found by all ranks came from, if it is known
    expected: bool = False  # whether the program foresees such a failure: then other ranks may find the same

    def to_text(self) -> str:
        """For the store."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_bytes(content: bytes) -> Beat | None:
        """None of a rank that has not come yet."""
        if not content:
            return None
        words = json.loads(content)
        return Beat(**words | {"state": State(words["state"])})


@dataclass(frozen=True)
class Failure:
    """Why a launch ends."""

    rank: int
    host: str
    reason: str
    exit_code: int

    @property
    def line(self) -> str:
        """What the user is told, in one line."""
        return f"FAILED rank {self.rank} on {self.host}: {' '.join(self.reason.split())}"


@dataclass(frozen=True)
class Heard:
    """A rank's beat as another one knows it; times are the listener's, so that clocks need not agree."""

    beat: Beat | None
    changed: float  # when it last said something new, or when listening began
    in_state: float  # when it came into its present state


def judge(heard: Sequence[Heard], now: float, patience: float) -> Failure | None:
    """On rank 0: the failure that ends the launch, or None while there is none, or none that is certain."""
    failed = [rank for rank, h in enumerate(heard) if h.beat and h.beat.state is State.FAILED]
    if failed:
        first = 0 if 0 in failed else min(failed, key=lambda rank: heard[rank].in_state)
        beat = heard[first].beat
        assert beat is not None
        settled = (first == 0 or not beat.expected) and heard[_culprit(beat, first)].beat is not None
        agreed = settled or now - heard[first].in_state > AGREE_S
        return _as_told(heard, beat, first) if agreed else None
    suspicious = any(h.beat and h.beat.state in (State.STOPPING, State.CUT) for h in heard)
    limits = (min(patience, SUSPICIOUS_S), PATIENCE_S) if suspicious else (patience, START_LIMIT_S)
    return _lost(heard, now, *limits) or _cut(heard, now)


def _culprit(beat: Beat, rank: int) -> int:
    return rank if beat.culprit is None else beat.culprit


def _as_told(heard: Sequence[Heard], beat: Beat, rank: int) -> Failure:
    culprit = _culprit(beat, rank)
    known = heard[culprit].beat
    return Failure(culprit, known.host if known else "an unknown host", beat.reason, beat.exit_code)


def _lost(heard: Sequence[Heard], now: float, patience: float, start_limit: float) -> Failure | None:
    """Of the ranks that have been silent for too long the one that has been for longest."""
    lost = [rank for rank, h in enumerate(heard) if now - h.changed > _allowed_s(h, patience, start_limit)]
    if not lost:
        return None
    rank = min(lost, key=lambda r: heard[r].changed)
    beat, silent = heard[rank].beat, now - heard[rank].changed
    return silence(rank, beat.host, silent) if beat else not_come(rank, silent)


def _allowed_s(heard: Heard, patience: float, start_limit: float) -> float:
    """How long a rank may be silent."""
    if heard.beat is None:
        return start_limit
    return math.inf if heard.beat.state is State.LEFT else patience


def _cut(heard: Sequence[Heard], now: float) -> Failure | None:
    """The first rank whose collective broke, where no rank fell silent meanwhile: the network alone is to blame."""
    cut = [rank for rank, h in enumerate(heard) if h.beat and h.beat.state is State.CUT]
    if not cut:
        return None
    first = min(cut, key=lambda rank: heard[rank].in_state)
    beat = heard[first].beat
    assert beat is not None
    return _as_told(heard, beat, first) if now - heard[first].in_state > SUSPICIOUS_S + AGREE_S else None


def silence(rank: int, host: str, seconds: float) -> Failure:
    """Of a rank that says nothing any more."""
    return Failure(
        rank, host,
        f"no sign of life for {seconds:.0f} s: it was killed (for want of memory?), or its host or network is down; "
        "mend that, then the same command goes on from the last checkpoint",
        PEER_LOST,
    )  # fmt: skip


def unanswered(host: str, seconds: float) -> Failure:
    """Of rank 0 where it cannot hear the others, and says nothing about them."""
    return Failure(
        0, host,
        f"the store where the ranks meet has not answered for {seconds:.0f} s: its host or network is down; mend that, then the same "
        "command goes on from the last checkpoint",
        PEER_LOST,
    )  # fmt: skip


def not_come(rank: int, seconds: float) -> Failure:
    """Of a rank that has never said anything."""
    return Failure(
        rank, "a host that did not say its name",
        f"it did not come within {seconds:.0f} s: what it printed tells why, or `python -m ds_nowcast.doctor --hostfile HOSTFILE`",
        PEER_LOST,
    )  # fmt: skip
