"""The workers, as the process sees them that has the tasks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from data_prep.errors import DataError, RadarFileError
from data_prep.readers import in_turn
from data_prep.workers.inside import LIMITS, Limits, serve

Task = TypeVar("Task")
Result = TypeVar("Result")
Done = Generator[tuple[Task, Result], None, None]
_LISTED_AT_ONCE = 32  # files whose headers one message asks for, at most
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)  # by a person, or by a system out of memory: no file's fault
_ENDS_WITHIN_S = 5.0
_PRELOADED = ["data_prep.workers.imports"]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


class WorkerDiedError(Exception, Generic[Task]):
    """A worker ended without an answer and was reading no file. task: the one in hand."""

    def __init__(self, task: Task, how: str) -> None:
        super().__init__(task, how)
        self.task, self.how = task, how

    def told(self, doing: str, option: str = "fewer --workers") -> DataError:
        """What the user is told. doing: when it was, as in "while {doing}". option: that takes less memory."""
        return DataError(
            f"a worker died while {doing} ({self.how}): killed, or out of memory; run the same command again, with {option} "
            "if memory is short"
        )


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
        at_once = max(1, min(_LISTED_AT_ONCE, -(-len(items) // self.count)))
        starts = range(0, len(items), at_once)
        parts = [_Part(function, tuple(items[start : start + at_once]), start) for start in starts]
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
        # a plain fork would copy locks that a library's threads hold
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        _begin_forkserver()
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.limits, os.getcwd()), daemon=True)
        with _without_main():
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


@contextmanager
def _without_main() -> Iterator[None]:
    """So that a worker does not import the program that was started, which may want torch, or do its work once more."""
    program: Any = sys.modules["__main__"]
    before = program.__spec__, getattr(program, "__file__", None)
    program.__spec__ = program.__file__ = None
    try:
        yield
    finally:
        program.__spec__, program.__file__ = before


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
