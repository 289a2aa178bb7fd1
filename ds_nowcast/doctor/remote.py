"""A probe on a host, through ssh or, for this machine, without: started, asked, always ended."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ds_nowcast.doctor.protocol import MARK, Wrong, said
from ds_nowcast.doctor.trouble import NO_FOLDER, Target, explained, silent

T = TypeVar("T")

PROBE = ("-u", "-m", "ds_nowcast.doctor.probe")
KEEP_ALIVE = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
_SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *KEEP_ALIVE)
_GRACE_S = 5.0  # for an answer to travel, past the time that the probe itself keeps
_ENDING_S = 3.0
_LONGEST_LINE = 2**20


def over_ssh(target: Target, environment: Mapping[str, str], port: int | None) -> list[str]:
    """The command that starts a probe as DeepSpeed's launcher starts ranks: in this folder, with this python."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    inner = shlex.join(["exec", "env", *settings, target.python, *PROBE])
    command = f"cd {shlex.quote(target.folder)} || exit {NO_FOLDER}; {inner}"
    return [*_SSH, *([] if port is None else ["-p", str(port)]), "--", target.host, command]


class Session:
    """A probe and the two pipes to it. Once it fails, all that is asked is answered with why."""

    def __init__(self, target: Target, command: Sequence[str]) -> None:
        self._target, self._command = target, command
        self._starting: asyncio.Task[asyncio.subprocess.Process] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._errors: deque[bytes] = deque(maxlen=16)
        self._chatter: deque[str] = deque(maxlen=16)
        self._reading: asyncio.Task[None] | None = None
        self.broken: Wrong | None = None

    async def start(self) -> None:
        """Starts it; whether that went well is seen when it is asked."""
        pipe = asyncio.subprocess.PIPE
        self._starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LONGEST_LINE,
                start_new_session=True,  # Ctrl-C is for the doctor: a probe must live on to clean up
            )
        )  # fmt: skip
        try:
            self._process = await asyncio.shield(self._starting)  # what has begun when Ctrl-C comes is ended by `close`
        except OSError as error:
            self.broken = Wrong(f"{self._command[0]} cannot be started here ({error.strerror}); install it")
            return
        self._reading = asyncio.create_task(self._read_errors(self._process))

    async def ask(self, kind: type[T], question: str, limit_s: float, **given: Any) -> T | Wrong:
        """The answer to a question, or why there is none."""
        if self.broken is not None:
            return self.broken
        assert self._process is not None and self._process.stdin is not None
        line = json.dumps({"ask": question, "limit_s": limit_s, "given": given})
        try:
            async with asyncio.timeout(limit_s + _GRACE_S):
                with suppress(ConnectionError):
                    self._process.stdin.write(line.encode() + b"\n")
                    await self._process.stdin.drain()
                answer = await self._answer(self._process)
                if answer is not None:
                    return said(kind, answer)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), _ENDING_S)
            self.broken = Wrong(explained(self._process.returncode, self._stderr, self._stdout, self._target))
        except TimeoutError:
            self.broken = Wrong(silent(limit_s + _GRACE_S, self._stderr or self._stdout, self._target))
        return self.broken

    async def _answer(self, process: asyncio.subprocess.Process) -> Any:
        """The next answer among whatever else is said; None at the end."""
        assert process.stdout is not None
        while True:
            with suppress(ValueError):  # a line beyond all measure, or half an answer
                line = (await process.stdout.readline()).decode(errors="replace")
                if not line:
                    return None
                before, mark, answer = line.partition(MARK)
                if mark:
                    return json.loads(answer)
                self._chatter.append(before)

    async def _read_errors(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while part := await process.stderr.read(4096):
            self._errors.append(part)

    @property
    def _stderr(self) -> str:
        return b"".join(self._errors).decode(errors="replace")

    @property
    def _stdout(self) -> str:
        return "".join(self._chatter)

    async def close(self) -> None:
        """Ends the probe; it removes what it left."""
        if self._starting is None:
            return
        try:
            process = await self._starting
        except OSError:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 0 if self.broken else _ENDING_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
