"""What all commands do alike: parse, show progress, and end with one sentence and an exit code."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import FrameType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_prep.errors import ExpectedError, without_secrets

INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143  # as a shell counts SIGINT, SIGPIPE and SIGTERM
_SECONDS_BETWEEN_LINES = 10.0
_COLUMNS = 140  # of tables where there is no terminal to be as wide as
Advance = Callable[[int], None]


def wide_console() -> Console:
    """For tables that need room: as wide as the terminal, and wide in a file or a pipe."""
    return Console(width=None if Console().is_terminal else _COLUMNS, highlight=False)


class Command(Protocol):
    """What a subcommand's module offers."""

    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares its options."""

    def run(self, args: argparse.Namespace) -> int:
        """Does it and returns the exit code."""


def main(prog: str, about: str, commands: Mapping[str, tuple[str, str]], argv: Sequence[str]) -> int:
    """Runs one of `commands` (name: (module, one line about it)) and returns the exit code.

    Only the chosen command's module is imported. What deepspeed puts in front (--local_rank=N) is passed over: its
    environment says the same.
    """
    with sigterm_raises():
        return ends_politely(lambda: _run(prog, about, commands, argv))


def _run(prog: str, about: str, commands: Mapping[str, tuple[str, str]], argv: Sequence[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may hold what no encoding can
    argv = [word for word in argv if not word.startswith(("--local_rank=", "--local-rank="))]
    parser = argparse.ArgumentParser(prog=prog, description=about)
    choices = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in argv if not word.startswith("-")), "")
    for name, (module_name, line) in commands.items():
        module = import_module(module_name) if name == chosen else None
        example = f"example:\n  {module.EXAMPLE.strip()}" if module else None
        kind = argparse.RawDescriptionHelpFormatter
        sub = choices.add_parser(name, help=line, description=line, epilog=example, formatter_class=kind)
        if module:
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    code: int = args.run(args)
    return code


class TerminatedError(BaseException):
    """SIGTERM came: from a person, a scheduler whose time is over, a launcher of which another rank failed."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """The first SIGTERM raises TerminatedError, so that what was begun is put in order; further ones are passed over."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """SIGINT and SIGTERM take effect at its end. In the midst of a fork, Python passes over what their handlers raise."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    try:
        with ExitStack() as put_back:
            if threading.current_thread() is threading.main_thread():
                for held in (signal.SIGINT, signal.SIGTERM):
                    if callable(handler := signal.getsignal(held)):
                        put_back.callback(signal.signal, held, handler)
                        signal.signal(held, note)
            yield
    finally:
        for number in came[:1]:
            signal.raise_signal(number)


def ends_politely(run: Callable[[], int]) -> int:
    """What `run` returns; an end that the program foresees becomes one sentence on stderr and its exit code."""
    try:
        code = run()
        sys.stdout.flush()
        return code
    except ExpectedError as error:
        print(f"error: {without_secrets(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except TerminatedError:
        print("terminated", file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:  # the reader of our output left, as `head` does; the interpreter must not flush to it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


@contextmanager
def progress(label: str, total: int, *, quiet: bool = False) -> Iterator[Advance]:
    """Gives a function to call with how much more is done. A bar on a terminal's stderr, else a line now and then."""
    if quiet:
        yield lambda amount: None
    elif sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(label, total=total)
            yield lambda amount: bar.update(task, advance=amount)
    else:
        yield _lines(label, total)


def _lines(label: str, total: int) -> Advance:
    done, last = 0, time.monotonic()

    def advance(amount: int) -> None:
        nonlocal done, last
        done += amount
        if done >= total or time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{label}: {done}/{total}", file=sys.stderr, flush=True)

    return advance


def positive(text: str) -> int:
    """An argparse type: a whole number from 1 on."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def whole(text: str) -> int:
    """An argparse type: a whole number from 0 on."""
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")


def positive_number(text: str) -> float:
    """An argparse type: a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def share(text: str) -> float:
    """An argparse type: a share from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return number
