"""What a check finds about a host, or about the launching machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ds_nowcast.doctor.job import Seen


class Level(IntEnum):
    """How bad it is."""

    SKIPPED = 0  # could not be told, for a reason that another check names
    OK = 1
    WARNING = 2
    FAILURE = 3


@dataclass(frozen=True)
class Finding:
    """One cell of the table."""

    check: str
    host: str  # "" for the launching machine
    level: Level
    shown: str  # a word or two
    advice: str = ""  # what is wrong and what to do, where there is something


def ok(check: str, one: Seen, shown: str) -> Finding:
    """Nothing to do."""
    return Finding(check, one.host.name, Level.OK, shown)


def skipped(check: str, one: Seen) -> Finding:
    """Another check says why."""
    return Finding(check, one.host.name, Level.SKIPPED, "-")


def warning(check: str, one: Seen, shown: str, advice: str) -> Finding:
    """The launch works, less well."""
    return Finding(check, one.host.name, Level.WARNING, shown, advice)


def failure(check: str, one: Seen, shown: str, advice: str) -> Finding:
    """The launch would not work."""
    return Finding(check, one.host.name, Level.FAILURE, shown, advice)


def usual(values: Iterable[str]) -> str:
    """The value that most hosts have; of equally many, the first's."""
    return Counter(values).most_common(1)[0][0]


def worst(findings: Sequence[Finding]) -> Level:
    """The worst level there is."""
    return max((finding.level for finding in findings), default=Level.OK)
