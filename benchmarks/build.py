"""Building shards against reading the same frames with h5py alone, both in one process."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import h5py

from benchmarks.archive import Archive, plan
from benchmarks.command import Setting, main
from benchmarks.report import Goal, Report
from benchmarks.timing import in_turns
from data_prep.build import build

READING, BUILDING = "h5py alone", "build with one worker"


def run(setting: Setting) -> Report:
    """Measures both."""
    archive = setting.archive
    rates = in_turns({READING: lambda: read(archive), BUILDING: lambda: rebuild(archive)}, setting.rounds)
    frames, rows, columns = archive.shards.shape_THW
    what = f"{archive.events} {archive.what} of {frames} frames, {rows} x {columns} pixels, one core"
    return Report("build", what, "frames/s", rates, [Goal(BUILDING, [READING], 0.5)])


def read(archive: Archive) -> float:
    """All events, one after the other."""
    frames = 0
    for path in archive.files:
        with h5py.File(path) as file:
            for event in range(len(file["vil"])):
                frames += file["vil"][event].shape[-1]
    return frames


def rebuild(archive: Archive) -> float:
    """All events, from the listing to the index."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "shards"
        built = build(plan(archive.folder, out), out, workers=1)
    assert built is not None
    return sum(split.samples for split in built.index.splits.values()) * built.index.frames


if __name__ == "__main__":
    sys.exit(main("benchmarks.build", [run]))
