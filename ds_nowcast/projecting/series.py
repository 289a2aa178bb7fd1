"""The launches of a scaling study: which there are, which were made already, and what each found."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_prep.errors import UserError
from data_prep.files import write_atomically, writing
from ds_nowcast.config import Batch, RunConfig, changed
from ds_nowcast.measuring.launching import Job, Outcome, measured
from ds_nowcast.projecting.points import Point, Rates, point_of
from ds_nowcast.projecting.projection import Mode

Feed = Literal["full", "synthetic", "stream"]
FORMAT_VERSION = 1
Measure = Callable[[Job, Path, float], Outcome]


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
    """All launches of a study. `of` says which point of which scaling a launch is; one may be a point of both."""

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


@dataclass(frozen=True)
class Study:
    """Where and how the launches of a series are made."""

    config_path: Path
    config: RunConfig
    overrides: Sequence[str]
    shards: str
    shards_hash: str
    hostfile: Path | None
    folder: Path
    arguments: Sequence[str]  # of ds_nowcast.measure: steps, warmup, seconds
    timeout_s: float

    def identity(self, wanted: Wanted, cores: int | None) -> str:
        """What a result depends on; a launch with the same is not made again."""
        said = {
            "format_version": FORMAT_VERSION,
            "config": changed(self.config, wanted.sizes).to_dict(),
            "shards": self.shards_hash,
            "hosts": None if self.hostfile is None else self.hostfile.read_text("utf-8"),
            "launch": [wanted.feed, list(wanted.batch), wanted.collectives, list(self.arguments), cores],
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def kept(self, wanted: Wanted, cores: int | None) -> dict[str, Any] | None:
        """The result of an earlier launch of the same."""
        try:
            found = json.loads((self.folder / wanted.name / "point.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        same = isinstance(found, dict) and found.get("identity") == self.identity(wanted, cores)
        return found["result"] if same and isinstance(found.get("result"), dict) else None

    def keep(self, wanted: Wanted, cores: int | None, result: dict[str, Any]) -> None:
        """Remembers it."""
        path = self.folder / wanted.name / "point.json"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            content = json.dumps({"identity": self.identity(wanted, cores), "result": result}, indent=1) + "\n"
            write_atomically(path, content.encode())

    def job(self, wanted: Wanted) -> Job:
        """The launch."""
        more = ["--collectives"] if wanted.collectives else []
        return Job(
            config=self.config_path,
            shards=self.shards,
            overrides=[*self.overrides, *wanted.sizes],
            ranks=wanted.batch.ranks,
            hostfile=self.hostfile,
            arguments=["--feed", wanted.feed, *self.arguments, *more],
        )


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
            hosts = max((result["hosts"] for result in mine.values()), default=1)
            found.append(Rates(ranks, hosts, rate.get("stream"), rate.get("synthetic"), rate.get("full")))
        return found


def made(
    study: Study,
    series: Series,
    told: Callable[[str], None],
    measure: Measure = measured,
) -> Found:
    """Makes the launches that were not made before, one after the other; one that fails is told, and the next is made.

    Raises UserError where nothing can be launched.
    """
    found, wanted = Found({}, {}), series.wanted()
    for number, one in enumerate(wanted, 1):
        cores = None if study.hostfile else cores_of(one.batch.ranks, series.base.ranks)
        kept = study.kept(one, cores)
        if kept is not None:
            found.results[one] = kept
            told(f"{number}/{len(wanted)} {one}: {kept['samples_per_s']:.4g} samples/s, measured before")
            continue
        with on_cores(cores):
            outcome = measure(study.job(one), study.folder / one.name, study.timeout_s)
        if outcome.result is None:
            found.failed[one] = f"{outcome.ended.replace('_', ' ')}: {outcome.reason} (see {outcome.log})"
            told(f"{number}/{len(wanted)} {one}: {found.failed[one]}")
            continue
        study.keep(one, cores, outcome.result)
        found.results[one] = outcome.result
        told(f"{number}/{len(wanted)} {one}: {outcome.result['samples_per_s']:.4g} samples/s, {outcome.seconds:.0f} s")
    return found


def cores_of(ranks: int, most: int) -> int:
    """Cores for so many ranks on this machine, so that each has as many as where there are `most`; at least one each."""
    here = len(os.sched_getaffinity(0))
    return min(here, max(1, here // most) * ranks)


@contextmanager
def on_cores(number: int | None) -> Iterator[None]:
    """Processes started within run on so many of our cores: a rank alone would else take all, and scale badly for it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if number is None else sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def ranks_of(text: str) -> list[int]:
    """Numbers of ranks as given, such as 1,2,4, ascending. Raises UserError."""
    words = text.split(",")
    wrong = [word for word in words if not (word.strip().isascii() and word.strip().isdigit() and int(word) > 0)]
    if wrong:
        raise UserError(f"{wrong[0]!r} of {text!r} is no number of ranks; give whole numbers above 0 such as 1,2,4")
    numbers = sorted(map(int, words))
    twice = [a for a, b in zip(numbers, numbers[1:], strict=False) if a == b]
    if twice:
        raise UserError(f"{text!r} names {twice[0]} ranks twice; give each number once")
    return numbers
