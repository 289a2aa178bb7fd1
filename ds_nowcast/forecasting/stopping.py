"""An end that was asked for: SIGTERM (systemd, a scheduler) or SIGINT (Ctrl-C)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StoppedError(BaseException):
    """Somebody asked for the end. signal: its name."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number).name


class Stopping:
    """Within it the first SIGTERM or SIGINT raises StoppedError at once, further ones are passed over."""

    def __init__(self) -> None:
        self._held, self._asked = False, 0

    def __enter__(self) -> Stopping:
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is done inside is finished before the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._asked:
            raise StoppedError(self._asked)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            return
        self._asked = number
        if not self._held:
            raise StoppedError(number)
