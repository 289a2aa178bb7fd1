"""Memory to read into: one piece per thread, used again at each read."""

from __future__ import annotations

import threading


class _OfThread(threading.local):
    memory = memoryview(b"")


class ThreadMemory:
    """Gives each thread the same memory at each call: fresh pages would cost more than reading into them."""

    def __init__(self) -> None:
        self._of_thread = _OfThread()

    def __call__(self, size: int) -> memoryview:
        """`size` bytes, this thread's until its next call."""
        if len(self._of_thread.memory) < size:
            self._of_thread.memory = memoryview(bytearray(size))
        return self._of_thread.memory[:size]


def too_short(name: str, missing: int) -> ValueError:
    """The error of a file that ends before the bytes asked for."""
    return ValueError(f"{name} ends {missing} bytes too early")
