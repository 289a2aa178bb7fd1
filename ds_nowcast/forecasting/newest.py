"""The newest frames of an archive, of the kind that a model takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from data_prep.building.account import show_left_out
from data_prep.building.layout import WHOLE_FRAMES, AnotherGridError, read_sequence, usual_layout
from data_prep.building.left_out import LeftOuts
from data_prep.building.sequences import FrameRef, follows
from data_prep.building.sequences import Sequence as Run
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Grid
from data_prep.readers import Reader, Recording, Scan, reader_named
from data_prep.times import iso, utc
from data_prep.workers import Pool, WorkerDiedError, Workers
from ds_nowcast.exported import ModelCard


class Observed(NamedTuple):
    """The newest frames of an archive."""

    codes_THW: NDArray[np.integer]
    times: tuple[datetime, ...]
    grid: Grid


def newest_frames(archive: str, sources: Sequence[str], card: ModelCard, product: str | None = None) -> Observed:
    """The last `input_frames` frames. Raises UserError where they are not all there or not of the model's kind.

    Files are opened in a process that is limited, as in a build: one that kills it is left out, or named.
    """
    reader, where = reader_named(archive), " ".join(sources)
    with guarded() as pool:
        scan = reader.scan(sources, product, pool.each)
        if scan.left_out:
            show_left_out(Console(stderr=True, highlight=False), LeftOuts.of(scan.left_out))
        newest = newest_run(scan.recordings, card.input_frames, scan.cadence_s, where)
        return read_run(reader, scan, newest, card, where, pool)


@contextmanager
def guarded() -> Iterator[Workers]:
    """A process that opens files; DataError where it died and no file is to blame."""
    with Workers(1) as pool:
        try:
            yield pool
        except WorkerDiedError as error:
            raise error.told("the archive was read", "less else running") from None


def read_run(reader: Reader, scan: Scan, run: Run, card: ModelCard, where: str, pool: Pool) -> Observed:
    """The frames of a run. Raises UserError where they are not of the model's kind, or a file (RadarFileError) is damaged."""
    layout = usual_layout(reader, scan.recordings, [run], WHOLE_FRAMES, card.encoding, pool)
    card.check_kind(
        where, unit=scan.product.unit, cadence_s=scan.cadence_s, pixel=layout.pixel, pixel_unit=layout.pixel_unit
    )
    needed = {ref.recording: scan.recordings[ref.recording] for ref in run.frames}
    try:
        [read] = pool.each(partial(read_sequence, reader, needed, layout=layout), [run])
        if isinstance(read, RadarFileError):
            raise read
    except AnotherGridError as error:
        raise UserError(
            f"{where}: the newest {card.input_frames} frames are not on one grid ({error}); give frames of one grid"
        ) from None
    codes_THW, grid = read
    return Observed(codes_THW, run.times, grid)


def newest_run(recordings: list[Recording], frames: int, cadence_s: int, where: str) -> Run:
    """The last `frames` frames, without a gap: of the event that ends last, or of all composites.

    Raises UserError where the run up to the newest frame is shorter: older frames would make a forecast of the past.
    """
    if not recordings:
        raise UserError(f"{where} holds no frames that can be used; give other files")
    run = latest_run(recordings, frames, cadence_s)
    if len(run.times) < frames:
        raise UserError(
            f"the newest run without a gap in {where}, up to {iso(run.times[-1])}, has {len(run.times)} of the {frames} "
            "frames that the model takes; give more frames, or the files of an older run alone"
        )
    return run


def latest_run(recordings: list[Recording], frames: int, cadence_s: int) -> Run:
    """As many frames up to the newest as there are without a gap, at most `frames`."""
    last = max(recordings, key=lambda recording: utc(recording.times[-1]))
    places: dict[datetime, FrameRef] = {}
    for number, recording in enumerate(recordings):
        for step, time in enumerate(recording.times if recording.event == last.event else ()):
            places.setdefault(utc(time), FrameRef(number, step))
    run: list[datetime] = []
    for time in sorted(places, reverse=True)[:frames]:
        if run and not follows(time, run[0], cadence_s):
            break
        run.insert(0, time)
    return Run("newest", tuple(places[time] for time in run), tuple(run), last.event)
