"""What a user is told when something they gave cannot be used, and with which exit code the program ends."""

from __future__ import annotations

from pathlib import Path
from typing import Self


class ExpectedError(Exception):
    """An end the program foresees: printed as one sentence without a traceback, `exit_code` is the process's."""

    exit_code = 1
    rank: int | None = None  # among several processes that all raise it the one it came from, where that is known

    def at(self, rank: int) -> Self:
        """The same, with the rank it came from."""
        self.rank = rank
        return self


class UserError(ExpectedError):
    """The user's input (an option, a path, a config, a file) cannot be used; the message says what to do."""

    exit_code = 2


class RadarFileError(UserError):
    """A radar file that cannot be read: names the file and the reason."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason

    def __reduce__(self) -> tuple[type[RadarFileError], tuple[str, str]]:
        return RadarFileError, (self.path, self.reason)  # crosses process borders in the builder


class DataError(ExpectedError):
    """Data that was promised (by an index, an archive) turned out missing or damaged past its limit."""

    exit_code = 3


class SourceError(DataError):
    """Where the data lie could not be reached, or failed for good: the data themselves may be whole."""
