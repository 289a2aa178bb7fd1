"""Ends this rank when the launch has failed anywhere: by beats through the rendezvous store, beside all collectives.

Two threads a rank: one talks to the store, where a call can hang for ever once a link is down; the other only looks at
what was heard and when, and ends the process. So a process group may wait long for a save or an evaluation, and a rank
that was killed is still found within seconds.
"""

from __future__ import annotations

import math
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch.distributed import DistError

from ds_nowcast.errors import PEER_LOST, STOPPED
from ds_nowcast.launch.aborts import Aborts
from ds_nowcast.launch.awake import AwakeClock
from ds_nowcast.launch.beats import (
    AGREE_S,
    PATIENCE_S,
    SUSPICIOUS_S,
    Beat,
    Failure,
    Heard,
    State,
    judge,
    silence,
    unanswered,
)  # fmt: skip
from ds_nowcast.launch.board import Board
from ds_nowcast.launch.environment import Launched, host
from ds_nowcast.launch.launcher import Launcher
from ds_nowcast.launch.signals import Signals
from ds_nowcast.launch.within import within

_EVERY_S = 1.0
_HEARD_S = 5.0  # for all ranks to have read the verdict, before the store goes with rank 0
_COMING_S = 20.0  # the same for ranks that are still starting: without rank 0 they would wait for it
_STOPPING_S = 1800.0  # for a step and a save without a launcher, which would end what hangs


