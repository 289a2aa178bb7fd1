"""How a launch ended, in one line for the user: what a trial does is a result, not an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Ending = Literal["measured", "out_of_memory", "refused", "crashed", "timed_out"]

_REFUSED = 2
_KILLED = (-9, 137, 247)  # by the kernel: of a process, as a shell says it, as an exit code
_TAIL = 2**20  # bytes of the log that are looked at
_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|can't allocate memory|Cannot allocate memory|std::bad_alloc"
    r"|cudaErrorMemoryAllocation|exit(?:s|ed) with return code = -9|killed by SIGKILL|ended by signal 9|\bKilled$",
    re.MULTILINE,
)
_HOST = re.compile(r"^(?!error: )[a-z0-9][a-z0-9.-]*: ", re.MULTILINE)  # pdsh puts before each line whose it is
_LAUNCHER = re.compile(r"\[[\d-]+ [\d:,]+\] \[")  # its log, which only gives exit codes
_FAILED = re.compile(r"^FAILED rank .*$", re.MULTILINE)
_ERROR = re.compile(r"^(?:[\w. -]+: )?error: (.*)$", re.MULTILINE)
_RAISED = re.compile(r"^(?:\[rank\d+\]: ?)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """How a launch ended."""

    ended: Ending
    reason: str  # one line for the user; "" where it was measured
    result: dict[str, Any] | None  # what `measure` wrote; None where it did not come so far, and of other modules
    seconds: float  # from start to end
    log: Path  # all of its output
    code: int  # exit code of the launcher; negative where a signal ended it


def outcome_of(code: int, log: Path, seconds: float, timeout_s: float | None) -> Outcome:
    """From the launcher's exit code and its log. timeout_s: what it did not end within; None where it ended by itself."""
    if timeout_s is not None:
        return Outcome("timed_out", f"it did not end within {timeout_s:g} s", None, seconds, log, code)
    if code == 0:
        return Outcome("measured", "", None, seconds, log, code)
    text = _HOST.sub("", tail_of(log))
    if code == _REFUSED:
        return Outcome("refused", _told(text, code), None, seconds, log, code)
    if code in _KILLED or _OF_MEMORY.search(text):
        return Outcome("out_of_memory", _of_memory(text), None, seconds, log, code)
    return Outcome("crashed", _told(text, code), None, seconds, log, code)


def tail_of(log: Path) -> str:
    """The end of a log; nothing where there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _of_memory(text: str) -> str:
    """The line that says so, the rank's own before the launcher's."""
    saying = [line.strip() for line in text.splitlines() if _OF_MEMORY.search(line) and not _LAUNCHER.match(line)]
    failed = _FAILED.findall(text)
    both = [line for line in saying if line in failed]
    return (both or saying or failed or ["the kernel killed it, most likely for want of memory"])[-1]


def _told(text: str, code: int) -> str:
    """The line that says why: ours, else an exception's, else the last one."""
    for pattern in (_FAILED, _ERROR, _RAISED):
        if found := pattern.findall(text):
            return str(found[-1]).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with exit code {code} and said nothing"
