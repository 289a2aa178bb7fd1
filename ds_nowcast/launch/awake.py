"""A clock that stands still while this process is stopped: what was stopped must not take the others for silent."""

from __future__ import annotations

import threading
import time


class AwakeClock:
    """Monotonic seconds, less the time in which nobody read it although somebody does at least every `every_s`.

    Whichever thread is the first to run again, what it reads is put right already. May be read by a signal handler.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._lock = threading.RLock()
        self._read, self._stopped_s = time.monotonic(), 0.0

    def __call__(self) -> float:
        """Now."""
        with self._lock:
            now = time.monotonic()
            self._stopped_s += max(0.0, now - self._read - self._every_s)
            self._read = now
            return now - self._stopped_s
