"""Tasks in worker processes that may die over a file: each is limited, watched, and replaced.

A C library can be made to crash, loop or take all memory by the file it reads. So what reads a file says so first
(`reading`); a worker that dies, or stays in one file for too long, is replaced, its task begins anew, and this time
`reading` refuses that file with a RadarFileError. A damaged file may also leave a worker with a broken heap or without
memory, of which the next file dies: a worker in which one could not be read gets no other task, and if it dies later in
the same task, the damaged file is refused first. No worker outlives the process that started it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from threading import Thread
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from data_prep.errors import RadarFileError, in_words
from data_prep.readers import in_turn

Task = TypeVar("Task")
Result = TypeVar("Result")
Done = Generator[tuple[Task, Result], None, None]
_LISTED_AT_ONCE = 32  # files whose headers one message asks for
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)  # by a person, or by a system out of memory: no file's fault
_ENDS_WITHIN_S = 5.0
_PRELOADED = ["data_prep.worker_imports"]


class Limits(NamedTuple):
    """Of one worker. memory_bytes: of data, above what it starts with. read_s: in one file without a word."""

    memory_bytes: int = 2 << 30
    read_s: float = 120.0


LIMITS = Limits()


class WorkerDiedError(Exception, Generic[Task]):
    """A worker ended without an answer and was reading no file. task: the one in hand."""

    def __init__(self, task: Task, how: str) -> None:
        super().__init__(task, how)
        self.task, self.how = task, how


# ---- in a worker

_to_parent: Connection | None = None
_refused: dict[str, str] = {}
_inside: list[str] = [""]  # the files that are being read, one inside the other
_damaged: list[str] = []  # files that could not be read
_half_bytes = 0  # of data: of more the next file might die
_NO_ROOM = 77  # exit code of a worker that ends because of that


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


def _serve(connection: Connection, limits: Limits, folder: str) -> None:
    """A worker's life: a task, its result, the next."""
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


# ---- in the parent


class Pool(Protocol):
    """Where tasks are done."""

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Done[Task, Result]:
        """Each task with its result, as they become ready. Raises what `function` raises, and WorkerDiedError.

        No task is being done any more once it has raised or was closed.
        """
        ...

    def each(self, function: Callable[[Task], Result], items: Sequence[Task]) -> Iterator[Result | RadarFileError]:
        """The results in order; the RadarFileError of a file, or of the file that killed a worker, in its place."""
        ...


