"""Making the launches of a scaling study, but those that were made before."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.files import write_atomically, writing
from ds_nowcast.config import RunConfig, changed
from ds_nowcast.measuring.launching import Job, measured
from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.measuring.slots import hosts_for, is_here
from ds_nowcast.projecting.series import Found, Series, Wanted

FORMAT_VERSION = 1
Measure = Callable[[Job, Path, float], Outcome]


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

    def cores(self, wanted: Wanted, most: int) -> int | None:
        """Of this machine, for a launch; None where other hosts take part. most: ranks of the largest launch."""
        ranks = wanted.batch.ranks
        return cores_of(ranks, most) if all(map(is_here, hosts_for(ranks, self.hostfile))) else None

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
        cores = study.cores(one, series.base.ranks)
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
