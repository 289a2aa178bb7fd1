"""Simulated storms in SEVIR's own layout, for trying the whole journey where no archive is at hand, and for tests.

`<out>/CATALOG.csv` and `<out>/data/vil/<year>/SEVIR_VIL_STORMEVENTS_<year>_<mmdd>_<mmdd>.h5` as Veillette, Samsi and
Mattioli (2020, NeurIPS 33) publish them: "vil" (N, H, W, T) uint8, time last, row 0 in the south, codes 0..254 and 255
for missing. `data_prep.storms` makes the VIL.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep import console
from data_prep.encoding import ENCODINGS
from data_prep.errors import UserError
from data_prep.files import writing
from data_prep.projection import place_of
from data_prep.storms import storm
from data_prep.workers import WorkerDiedError, cores, in_parallel

EXAMPLE = "python -m data_prep simulate --out storms --events 160 --size 96 --frames 49 --seed 0"
PROJ = "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere "  # SEVIR's, its last blank included
PIXEL_M, CADENCE_MIN = 1000.0, 5
FIRST_ID = 800001
EVENT_TYPES = {  # with their counts in one file of SEVIR
    "Thunderstorm Wind": 368, "Hail": 281, "Tornado": 56, "Flash Flood": 50,
    "Flood": 48, "Funnel Cloud": 28, "Heavy Rain": 13, "Lightning": 7,
}  # fmt: skip
# Shares of the events at which one split ends and the next begins, and the times there: SEVIR's standard boundaries.
SPLIT_SHARES = (0.0, 0.70, 0.82, 1.0)
SPLIT_TIMES = (datetime(2018, 1, 2), datetime(2019, 1, 1), datetime(2019, 6, 1), datetime(2019, 12, 31))
MISSING_SHARE = 0.03  # of the events
EVENTS_FOR_A_REPEATED_ID = 40
MOST_WORKERS = 8  # one process writes what they make, and keeps up with about so many
PIXELS_WORTH_A_WORKER = 20_000_000  # about 4 s of work against half a second to start a process
COLUMNS = [
    "id", "file_name", "file_index", "img_type", "time_utc", "minute_offsets", "episode_id", "event_id", "event_type",
    "llcrnrlat", "llcrnrlon", "urcrnrlat", "urcrnrlon", "proj", "size_x", "size_y", "height_m", "width_m",
    "data_min", "data_max", "pct_missing",
]  # fmt: skip

Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Event:
    """What is known of an event before its frames are made."""

    number: int  # order in time, also its random stream
    event_id: int
    time: datetime  # UTC, of the middle frame
    event_type: str
    west_m: float  # lower left corner in PROJ
    south_m: float
    has_missing: bool

    @property
    def file_name(self) -> str:
        """Of its half-year file, relative to the archive's data folder, as the catalog has it."""
        half = "0101_0630" if self.time.month <= 6 else "0701_1231"
        return f"vil/{self.time.year}/SEVIR_VIL_STORMEVENTS_{self.time.year}_{half}.h5"


def _times(rng: np.random.Generator, events: int) -> list[datetime]:
    """Ascending times, spread so evenly that 12 events or more reach each of the three splits."""
    start = SPLIT_TIMES[0]
    share = (np.arange(events) + rng.uniform(0.3, 0.7, events)) / events
    minutes = np.interp(share, SPLIT_SHARES, [(time - start).total_seconds() / 60 for time in SPLIT_TIMES])
    # Rounded up: a boundary itself still belongs to the split before it.
    return [start + timedelta(minutes=CADENCE_MIN * int(np.ceil(m / CADENCE_MIN))) for m in minutes]


def plan(events: int, seed: int) -> list[Event]:
    """All events in order of time. Those with missing pixels and the repeated id fall into the training split."""
    rng = np.random.default_rng([seed, 0])
    training = rng.permutation(int(events * SPLIT_SHARES[1]))
    blind = set(training[: round(MISSING_SHARE * events)].tolist())
    ids = FIRST_ID + np.arange(events)
    if events >= EVENTS_FOR_A_REPEATED_ID:
        ids[training[-1]] = ids[training[-2]]
    weights = np.array(list(EVENT_TYPES.values())) / sum(EVENT_TYPES.values())
    types = rng.choice(list(EVENT_TYPES), events, p=weights)
    # SEVIR's corners lie on a 2 km grid over the contiguous United States.
    west, south = 2000.0 * rng.integers(-750, 650, events), 2000.0 * rng.integers(-550, 250, events)
    return [
        Event(i, int(ids[i]), time, str(types[i]), float(west[i]), float(south[i]), i in blind)
        for i, time in enumerate(_times(rng, events))
    ]


