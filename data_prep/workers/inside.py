"""A worker's life: it takes a task, says which files it reads, and answers. Its limits are of the system."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, NamedTuple

from data_prep.errors import RadarFileError, in_words

_to_parent: Connection | None = None
_refused: dict[str, str] = {}
_inside: list[str] = [""]  # the files that are being read, one inside the other
_damaged: list[str] = []  # files that could not be read
_half_bytes = 0  # of data: of more the next file might die
_NO_ROOM = 77  # exit code of a worker that ends because of that


class Limits(NamedTuple):
    """Of one worker. memory_bytes: of data, above what it starts with. read_s: in one file without a word."""

    memory_bytes: int = 2 << 30
    read_s: float = 120.0


LIMITS = Limits()


@contextmanager
def reading(label: str) -> Iterator[None]:
    """Around what reads the file `label`. Raises RadarFileError where it has killed a worker before.

    Inside another file (a tar) it is the inner one that is refused, and the time begins anew with it and after it.
    """
    if label in _refused:
        raise RadarFileError(label, _refused[label])
    if _to_parent is None:
        yield
        return
    if _damaged and _data_bytes() > _half_bytes:
        os._exit(_NO_ROOM)  # what a damaged file has left behind is no fault of the next one's
    _inside.append(label)
    _to_parent.send(("reading", label))
    try:
        yield
    except Exception as error:
        _damaged.append(label)
        _to_parent.send(("failed", label, error.reason if isinstance(error, RadarFileError) else in_words(error)))
        raise
    finally:
        _inside.pop()
        _to_parent.send(("reading", _inside[-1]))


def serve(connection: Connection, limits: Limits, folder: str) -> None:
    """Does one task after the other until the parent says no more. folder: the working directory."""
    global _to_parent
    os.chdir(folder)
    for number in (signal.SIGINT, signal.SIGTERM):  # of a whole process group: the parent's to handle
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    _limit_memory(limits.memory_bytes)
    _say_nothing()
    _to_parent = connection
    while True:
        try:
            function, task, refused = connection.recv()
        except EOFError:
            return
        _refused.update(refused)
        connection.send(("done", *_outcome(function, task)))


def _outcome(function: Callable[[Any], Any], task: Any) -> tuple[Any, BaseException | None]:
    try:
        return function(task), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(traceback.format_exc())
        return None, error


def _say_nothing() -> None:
    """Libraries tell the terminal what they meet in a damaged file, and fail at telling it; the error itself is enough."""
    warnings.simplefilter("ignore")
    logging.disable()
    sys.unraisablehook = lambda _: None


def _limit_memory(most_bytes: int) -> None:
    """Counts what a process writes to (RLIMIT_DATA), not what it maps: libraries map far more than they use."""
    global _half_bytes
    limit, _half_bytes = _data_bytes() + most_bytes, _data_bytes() + most_bytes // 2
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _data_bytes() -> int:
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmData"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
