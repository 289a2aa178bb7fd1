"""The radar data of the benchmarks in SEVIR's layout and size, and their shards: real rain where there is some, or simulated storms."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.running import run_python
from data_prep.build import build
from data_prep.building.options import Options
from data_prep.building.plan import Plan, make_plan
from data_prep.shards.codecs import DEFAULT
from data_prep.shards.index import Shards, open_shards

FRAMES = 49  # of an event, as SEVIR's
SPLIT = "train"
SIMULATED = "simulated storms"
DATA = "NOWCAST_RADAR_DATA"  # the variable that names the folder of real archives
_REAL = "derived/sevir_layout"  # in it: KNMI's rain in SEVIR's layout
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

    def packed_as(self, codec: str, folder: Path) -> Archive:
        """The same with shards of another codec, built in `folder`."""
        build(plan(self.folder, folder, codec), folder)
        return replace(self, shards=open_shards(folder))

    def codes(self) -> Iterator[NDArray[np.uint8]]:
        """Each event's codes (T, H, W), row 0 in the north."""
        for path in self.files:
            with h5py.File(path) as file:
                for event_HWT in file["vil"]:
                    yield np.ascontiguousarray(event_HWT[::-1].transpose(2, 0, 1))


def make_archive(folder: Path, events: int, size: int) -> Archive:
    """An archive of `events` events and its shards in `folder`: real ones where NOWCAST_RADAR_DATA is set.

    size: rows and columns of simulated ones.
    """
    out, data = folder / "archive", os.environ.get(DATA)
    if data is None:
        simulate(out, events, size)
        return open_archive(out, folder, SIMULATED)
    real = replicate(Path(data, _REAL), out, events)
    what = f"events of KNMI's rain in SEVIR's layout ({real}, the others these mirrored and turned)"
    return open_archive(out, folder, what if events > real else "events of KNMI's rain in SEVIR's layout")


def simulate(out: Path, events: int, size: int) -> None:
    """Simulated storms, by a process of its own: its workers would import the benchmark that is running, and torch with it."""
    shape = f"--events {events} --size {size} --frames {FRAMES}".split()
    run_python("-m", "data_prep", "simulate", "--out", out, *shape, "--quiet")


def replicate(source: Path, out: Path, events: int) -> int:
    """Writes an archive like `source` with `events` events, the source's in turns, mirrored and turned; how many it has."""
    with open(source / "CATALOG.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    name = "vil/replicated.h5"
    (out / "data/vil").mkdir(parents=True)
    ids = [f"R{number:08d}" for number in range(events)]
    with h5py.File(out / "data" / name, "w") as copy:
        copy["id"] = np.array(ids, "S9")
        for number in range(events):
            row = rows[number % len(rows)]
            with h5py.File(source / "data" / row["file_name"]) as file:
                vil = file["vil"]
                if not number:
                    shape, packing = (events, *vil.shape[1:]), vil.compression
                    made = copy.create_dataset("vil", shape, vil.dtype, chunks=vil.chunks, compression=packing)
                made[number] = _symmetry(vil[int(row["file_index"])], number // len(rows))
    with open(out / "CATALOG.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        for number, event_id in enumerate(ids):
            table.writerow(rows[number % len(rows)] | {"id": event_id, "file_name": name, "file_index": str(number)})
    return len(rows)


def _symmetry(event_HWT: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """One of the square's eight; number 0 changes nothing."""
    turned_HWT = np.rot90(event_HWT, number % 8 // 2)
    return turned_HWT[:, ::-1] if number % 2 else turned_HWT


def open_archive(source: Path, folder: Path, what: str = "given events") -> Archive:
    """An archive in SEVIR's layout that is there already; its shards are built in `folder`."""
    build(plan(source, folder / "shards"), folder / "shards")
    return Archive(source, open_shards(folder / "shards"), what)


def plan(archive: Path, out: Path, codec: str = DEFAULT) -> Plan:
    """The build of all events into one split."""
    options = Options(
        format="sevir", sources=(str(archive),), split=SPLIT, max_missing=1.0, samples_per_shard=_SAMPLES_PER_SHARD, codec=codec
    )  # fmt: skip
    return make_plan(options, out, strict=True)
