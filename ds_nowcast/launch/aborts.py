"""A library's abort() held back until the launch has been told: NCCL aborts a rank when another one's connection breaks."""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Callable

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_HELD_S = 60.0  # the watchdog ends the process long before


class Aborts:
    """From now on SIGABRT calls `tell` in the thread it comes to, which then waits; without it all ranks may go unheard.

    The handler is C's, not Python's, which would only run in the main thread, and after the process has gone.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        """tell: quick; called once."""
        self._tell, self._holds = tell, True
        self._handler = _HANDLER(self._hold)  # kept: C has its address
        libc = ctypes.CDLL(None)
        libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, _HANDLER), ctypes.c_void_p
        libc.signal(signal.SIGABRT, self._handler)

    def _hold(self, number: int) -> None:
        if self._holds:
            self._tell()
        deadline = time.monotonic() + _HELD_S
        while self._holds and time.monotonic() < deadline:
            time.sleep(0.1)

    def let_go(self) -> None:
        """An abort is at once the process's end again."""
        self._holds = False
