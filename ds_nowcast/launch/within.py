"""What may hang, on a network or a disk that went with another host, done for no longer than a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from torch.distributed import DistError

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T | None:
    """What it returns; None where it takes longer, the network breaks or the disk fails. It may go on behind our back."""
    outcome: list[T] = []

    def quietly() -> None:
        with suppress(DistError, OSError):
            outcome.append(work())

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else None
