"""A command of the user's that writes a file: `pipe:ssh host cat /data/shards/{}`, where {} stands for the file's name.

It runs in the user's shell, so it is refused unless the config allows it by name. Names come from the index of a
folder that others may have written: one that a shell could read as more than a name is refused, because the command
may hand it on to a second shell (ssh does) that takes the quotes of the first for granted.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from data_prep.errors import UserError
from data_prep.shards.sources.cache import Download
from data_prep.shards.sources.local import inside
from data_prep.shards.sources.retry import TransientError

_PIECE = 1 << 20
_LOOK_EVERY_S = 0.1
_MOST_WORDS = 300


class PipeFiles:
    """Files that a command writes. One call is one attempt: raises TransientError where it fails or stops writing."""

    def __init__(self, location: str, *, timeout_s: float, check: Callable[[], None] = lambda: None) -> None:
        """check: raises where the source is closed, which ends a command under way."""
        self.location, self._timeout_s, self._check = location, timeout_s, check
        self._command = location.removeprefix("pipe:").strip()
        if "{}" not in self._command:
            raise UserError(f"{location} does not say where the file's name goes; give {location.rstrip()} PATH/{{}}")

    def size(self, name: str) -> int | None:
        """None: only running the command would tell."""
        return None

    @contextmanager
    def opened(self, name: str) -> Iterator[Download]:
        """Starts the command; leaving ends it."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                self._command_for(name),
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                pipesize=_PIECE,
                start_new_session=True,  # so that all it starts can be ended, and none asks at the terminal
            )
            try:
                yield Download(None, self._pieces(process))
                if code := self._code(process):
                    raise TransientError(f"the command ended with {code}: {_last_line(errors)}")
            finally:
                _end(process)

    def _command_for(self, name: str) -> str:
        quoted = shlex.quote(inside(name, self.location))
        if quoted != name or name.startswith("-"):
            raise UserError(
                f"{self.location} would pass the name {name!r} to a shell, which may read more in it than a name; "
                "copy the shards to a folder instead"
            )
        return self._command.replace("{}", quoted)

    def _pieces(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        assert process.stdout is not None
        poll = select.poll()
        poll.register(process.stdout)
        while True:
            self._wait(lambda: bool(poll.poll(1000 * _LOOK_EVERY_S)))
            piece = process.stdout.read(_PIECE)
            if not piece:
                return
            yield piece

    def _code(self, process: subprocess.Popen[bytes]) -> int:
        def ended() -> bool:
            try:
                return process.wait(_LOOK_EVERY_S) is not None
            except subprocess.TimeoutExpired:
                return False

        self._wait(ended)
        return process.returncode

    def _wait(self, happened: Callable[[], bool]) -> None:
        began = time.monotonic()
        while not happened():
            self._check()
            if time.monotonic() - began > self._timeout_s:
                raise TransientError(f"the command wrote nothing for {self._timeout_s:g} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    with process:  # closes its pipe and waits
        pass


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - _MOST_WORDS))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it says nothing"
