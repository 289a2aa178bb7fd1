"""A wish to stop, from a scheduler's warning or because the launcher is gone; honoured at the next step boundary."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from ds_nowcast.launch.ending import Launch

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Raised by SIGTERM, SIGINT or SIGUSR1, or when the launcher disappears.

    Use as a context in the main thread: afterwards signals do what they did before.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._reason: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self._launch.stops_itself(True)
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._launch.stops_itself(False)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._reason = signal.Signals(number).name
        if number == signal.SIGINT:  # a second Ctrl-C ends at once what cannot be waited for
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @property
    def reason(self) -> str | None:
        """Why this rank wants to stop; None while it does not."""
        if self._reason is None:
            self._reason = self._launch.asked_to_stop  # one that came before there was anything to stop
        if self._reason is None and self._launch.launcher_gone:
            self._reason = "the launcher has gone"
        return self._reason
