"""What a user is told when something they gave cannot be used, and with which exit code the program ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

MOST_REASON = 600  # characters: what is wrong with a file is often shown with a piece of it


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


def not_installed(what: str, module: str, extra: str) -> UserError:
    """The error where `what` needs a module that is not installed. extra: of ours, that brings it."""
    return UserError(f"{what} needs {module}, which is not installed; pip install 'ds-nowcast[{extra}]'")


class RadarFileError(UserError):
    """A radar file that cannot be read: names the file and the reason, a line that can be printed and is not too long."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = str(path), printable(reason, MOST_REASON)
        super().__init__(f"{printable(self.path)}: {self.reason}")

    def __reduce__(self) -> tuple[type[RadarFileError], tuple[str, str]]:
        return RadarFileError, (self.path, self.reason)  # crosses process borders in the builder


def without_secrets(text: str) -> str:
    """Text without what stands before the @ and after the ? of the URLs in it, also of those that went through a Path."""
    text = re.sub(r"(\w:/{1,2})[^/\s@\"']*@", r"\1", text)
    return re.sub(r"\w:/{1,2}[^\s\"']*", lambda url: url[0].partition("?")[0], text)


def printable(text: str, most: int | None = None) -> str:
    """The text in one line, without secrets of URLs, what no terminal should be sent escaped, cut in its middle to `most`.

    Names of files and what stands in them may be anything: control characters, lines, bytes that are no UTF-8.
    """
    text = _cut(without_secrets(text), most)
    if text.isprintable():
        return text
    escaped = (one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text)
    return _cut("".join(escaped), most)


def _cut(text: str, most: int | None) -> str:
    return text if most is None or len(text) <= most else f"{text[: most // 2]}...{text[-(most // 2 - 3) :]}"


def counted(number: int, noun: str) -> str:
    """As in "1 frame", "2 frames"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def in_words(error: BaseException) -> str:
    """What another's exception says, in one line with its type."""
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    says = error.strerror if isinstance(error, OSError) and error.strerror else error.args[0] if error.args else error
    first = next(iter(str(says).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


class DataError(ExpectedError):
    """Data that was promised (by an index, an archive) turned out missing or damaged past its limit."""

    exit_code = 3


class SourceError(DataError):
    """Where the data lie could not be reached, or failed for good: the data themselves may be whole."""
