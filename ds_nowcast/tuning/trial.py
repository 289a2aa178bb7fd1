"""A trial: which settings ran, and what came of it. Everything it can do is a result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from data_prep.files import write_atomically, writing
from ds_nowcast.measuring.outcomes import Ending

FORMAT_VERSION = 1
OUTCOME = "outcome.json"
Ended = Ending | Literal["slow", "over_limit"]
"""slow: ended early, as far behind; over_limit: it ran, with more memory than is allowed."""
NAMES: dict[str, str] = {
    "measured": "measured",
    "slow": "ended early",
    "over_limit": "over the limit",
    "out_of_memory": "out of memory",
    "refused": "refused",
    "crashed": "crashed",
    "timed_out": "timed out",
}


@dataclass(frozen=True)
class Result:
    """What an objective found of one combination."""

    ended: Ended
    reason: str = ""  # one line; "" where it was measured
    value: float | None = None  # samples/s, or the score; None where it did not come so far
    steps: int = 0  # optimizer steps that the value is of
    memory_bytes: int | None = None  # of the fullest rank
    waiting: float | None = None  # share of a step that a rank waits for its samples
    seconds: float = 0.0  # that it took, start and end with it
    rungs: dict[str, float] = field(default_factory=dict)  # step: value, of a training

    @property
    def told(self) -> str:
        """How it ended, and why."""
        return NAMES[self.ended] + (f": {self.reason}" if self.reason else "")

    @property
    def counts(self) -> bool:
        """Whether it may be the best."""
        return self.ended == "measured" and self.value is not None


@dataclass(frozen=True)
class Trial:
    """A launch of the search, as its outcome.json holds it."""

    number: int  # from 1, the start
    combination: dict[str, str]
    result: Result

    def write(self, folder: Path) -> None:
        """Whole or not at all. Raises DataError."""
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        with writing(folder / OUTCOME):
            write_atomically(folder / OUTCOME, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_trial(folder: Path) -> Trial | None:
    """The trial of a folder; None where it did not end, or its file is damaged: it is run again."""
    try:
        content: dict[str, Any] = json.loads((folder / OUTCOME).read_text("utf-8"))
        if content["format_version"] != FORMAT_VERSION:
            return None
        result = Result(**content["result"])
        if result.ended not in NAMES:
            return None
        return Trial(int(content["number"]), dict(content["combination"]), result)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def over_limit(result: Result, limit: int | None) -> Result:
    """The same; where it took more memory than is allowed, that is what came of it."""
    taken = result.memory_bytes
    if limit is None or taken is None or taken <= limit or result.ended not in ("measured", "slow"):
        return result
    told = f"it took {taken / 1e9:.2f} GB of a rank's {limit / 1e9:.2f} GB"
    return replace(result, ended="over_limit", reason=told)
