"""The launches of a scaling study: which there are, and what they found together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data_prep.errors import UserError
from ds_nowcast.config import Batch, RunConfig
from ds_nowcast.projecting.points import Point, Rates, point_of
from ds_nowcast.projecting.projection import Mode

_DIGITS = 9  # of a number of ranks: more is a slip

Feed = Literal["full", "synthetic", "stream"]


@dataclass(frozen=True)
class Wanted:
    """One launch."""

    feed: Feed
    batch: Batch
    collectives: bool = False

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.feed}-{self.batch.ranks}-ranks-{self.batch.total}-samples"

    @property
    def sizes(self) -> list[str]:
        """The settings that make the batch what it is."""
        total, micro, accumulation, _ = self.batch
        return [
            f"train_batch_size={total}",
            f"train_micro_batch_size_per_gpu={micro}",
            f"gradient_accumulation_steps={accumulation}",
        ]

    def __str__(self) -> str:
        ranks = f"{self.batch.ranks} rank{'s' if self.batch.ranks > 1 else ''}"
        return f"{self.feed} at {ranks}, {self.batch.total} samples a step"


@dataclass(frozen=True)
class Series:
    """All launches of a study. `batches` says which point of which scaling each is; one may be a point of both."""

    base: Batch  # of the largest number of ranks: the config as it is there
    weak: dict[int, Batch]
    strong: dict[int, Batch]

    def batches(self) -> list[tuple[Mode, Batch]]:
        """Every point."""
        return [("weak", batch) for batch in self.weak.values()] + [("strong", batch) for batch in self.strong.values()]

    def wanted(self) -> list[Wanted]:
        """Launches by number of ranks, none twice."""
        found: dict[Wanted, None] = {}
        for ranks, weak in self.weak.items():
            found[Wanted("full", weak, collectives=ranks > 1)] = None
            if self.strong[ranks] != weak:
                found[Wanted("full", self.strong[ranks])] = None
            found[Wanted("synthetic", weak)] = None
            found[Wanted("stream", weak)] = None
        return list(found)


def series_of(config: RunConfig, ranks: Sequence[int]) -> Series:
    """Weak scaling keeps each rank's part as at the largest number of ranks, strong scaling the samples of a step.

    Raises UserError where a step of the config does not divide over each number of ranks.
    """
    base = config.batch(ranks[-1])
    weak = {number: Batch(base.per_rank * number, base.micro, base.accumulation, number) for number in ranks}
    return Series(base, weak, {number: base.at(number) for number in ranks})


@dataclass
class Found:
    """What the launches of a series gave."""

    results: dict[Wanted, dict[str, Any]]
    failed: dict[Wanted, str]  # why

    def points(self, series: Series) -> list[Point]:
        """Full steps of both scalings that were measured."""
        full = {wanted.batch: result for wanted, result in self.results.items() if wanted.feed == "full"}
        return [point_of(mode, full[batch]) for mode, batch in series.batches() if batch in full]

    def rates(self, series: Series) -> list[Rates]:
        """The three rates by number of ranks, as in weak scaling."""
        found = []
        for ranks, batch in series.weak.items():
            mine = {w.feed: r for w, r in self.results.items() if w.batch == batch}
            rate = {feed: result["samples_per_s"] for feed, result in mine.items()}
            best = mine["full"]["batch"]["total"] / mine["full"]["step_s"]["least"] if "full" in mine else None
            hosts = max((result["hosts"] for result in mine.values()), default=1)
            found.append(Rates(ranks, hosts, rate.get("stream"), rate.get("synthetic"), rate.get("full"), best))
        return found


def ranks_of(text: str) -> list[int]:
    """Numbers of ranks as given, such as 1,2,4, ascending. Raises UserError."""
    words = text.split(",")
    wrong = [word for word in words if not _is_number(word.strip())]
    if wrong:
        raise UserError(f"{wrong[0]!r} of {text!r} is no number of ranks; give whole numbers above 0 such as 1,2,4")
    numbers = sorted(map(int, words))
    twice = [a for a, b in itertools.pairwise(numbers) if a == b]
    if twice:
        raise UserError(f"{text!r} names {twice[0]} ranks twice; give each number once")
    return numbers


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= _DIGITS and int(word) > 0
