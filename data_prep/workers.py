"""Tasks in worker processes: a bounded number at a time, and no worker outlives the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from threading import Thread
from typing import Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDiedError(Exception, Generic[Task]):
    """A worker ended without an answer, killed or out of memory. tasks: those in hand, one of which did it."""

    def __init__(self, tasks: list[Task]) -> None:
        super().__init__(tasks)
        self.tasks = tasks


def in_parallel(function: Callable[[Task], Result], tasks: list[Task], workers: int) -> Iterator[tuple[Task, Result]]:
    """Each task with its result, as they become ready. With one worker, or one task, all happens in this process.

    Raises what `function` raises, and WorkerDiedError; the other workers are stopped then.
    """
    if min(workers, len(tasks)) <= 1:
        for task in tasks:
            yield task, _alone(function, task)
        return
    with _pool(min(workers, len(tasks))) as pool:
        waiting = iter(tasks)
        in_hand: dict[Future[Result], Task] = {}
        while True:
            for task in islice(waiting, workers - len(in_hand)):
                in_hand[_submitted(pool, function, task)] = task
            if not in_hand:
                return
            for future in wait(in_hand, return_when=FIRST_COMPLETED).done:
                try:
                    result = future.result()
                except (BrokenProcessPool, MemoryError):
                    raise WorkerDiedError(list(in_hand.values())) from None
                yield in_hand.pop(future), result


def _submitted(pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task) -> Future[Result]:
    """A pool of which a worker has just died takes no task; like those in hand, this one then fails."""
    try:
        return pool.submit(function, task)
    except BrokenProcessPool as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed


def _alone(function: Callable[[Task], Result], task: Task) -> Result:
    try:
        return function(task)
    except MemoryError:
        raise WorkerDiedError([task]) from None


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    others = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that a library's threads hold
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin)
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        pool.shutdown(cancel_futures=True)
        raise


def _begin() -> None:
    """Ctrl-C is the parent's to handle; a worker ends when its parent is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
