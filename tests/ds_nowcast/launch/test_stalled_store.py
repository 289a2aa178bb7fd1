"""Rank 0 behind a store that does not answer for a while, as one does that looks up names in a slow DNS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ds_nowcast.errors import PEER_LOST
from ds_nowcast.launch import beats, watchdog
from ds_nowcast.launch.beats import Beat, Failure
from ds_nowcast.launch.environment import Launched, host
from ds_nowcast.launch.watchdog import Watchdog
from tests.ds_nowcast.launch.conftest import until

PATIENCE_S, SUSPICIOUS_S = 1.0, 0.5


class Store:
    """A board in memory, with rank 1 on it, that can be stopped."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked, self.other_lives = 0, True
        self._other = Beat("n1")

    def post(self, beat: Beat) -> None:
        self.answers.wait()

    def beats(self) -> list[Beat | None]:
        self.answers.wait()
        self.asked += 1
        if self.other_lives:
            self._other = Beat("n1", self.asked)
        return [None, self._other]

    def patience(self, seconds: float) -> None:
        pass

    def announce(self, failure: Failure) -> None:
        self.answers.wait()


class NoSignals:
    """Those of a test's process are not ours."""

    def heard(self) -> frozenset[int]:
        return frozenset()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Failure]]:
    """What a watchdog of rank 0 that watches meanwhile has ended of."""
    monkeypatch.setattr(watchdog, "Signals", NoSignals)
    for name, seconds in {"_EVERY_S": 0.05, "_HEARD_S": 0.1, "_COMING_S": 0.1, "SUSPICIOUS_S": SUSPICIOUS_S}.items():
        monkeypatch.setattr(watchdog, name, seconds)
    monkeypatch.setattr(beats, "SUSPICIOUS_S", SUSPICIOUS_S)
    ended: list[Failure] = []
    me = Launched("deepspeed", 0, 2, 0, 1, "127.0.0.1", 1)
    board: Any = store
    dog = Watchdog(me, board, lambda failure, told: ended.append(failure))
    dog.patience(PATIENCE_S)
    dog.start()
    until(lambda: store.asked > 1, "the first beats")
    yield ended
    dog._over.set()
    store.answers.set()


@pytest.mark.slow
def test_what_cannot_be_heard_is_not_taken_for_silent(store: Store, ends: list[Failure]) -> None:
    store.answers.clear()
    time.sleep(PATIENCE_S + SUSPICIOUS_S / 2)
    asked = store.asked
    store.answers.set()
    until(lambda: store.asked > asked + 3, "an answer")
    assert ends == []


@pytest.mark.slow
def test_what_is_silent_while_the_store_answers_is(store: Store, ends: list[Failure]) -> None:
    store.other_lives = False
    until(lambda: ends, "an end")
    assert (ends[0].rank, ends[0].host, ends[0].exit_code) == (1, "n1", PEER_LOST)


@pytest.mark.slow
def test_a_store_that_never_answers_again_ends_the_launch_and_blames_nobody_else(
    store: Store, ends: list[Failure]
) -> None:
    store.answers.clear()
    until(lambda: ends, "an end")
    assert ends[0].line.startswith(f"FAILED rank 0 on {host()}: the store where the ranks meet has not answered for")
    assert ends[0].exit_code == PEER_LOST
