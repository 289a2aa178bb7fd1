"""The place where the ranks of a launch meet: torch's rendezvous store, which rank 0 (or torchrun's agent) keeps.

Beats and the verdict lie there, beside what the process group needs; collectives play no part in it.
"""

from __future__ import annotations

import json
import os
import resource
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed import DistError

from data_prep.errors import UserError
from ds_nowcast.errors import PeerLostError
from ds_nowcast.launch.beats import START_LIMIT_S, Beat, Failure
from ds_nowcast.launch.environment import Launched, host
from ds_nowcast.launch.within import within

_START_LIMIT = timedelta(seconds=START_LIMIT_S)
_MUTE_S = 5.0  # past it: where nothing listens at all torch's store itself gives up


class Board:
    """Beats of all ranks, and the verdict of rank 0."""

    def __init__(self, me: Launched) -> None:
        """Meets the others. Raises UserError where the port is taken, PeerLostError where rank 0 does not come."""
        self._me = me
        # The store looks up the name of each that connects, all others waiting: a lost packet of the DNS would cost 5 s
        os.environ.setdefault("RES_OPTIONS", "timeout:2")
        serves = me.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        self._server = self._connect(serves)  # kept: the store ends with it
        again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self.group_store = PrefixStore(f"nowcast/{again}/group", self._server)
        # a connection of its own: calls on one wait for each other
        self._store = PrefixStore(f"nowcast/{again}/watch", self._connect(False))
        self._keys = [f"beat/{rank}" for rank in range(me.world)]
        try:
            if me.rank == 0:
                for key in (*self._keys, "verdict"):
                    self._store.set(key, "")  # else asking for it would wait
                self._store.set("open", str(me.world))
            self._store.wait(["open"], _START_LIMIT)
            ours = self._store.get("open") == str(me.world).encode()
            first = ours and self._store.add(f"claim/{me.rank}", 1) == 1
        except DistError:
            raise PeerLostError(self._no_answer()) from None
        if not first:
            raise UserError(
                f"port {me.master_port} of {me.master_addr} is in use by another launch; wait for its end, or give "
                f"{me.setting('master_port')} another"
            )

    def _connect(self, serves: bool) -> TCPStore:
        me = self._me
        if serves:
            _allow_files(2 * me.world + 256)  # two connections a rank
        try:
            return within(  # TCPStore hangs for ever on a port where something mute listens
                _START_LIMIT.total_seconds() + _MUTE_S,
                lambda: TCPStore(
                    me.master_addr, me.master_port, is_master=serves, wait_for_workers=False, timeout=_START_LIMIT
                ),
            )
        except TimeoutError:
            raise PeerLostError(self._no_answer()) from None
        except DistError as error:
            if serves:
                why = "is in use" if "in use" in str(error) else f"cannot be used ({str(error).splitlines()[0]})"
                raise UserError(
                    f"port {me.master_port} of {host()} {why}; give a free one with {me.setting('master_port')}, the same on all hosts"
                ) from None
            raise PeerLostError(self._no_answer()) from None

    def _no_answer(self) -> str:
        return (
            f"rank 0 cannot be met at {self._me.master_addr} port {self._me.master_port} from {host()}, tried for {START_LIMIT_S:.0f} s; "
            "`python -m ds_nowcast.doctor --hostfile HOSTFILE` tells what is in the way"
        )

    def patience(self, seconds: float) -> None:
        """How long a call may take."""
        self._store.set_timeout(timedelta(seconds=seconds))

    def post(self, beat: Beat) -> None:
        """This rank's latest word. Raises DistError."""
        self._store.set(self._keys[self._me.rank], beat.to_text())

    def beats(self) -> list[Beat | None]:
        """Every rank's. Raises DistError."""
        return [Beat.from_bytes(content) for content in self._store.multi_get(self._keys)]

    def of_first(self) -> tuple[Beat | None, Failure | None]:
        """Rank 0's beat, and its verdict if there is one. Raises DistError."""
        beat, verdict = self._store.multi_get([self._keys[0], "verdict"])
        return Beat.from_bytes(beat), Failure(**json.loads(verdict)) if verdict else None

    def announce(self, failure: Failure) -> None:
        """The verdict. Raises DistError."""
        self._store.set("verdict", json.dumps(asdict(failure)))


def _allow_files(number: int) -> None:
    """Raises this process's limit of open files towards `number`, as far as that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        allowed = number if hard == resource.RLIM_INFINITY else min(number, hard)
        if soft != resource.RLIM_INFINITY and soft < allowed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
