"""The radar data of the benchmarks: simulated storms in SEVIR's layout and size, and their shards."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from data_prep.build import build
from data_prep.building.plan import Options, Plan, make_plan
from data_prep.shards.index import Shards, open_shards
from data_prep.simulate import simulate

SIZE, FRAMES = 384, 49  # of an event, as SEVIR's
SPLIT = "train"
_SAMPLES_PER_SHARD = 4  # so that there are shards for two workers


@dataclass(frozen=True)
class Archive:
    """Where it is."""

    folder: Path
    shards: Shards
    what: str  # its events, in words

    @property
    def files(self) -> list[Path]:
        """Its HDF5 files; "vil" in each is (events, rows, columns, frames) uint8."""
        return sorted(self.folder.rglob("*.h5"))

    @property
    def events(self) -> int:
        """As many as there are sequences in the shards."""
        return self.shards.split(SPLIT).samples


def make_archive(folder: Path, events: int) -> Archive:
    """Simulates `events` storms and builds their shards in `folder`."""
    simulate(folder / "archive", events, SIZE, FRAMES, seed=0, workers=len(os.sched_getaffinity(0)))
    return open_archive(folder / "archive", folder, "simulated storms")


def open_archive(source: Path, folder: Path, what: str = "given events") -> Archive:
    """An archive in SEVIR's layout that is there already; its shards are built in `folder`."""
    build(plan(source, folder / "shards"), folder / "shards", workers=1)
    return Archive(source, open_shards(folder / "shards"), what)


def plan(archive: Path, out: Path) -> Plan:
    """The build of all events into one split."""
    options = Options(
        format="sevir", sources=(str(archive),), split_dates=None, split=SPLIT, frames=None, stride=None, crop=None,
        min_wet=0.0, max_missing=1.0, encoding=None, samples_per_shard=_SAMPLES_PER_SHARD, seed=0,
    )  # fmt: skip
    return make_plan(options, out, strict=True)