class InProcess:
    """All in this process, one after the other: where files are trusted, and for tests. A context manager too."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Done[Task, Result]:
        """As `Pool.run`."""
        for task in tasks:
            try:
                yield task, function(task)
            except MemoryError:
                raise WorkerDiedError(task, "out of memory") from None

    def each(self, function: Callable[[Task], Result], items: Sequence[Task]) -> Iterator[Result | RadarFileError]:
        """As `Pool.each`."""
        return in_turn(function, items)


@dataclass(eq=False)
class _Worker:
    process: ForkServerProcess
    connection: Connection
    task: int | None = None  # its number
    file: str = ""  # that it is in
    since: float = 0.0
    failed: tuple[str, str] | None = None  # the file that could not be read last, and why


@dataclass
class Workers:
    """Processes, started when they are first needed and kept for the next tasks; a context manager."""

    count: int
    limits: Limits = LIMITS
    _idle: list[_Worker] = field(default_factory=list)
    _busy: list[_Worker] = field(default_factory=list)
    _ending: list[_Worker] = field(default_factory=list)
    _refused: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._idle:
            worker.connection.close()  # it ends by itself, and libraries tidy up
        self._stop_busy()
        for worker in [*self._ending, *self._idle]:
            worker.process.join(_ENDS_WITHIN_S)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
            worker.connection.close()
        self._ending.clear()
        self._idle.clear()

    def each(self, function: Callable[[Task], Result], items: Sequence[Task]) -> Iterator[Result | RadarFileError]:
        """As `Pool.each`. The function must say what it reads by `reading`."""
        starts = range(0, len(items), _LISTED_AT_ONCE)
        parts = [_Part(function, tuple(items[start : start + _LISTED_AT_ONCE]), start) for start in starts]
        ready: dict[int, list[Any]] = {}
        answers = self.run(_part_of_each, parts)
        for start in starts:
            while start not in ready:
                part, results = next(answers)
                ready[part.start] = results
            yield from ready.pop(start)

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Done[Task, Result]:
        """As `Pool.run`."""
        try:
            yield from self._run(function, tasks)
        except BaseException:
            self._stop_busy()
            raise

    def _run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[Task, Result]]:
        waiting = deque(range(len(tasks)))
        while waiting or self._busy:
            while waiting and len(self._busy) < self.count:
                self._begin(function, tasks, waiting.popleft())
            for worker, kind, *content in self._messages():
                number = worker.task
                assert number is not None
                if kind == "reading":
                    worker.file, worker.since = content[0], time.monotonic()
                    continue
                if kind == "failed":
                    worker.failed = content[0], content[1]
                    continue
                self._busy.remove(worker)
                worker.task = None
                if kind == "done":
                    result, error = content
                    self._keep_or_replace(worker)
                    if isinstance(error, MemoryError) and not self._is_to_blame(worker, "out of memory"):
                        raise WorkerDiedError(tasks[number], "out of memory")
                    if isinstance(error, MemoryError):
                        waiting.appendleft(number)
                        continue
                    if error is not None:
                        raise error
                    yield tasks[number], result
                elif worker.process.exitcode not in _FROM_OUTSIDE and self._is_to_blame(worker, content[0]):
                    waiting.appendleft(number)
                else:
                    raise WorkerDiedError(tasks[number], content[0])

    def _keep_or_replace(self, worker: _Worker) -> None:
        if worker.failed is None:
            self._idle.append(worker)
            return
        worker.connection.close()  # by which it ends
        self._ending = [other for other in self._ending if other.process.exitcode is None] + [worker]

    def _stop_busy(self) -> None:
        """So that none still writes where the caller puts in order what was begun."""
        for worker in self._busy:
            worker.process.kill()
            self._end(worker)
        self._busy.clear()

    def _is_to_blame(self, worker: _Worker, how: str) -> bool:
        """Whether a file is, which is refused from now on. One that cannot be read anyway goes first: that does no harm."""
        if worker.failed and worker.failed[0] not in self._refused:
            self._refused[worker.failed[0]] = worker.failed[1]
        elif worker.file:
            self._refused[worker.file] = f"its reader died ({how})"
        else:
            return False
        return True

    def _begin(self, function: Callable[[Any], Any], tasks: Sequence[Any], number: int) -> None:
        worker = self._idle.pop() if self._idle else self._start()
        worker.task, worker.file = number, ""
        self._busy.append(worker)
        with suppress(OSError):  # it died while idle: _messages finds that
            worker.connection.send((function, tasks[number], self._refused))

    def _start(self) -> _Worker:
        context = multiprocessing.get_context(
            "forkserver"
        )  # a plain fork would copy locks that a library's threads hold
        context.set_forkserver_preload(_PRELOADED)
        _begin_forkserver()
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.limits, os.getcwd()), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _messages(self) -> Iterator[tuple[Any, ...]]:
        """(worker, kind, ...) for all that was heard; kind "died" where one ended or was too long in a file."""
        now = time.monotonic()
        left_s = min((worker.since + self.limits.read_s - now for worker in self._busy if worker.file), default=None)
        heard = wait([worker.connection for worker in self._busy], None if left_s is None else max(left_s, 0.0))
        for worker in [worker for worker in self._busy if worker.connection in heard]:
            try:
                yield worker, *worker.connection.recv()
            except (EOFError, ConnectionResetError):
                yield worker, "died", self._end(worker)
        for worker in [worker for worker in self._busy if worker.file and worker.connection not in heard]:
            if time.monotonic() - worker.since > self.limits.read_s:
                os.kill(worker.process.pid or 0, signal.SIGXCPU)  # what a limit of processor time would send
                self._end(worker)
                yield worker, "died", f"it took more than {self.limits.read_s:g} s"

    def _end(self, worker: _Worker) -> str:
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode or 0
        return f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"


def _begin_forkserver() -> None:
    """It inherits that Ctrl-C and SIGTERM, which a terminal or a scheduler sends to all processes, do not reach it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    # nor does its tracker tell the terminal of what a worker that crashed has left, and it takes away
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        forkserver.ensure_running()
    finally:
        sys.warnoptions.pop()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Part(NamedTuple):
    function: Callable[[Any], Any]
    items: tuple[Any, ...]
    start: int


def _part_of_each(part: _Part) -> list[Any]:
    return list(in_turn(part.function, part.items))


def in_parallel(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Each task with its result, as they become ready. With one worker, or one task, all happens in this process."""
    if min(workers, len(tasks)) <= 1:
        yield from InProcess().run(function, tasks)
        return
    with Workers(min(workers, len(tasks))) as pool:
        yield from pool.run(function, tasks)
