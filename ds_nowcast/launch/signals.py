"""Signals heard through a file descriptor."""

from __future__ import annotations

import os
import signal


class Signals:
    """Hears of signals at once, also while the main thread waits in a collective, where Python's handlers do not run."""

    def __init__(self) -> None:
        """In the main thread. From now on SIGTERM and SIGUSR1 end nothing by themselves."""
        self._reading, writing = os.pipe()
        for end in (self._reading, writing):
            os.set_blocking(end, False)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda number, frame: None)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def heard(self) -> set[int]:
        """The numbers of those that came since this was asked last."""
        try:
            return set(os.read(self._reading, 4096))
        except BlockingIOError:
            return set()