class Watchdog:
    """Beats, listens, and calls `end` with what ended the launch, once."""

    def __init__(self, me: Launched, board: Board, end: Callable[[Failure, bool], None]) -> None:
        """end: told the failure, and whether rank 0 has told it to all, in a thread of the watchdog; ends the process."""
        self._me, self._board, self._end = me, board, end
        self._now = AwakeClock(_EVERY_S)  # which _found reads more often than that
        now = self._now()
        self._own, self._own_since = Beat(host()), now
        self._heard = [Heard(None, now, now)] * (me.world if me.rank == 0 else 1)
        self._listened = now  # when the store answered last
        self._verdict: Failure | None = None
        self._broken = False  # whether the store could not be reached the last time
        self._own_lock, self._posting = threading.RLock(), threading.Lock()
        self._poked, self._over, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._talk, self._watch)]
        self._launcher, self._signals, self._aborts = Launcher(), Signals(), Aborts(self._aborted)
        self.launcher_gone = False
        self._terminated: float | None = None  # when SIGTERM came
        self._alone_since: float | None = None  # when the launcher was found to have gone
        self.asked_to_stop: str | None = None  # by which signal, whoever hears of it
        self.stops_itself = False  # whether the command sees to an end itself after SIGTERM, or without its launcher
        self._stopped_itself = -math.inf  # when it did so last
        self.patience(PATIENCE_S)

    def start(self) -> None:
        """Begins to beat and to listen."""
        for thread in self._threads:
            thread.start()

    def patience(self, seconds: float) -> None:
        """Silence of so many seconds is a rank's end from now on."""
        self._patience_s = seconds
        self._board.patience(seconds)

    def say(self, state: State, reason: str = "", exit_code: int = 0, **more: Any) -> None:
        """Changes what this rank tells the others about itself, see Beat. A failure is final. May be called by a signal."""
        with self._own_lock:
            if self._own.state not in (State.FAILED, State.LEFT):
                self._own_since = self._now()
                self._own = replace(self._own, state=state, reason=reason, exit_code=exit_code, **more)
        self._poked.set()

    def _aborted(self) -> None:
        """It may be because of another rank that has gone, which is found by its silence."""
        self.say(State.CUT, "a library aborted it; the end of its log says why", 128 + signal.SIGABRT)

    def leave(self) -> None:
        """All is done. Rank 0 stays until the others have left too, or one failed: the store ends with it."""
        self.say(State.LEFT)
        with suppress(DistError, TimeoutError):
            within(_HEARD_S, self._post)
        others = self._me.rank == 0
        while others and not self._over.is_set() and not self._must_go():
            others = any(h.beat is None or h.beat.state is not State.LEFT for h in self._heard[1:])
            time.sleep(_EVERY_S / 20)
        if self._over.is_set():
            self._ended.wait()
        self._over.set()
        self._aborts.let_go()
        self._poked.set()
        for thread in self._threads:  # one that is in the store's C++ code when Python ends would abort it
            thread.join(_HEARD_S)

    def _must_go(self) -> bool:
        """Whether nobody waits for this rank any more, or something has long asked for its end."""
        grace = SUSPICIOUS_S + AGREE_S
        asked = [since for since in (self._alone_since, self._terminated) if since is not None]
        return bool(asked) and self._now() - max(min(asked), self._stopped_itself) > grace

    def ended(self, seconds: float) -> None:
        """Waits for `end`, which ends the process; returns where that does not happen."""
        self._ended.wait(seconds)

    def _talk(self) -> None:
        while not self._over.is_set():
            try:
                self._post()
                self._listen()
                self._broken = False
            except DistError:
                self._broken = True
            if self._poked.wait(_EVERY_S / 10 if self._own.state is State.LEFT else _EVERY_S):
                self._poked.clear()

    def _post(self) -> None:
        with self._posting:
            with self._own_lock:
                self._own = replace(self._own, count=self._own.count + 1)
            self._board.post(self._own)

    def _listen(self) -> None:
        if self._me.rank == 0:
            beats = self._board.beats()
        else:
            beat, self._verdict = self._board.of_first()
            beats = [beat]
        now = self._now()
        self._heard = [_updated(before, beat, now) for before, beat in zip(self._heard, beats, strict=True)]
        self._listened = now

    def _watch(self) -> None:
        try:
            failure = self._found()
        except Exception as error:  # a guard that has gone must not go unseen
            traceback.print_exc()
            failure = Failure(
                self._me.rank, self._own.host, f"its watchdog failed ({type(error).__name__}: {error})", 1
            )
        if failure is not None:
            self._over.set()
            told = self._me.rank == 0 or self._verdict is not None
            if told:
                with suppress(DistError, TimeoutError):
                    within(_COMING_S if self._me.rank == 0 else _HEARD_S, lambda: self._announce(failure))
            self._end(failure, told)
            self._ended.set()

    def _found(self) -> Failure | None:
        """Looks until there is a failure, or all is over."""
        while not self._over.wait(_EVERY_S / 4):
            self._look_around()
            failure = self._judged_by_first() if self._me.rank == 0 else self._judged_behind_first()
            if failure is not None:
                return failure
        return None

    def _look_around(self) -> None:
        """Has the launcher gone, has it sent SIGTERM? It does where another rank has ended, which must be told first."""
        now = self._now()
        self.launcher_gone = self.launcher_gone or self._launcher.gone
        if self.launcher_gone and self._alone_since is None:
            self._alone_since = now
        heard = self._signals.heard()
        for number in heard & {signal.SIGTERM, signal.SIGUSR1}:
            self.asked_to_stop = signal.Signals(number).name
        if self._terminated is None and signal.SIGTERM in heard:
            self._terminated = self._now()
            if self._own.state is State.UP:
                self.say(State.STOPPING)
        if self.stops_itself and (self._alone_since is None or now - self._alone_since < _STOPPING_S):
            self._stopped_itself = now
        if now - self._stopped_itself <= SUSPICIOUS_S + AGREE_S:  # it has yet to leave
            return
        if self.launcher_gone:
            self.say(State.FAILED, "its launcher has gone", PEER_LOST)
        elif signal.SIGUSR1 in heard:  # a scheduler's warning
            self.say(
                State.FAILED,
                "it was asked to stop by SIGUSR1 with nothing to save; the same command starts anew",
                STOPPED,
            )
        elif self._terminated is not None and now - self._terminated > SUSPICIOUS_S + AGREE_S:
            self.say(State.FAILED, "it was ended by SIGTERM", 128 + signal.SIGTERM)

    def _judged_by_first(self) -> Failure | None:
        listened = self._listened  # the present, to judge by: what could not be heard since was not silent
        with self._own_lock:
            mine = Heard(self._own, listened, self._own_since)  # it need not hear of itself through the store
        failure = judge([mine, *self._heard[1:]], listened, self._patience_s)
        unheard = self._now() - listened
        if failure is None and unheard > self._patience_s + SUSPICIOUS_S:
            return unanswered(self._own.host, unheard)
        return failure

    def _judged_behind_first(self) -> Failure | None:
        """Rank 0's verdict; or our own of rank 0, where it cannot be heard any more."""
        [first] = self._heard
        if self._verdict is not None or (first.beat is not None and first.beat.state is State.LEFT):
            return self._verdict
        suspicious = self._broken or self._own.state is not State.UP
        silent = self._now() - first.changed
        if silent <= (min(SUSPICIOUS_S, self._patience_s) if suspicious else self._patience_s):
            return None
        return silence(0, first.beat.host if first.beat else self._me.master_addr, silent)

    def _announce(self, failure: Failure) -> None:
        """On rank 0 tells the others, and waits until those that can have heard; elsewhere says that we have."""
        if self._me.rank > 0:
            self.say(State.LEFT)
            with self._own_lock:
                self._own = replace(self._own, state=State.LEFT)
            return self._post()
        self._board.announce(failure)
        now, alive_s = self._now(), min(_HEARD_S, self._patience_s)
        others = [r for r, h in enumerate(self._heard) if r > 0 and (h.beat is None or now - h.changed <= alive_s)]
        began = time.monotonic()
        while (waited := time.monotonic() - began) < _COMING_S:
            beats = self._board.beats()
            waiting = [beats[rank] for rank in others if not _has_left(beats[rank])]
            if not waiting or (waited > _HEARD_S and (failure.exit_code == PEER_LOST or None not in waiting)):
                return
            time.sleep(_EVERY_S / 5)


def _has_left(beat: Beat | None) -> bool:
    return beat is not None and beat.state is State.LEFT


def _updated(before: Heard, beat: Beat | None, now: float) -> Heard:
    if beat == before.beat:
        return before
    same_state = before.beat is not None and beat is not None and before.beat.state is beat.state
    return Heard(beat, now, before.in_state if same_state else now)
