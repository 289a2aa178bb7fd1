"""Attempts over a network: how often, how long between, and what is said when they are used up."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from data_prep.errors import SourceError

_FIRST_WAIT_S, _FACTOR, _LONGEST_WAIT_S = 0.25, 4.0, 30.0  # five retries bridge about a minute
_MOST_PATIENCE_S = 300.0  # a server that asks for a longer pause has failed

Result = TypeVar("Result")


class TransientError(Exception):
    """An attempt that failed for a reason that may pass. after_s: the pause that the server asks for."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.after_s = reason, after_s


class Retries:
    """Makes attempts again after TransientError, with exponential back-off.

    Each wait is drawn from the upper half of its length, so that ranks that failed together do not return together.
    """

    def __init__(self, retries: int, sleep: Callable[[float], object] | None = None) -> None:
        self._attempts = retries + 1
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait

    def run(self, what: str, attempt: Callable[[], Result]) -> Result:
        """The first attempt's result that comes. Raises SourceError naming `what` and the last reason."""
        for number in range(self._attempts):
            self.check()
            try:
                return attempt()
            except TransientError as error:
                failed, last = number + 1, error
            if last.after_s > _MOST_PATIENCE_S:
                break
            if failed < self._attempts:
                self._sleep(max(last.after_s, _wait_s(number)))
        times = "1 attempt" if failed == 1 else f"{failed} attempts"
        raise SourceError(
            f"{what} could not be read in {times}; the last failed: {last.reason}; "
            "see that it can be reached from this host, then give the same command again"
        )

    def pause(self, seconds: float) -> None:
        """Waits. Raises SourceError where the source is closed meanwhile."""
        self._closed.wait(seconds)
        self.check()

    def check(self) -> None:
        """Raises SourceError where the source is closed."""
        if self._closed.is_set():
            raise SourceError("the source of the shards was closed while something was being read from it")

    def close(self) -> None:
        """Ends waits and attempts."""
        self._closed.set()


def _wait_s(number: int) -> float:
    longest = min(_FIRST_WAIT_S * _FACTOR**number, _LONGEST_WAIT_S)
    return longest * random.uniform(0.5, 1.0)
