"""A wish to stop, from a scheduler's warning or because the launcher is gone; honoured at the next step boundary."""

from __future__ import annotations

import os
import signal
from types import FrameType


class StopRequest:
    """Raised by SIGTERM, SIGINT or SIGUSR1, or when the parent process (the launcher) disappears. Main thread only."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._parent = os.getppid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._reason = signal.Signals(number).name

    @property
    def reason(self) -> str | None:
        """Why this rank wants to stop; None while it does not."""
        if self._reason is None and os.getppid() != self._parent:
            self._reason = "the launcher has gone"
        return self._reason