def blinded(vil: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """VIL (T, H, W) with NaN where a blocked beam's sector, or a radar that sent too late, leaves no data."""
    frames, height, width = vil.shape
    if rng.random() < 0.5:
        late = rng.integers(1, max(2, frames // 4))
        first = rng.integers(0, frames - late + 1)
        return np.where((np.arange(frames) - first) // late == 0, np.float32(np.nan), vil.T).T
    rows, columns = np.ogrid[:height, :width]
    radar = rng.uniform(-0.2, 1.2, 2) * (height, width)
    towards = np.arctan2(height / 2 - radar[0], width / 2 - radar[1])
    off_axis = np.angle(np.exp(1j * (np.arctan2(rows - radar[0], columns - radar[1]) - towards)))
    return np.where(np.abs(off_axis) < rng.uniform(0.05, 0.2), np.float32(np.nan), vil)


def _codes(seed: int, size: int, frames: int, event: Event) -> Codes:
    """The event's codes as SEVIR stores them, (H, W, T), row 0 in the south."""
    rng = np.random.default_rng([seed, 1 + event.number])
    vil = storm(rng, size, frames)
    codes = ENCODINGS["vil255"].encode(blinded(vil, rng) if event.has_missing else vil, "kg/m2")
    return np.ascontiguousarray(np.moveaxis(codes[:, ::-1], 0, -1))


def _row(event: Event, index: int, codes: Codes) -> dict[str, Any]:
    """The event's line in the catalog; `index` is its place in its file."""
    size, frames = codes.shape[0], codes.shape[2]
    length_m = size * PIXEL_M
    corners = [(event.west_m, event.south_m), (event.west_m + length_m, event.south_m + length_m)]
    (west, south), (east, north) = (place_of(PROJ, x_m, y_m) for x_m, y_m in corners)
    missing = codes == ENCODINGS["vil255"].missing
    seen = codes[~missing]
    values = (
        f"S{event.event_id}", event.file_name, index, "vil", event.time.strftime("%Y-%m-%d %H:%M:%S"),
        ":".join(str(CADENCE_MIN * (frame - frames // 2)) for frame in range(frames)),
        FIRST_ID // 6 + event.number // 3, event.event_id, event.event_type,
        *(round(degrees, 10) for degrees in (south, west, north, east)), PROJ,
        size, size, length_m, length_m, seen.min(initial=254), seen.max(initial=0), float(missing.mean()),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _write(
    folder: Path, planned: list[Event], made: Iterable[tuple[Event, Codes]], vil_shape: tuple[int, ...]
) -> Iterator[None]:
    """Writes events into `folder` as they are `made`, in any order, then the catalog; yields after each event."""
    import h5py

    rows: dict[int, dict[str, Any]] = {}
    with ExitStack() as files:
        places: dict[int, tuple[Any, int]] = {}  # by an event's number: its file's "vil" and where in it
        for name, group in groupby(planned, lambda event: event.file_name):
            events, path = list(group), folder / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            file = files.enter_context(h5py.File(path, "w"))
            file["id"] = np.array([f"S{event.event_id}".encode() for event in events])
            vil = file.create_dataset(
                "vil", (len(events), *vil_shape), np.uint8, chunks=(1, *vil_shape), compression="gzip"
            )
            places |= {event.number: (vil, index) for index, event in enumerate(events)}
        for event, codes in made:
            vil, index = places[event.number]
            vil[index] = codes
            rows[event.number] = _row(event, index, codes)
            yield
    with open(folder / "CATALOG.csv", "w", newline="", encoding="utf-8") as catalog:
        table = csv.DictWriter(catalog, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(row for _, row in sorted(rows.items()))


def _refuse_wrong(out: Path, events: int, size: int, frames: int, seed: int) -> None:
    for name, given, least in (("events", events, 1), ("size", size, 16), ("frames", frames, 2), ("seed", seed, 0)):
        if given < least:
            raise UserError(f"--{name} {given} is too small; give {least} or more")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out {out} exists and is not an empty folder; give a new one or remove it")


def simulate(
    out: Path,
    events: int,
    size: int,
    frames: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
    workers: int = 1,
) -> None:
    """Writes an archive of `events` storms of (size, size) pixels of 1 km and `frames` frames of 5 minutes to `out`.

    The content of every file follows from the arguments alone, whatever `workers` (processes) is. `progress` is called
    with how many more events are written. `out` appears only when whole; until then `<out>.partial` beside it grows.
    Raises UserError if `out` exists and is not an empty folder, if it cannot be made, or if a number is too small.
    """
    _refuse_wrong(out, events, size, frames, seed)
    whole = out.resolve()
    unfinished = whole.with_name(whole.name + ".partial")
    try:
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be made ({error}); give a folder that can be written to") from error
    planned = plan(events, seed)
    made = in_parallel(partial(_codes, seed, size, frames), planned, workers)
    for _ in _write(unfinished, planned, made, (size, size, frames)):
        if progress is not None:
            progress(1)
    os.replace(unfinished, whole)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""

    def add(name: str, default: int, metavar: str, text: str) -> None:
        parser.add_argument(name, type=int, default=default, metavar=metavar, help=f"{text} (default: {default})")

    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the archive")
    add("--events", 160, "N", "how many storms; 12 or more reach all three splits")
    add("--size", 384, "PX", "pixels of 1 km a side")
    add("--frames", 49, "N", "frames of 5 minutes")
    add("--seed", 0, "N", "another seed, other storms")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    """Writes the archive and says what it holds; returns the exit code."""
    pixels = args.events * args.frames * args.size**2
    workers = min(cores(), MOST_WORKERS, 1 + pixels // PIXELS_WORTH_A_WORKER)
    try:
        with writing(args.out), console.progress("storms", args.events, quiet=args.quiet) as advance:
            simulate(args.out, args.events, args.size, args.frames, args.seed, advance, workers)
    except WorkerDiedError as error:
        raise error.told(f"{args.out} was made", "a smaller --size") from None
    if not args.quiet:
        print(f"{args.out}: {args.events} storms of {args.size} x {args.size} pixels and {args.frames} frames")
    return 0
