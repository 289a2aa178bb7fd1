"""What a search asks of its objective: to try a combination once, and to try it again where it matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.tuning.study import Halving
from ds_nowcast.tuning.trial import Result

Report = Callable[[int, float], bool]
"""(step, value): notes what a trial has reached; whether it should end there."""


@dataclass(frozen=True)
class Launches:
    """What all launches of a search share."""

    config: Path
    shards: str
    overrides: Sequence[str]  # of the start
    ranks: int
    hostfile: Path | None
    timeout_s: float  # of one launch
    environment: Mapping[str, str] = field(default_factory=dict)  # of all ranks, beside this process's own


class Objective(Protocol):
    """What is made as large as can be."""

    unit: str
    digits: int  # of a value, behind the point
    halving: Halving | None
    turns_back: bool  # whether each setting of the best is put back at the end, to see what it is worth

    def try_once(self, words: Sequence[str], folder: Path, report: Report, best: float | None) -> Result:
        """A trial. words: overrides beside the start's. best: the best value so far. Goes on where the folder has a part of it."""

    def try_again(self, words: Sequence[str], folder: Path, turn: int) -> Result:
        """The start's or the best's, more exactly. turn: from 0."""


def failed(outcome: Outcome) -> Result:
    """What came of a launch that did not end well."""
    return Result(outcome.ended, outcome.reason, seconds=outcome.seconds)
