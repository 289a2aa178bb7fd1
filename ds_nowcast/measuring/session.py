"""A command in a session of its own, all of whose processes end with it, with its time, and with us."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from data_prep.console import signals_held_back, sigterm_raises
from data_prep.errors import UserError
from data_prep.files import writing

_GRACE_S = 30.0  # to end after SIGTERM: a training saves first
_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Ended(NamedTuple):
    """How a command ended."""

    code: int  # negative where a signal ended it
    in_time: bool  # whether by itself
    seconds: float  # with all that it had started


def run(command: Sequence[str], log: Path, timeout_s: float, environment: Mapping[str, str]) -> Ended:
    """Runs a command to its end, or the end of its time; its output goes to the log. Nothing of it is left, whatever ends us.

    Raises UserError where it cannot be started, DataError where the log cannot be written.
    """
    started, in_time = time.monotonic(), True
    with writing(log), open(log, "wb") as output, sigterm_raises(), ExitStack() as at_the_end:
        with signals_held_back():
            process = _start(command, output.fileno(), environment)
            at_the_end.callback(_end, process)  # also where a signal ends us
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            in_time = False
    return Ended(process.returncode, in_time, time.monotonic() - started)


def _start(command: Sequence[str], output: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    libc, us = ctypes.CDLL(None), os.getpid()

    def die_with_us() -> None:  # where we are killed outright: a launch's ranks see their launcher go, and end
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != us:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        return subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=die_with_us,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"{command[0]} cannot be started ({error.strerror}); install the package again") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends what is left of the session, gently at first. A second signal to us hastens it."""
    try:
        _all_gone(process, signal.SIGTERM, _GRACE_S)
    finally:
        _all_gone(process, signal.SIGKILL, _GRACE_S)
        process.wait()


def _all_gone(process: subprocess.Popen[bytes], number: int, seconds: float) -> None:
    """Sends a signal to what is left of the session, and waits so many seconds for the end of all."""
    for member in _members(process):
        with suppress(psutil.Error):
            member.send_signal(number)
    deadline = time.monotonic() + seconds
    while _members(process):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)


def _members(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Processes of the session that have not ended; the dead that nobody asks after stay in the kernel's table."""
    process.poll()
    members = []
    for other in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if os.getsid(other.pid) == process.pid and other.status() != psutil.STATUS_ZOMBIE:
                members.append(other)
    return members
