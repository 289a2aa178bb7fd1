"""An archive format for tests: `listing.json` and an array (T, H, W) of mm/h per recording, NaN where nothing is seen.

A file called `dies.npy` ends the process that reads it, as a fault in a C library would. NOWCAST_TEST_KILL=<file> makes
the reading of that file kill the building process (and its parent, where the parent is the builder of a worker).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.frames import Grid, RadarFrame
from data_prep.readers import Each, Product, Reader, Recording, Scan, in_turn

START = datetime(2020, 1, 1, tzinfo=UTC)
RAIN = Product("rain", "mm/h")
MODULE = "tests.data_prep.fake_reader"


def at(step: float) -> datetime:
    """The time of frame `step` after START, 5 minutes each."""
    return START + timedelta(minutes=5 * step)


class FakeReader:
    name = "fake"
    split_dates: tuple[str, str] | None = None

    def scan(self, sources: Sequence[str], product: str | None = None, each: Each = in_turn) -> Scan:
        recordings = []
        for folder in map(Path, sources):
            for entry in json.loads((folder / "listing.json").read_text()):
                times = tuple(datetime.fromisoformat(time) for time in entry["times"])
                event_time = datetime.fromisoformat(entry["event_time"]) if entry["event_time"] else None
                recordings.append(Recording(folder / entry["file"], 0, times, RAIN, entry["event"], event_time))
        return Scan(RAIN, 300, recordings)

    def read(self, recording: Recording) -> list[RadarFrame]:
        if recording.path.name == "dies.npy":
            os._exit(9)
        if recording.path.name == os.environ.get("NOWCAST_TEST_KILL"):
            parent = multiprocessing.parent_process()
            os.kill(parent.pid if parent and parent.pid else os.getpid(), signal.SIGKILL)
        try:
            fields_THW = np.load(recording.path)
        except (ValueError, EOFError) as error:
            raise RadarFileError(recording.path, str(error)) from None
        grid = Grid(fields_THW.shape[1:], "+proj=laea +units=m", (1000.0, 1000.0), 0.0, 0.0)
        return [
            RadarFrame(field, RAIN.unit, time, grid) for field, time in zip(fields_THW, recording.times, strict=False)
        ]


def rain(rng: np.random.Generator, frames: int, size: int = 12) -> NDArray[np.float32]:
    """Fields (T, H, W) in mm/h with some no data."""
    fields_THW = rng.gamma(0.5, 3.0, (frames, size, size)).astype(np.float32)
    fields_THW[:, 0, :3] = np.nan
    return fields_THW


class FakeArchive:
    """Writes such an archive."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.listing = folder, list[dict[str, object]]()
        folder.mkdir(exist_ok=True)
        self.rng = np.random.default_rng(0)

    def add(
        self,
        file: str,
        times: Sequence[datetime],
        event: str | None = None,
        fields_THW: NDArray[np.float32] | None = None,
    ) -> None:
        """One recording; an event's own time is that of its middle frame."""
        np.save(self.folder / file, rain(self.rng, len(times)) if fields_THW is None else fields_THW)
        self.listing.append(
            {
                "file": file,
                "times": [time.isoformat() for time in times],
                "event": event,
                "event_time": times[len(times) // 2].isoformat() if event else None,
            }
        )
        (self.folder / "listing.json").write_text(json.dumps(self.listing))

    def add_run(self, steps: Sequence[int]) -> None:
        """Composites, one file each, named so that the files' order is not that of their times."""
        for step in steps:
            self.add(f"c{(step * 37) % 101:03d}_{step:03d}.npy", [at(step)])

    def add_events(self, count: int, frames: int = 6) -> None:
        """Events E000, E001, ... that begin a day apart."""
        for number in range(count):
            self.add(f"e{number:03d}.npy", [at(288 * number + step) for step in range(frames)], f"E{number:03d}")


READER: Reader = FakeReader()
