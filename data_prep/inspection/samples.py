"""A few frames of an archive or a shards folder: their codes counted, their places, and small pictures of some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from numpy.typing import NDArray

from data_prep.building.layout import read_recording
from data_prep.encoding import encoding_named
from data_prep.errors import RadarFileError
from data_prep.frames import Grid
from data_prep.pictures.page import evenly
from data_prep.readers import LeftOut, Reader, Recording
from data_prep.shards.tally import CodeTally, Counter
from data_prep.workers import Pool

THUMBNAIL = 600  # pixels of its longer side, at most: twice what a panel of a picture shows
FRAMES_OF_EVENT = 5  # looked at of a recording that holds several


@dataclass(frozen=True)
class Look:
    """Frames of one recording.

    grid: theirs. pictures: codes (H, W) of each frame, of large ones every second (third...) pixel; empty where none was
    wanted.
    """

    label: str
    times: tuple[datetime, ...]
    tally: CodeTally
    grid: Grid
    pictures: tuple[NDArray[Any], ...]


def look_at(
    reader: Reader, recordings: Sequence[Recording], encoding: str, drawn: Iterable[int], pool: Pool
) -> Iterable[Look | LeftOut]:
    """Frames of each recording, as they are read.

    drawn: numbers of the recordings of which pictures are wanted. What cannot be read is a LeftOut.
    """
    wanted = set(drawn)
    items = [(recording, number in wanted) for number, recording in enumerate(recordings)]
    for found in pool.each(partial(_look, reader, encoding), items):
        yield LeftOut(found.path, "unreadable", found.reason) if isinstance(found, RadarFileError) else found


def _look(reader: Reader, encoding_name: str, item: tuple[Recording, bool]) -> Look:
    (recording, drawn), encoding = item, encoding_named(encoding_name)
    frames = read_recording(reader, recording)
    counter, chosen, pictures = Counter(encoding), evenly(len(frames), FRAMES_OF_EVENT), list[NDArray[Any]]()
    for number in chosen:
        codes_HW = frames[number].encode(encoding)
        counter.add(codes_HW)
        if drawn:
            pictures.append(thumbnail(codes_HW))
    times = tuple(recording.times[number] for number in chosen)
    label = recording.event or recording.name
    return Look(label, times, counter.tally, frames[0].grid, tuple(pictures))


def thumbnail(codes_HW: NDArray[Any]) -> NDArray[Any]:
    """A copy of every second (third...) pixel, so that it has at most `THUMBNAIL` on a side."""
    step, rows, columns = _steps(codes_HW.shape)
    half = step // 2
    return codes_HW[half : rows * step : step, half : columns * step : step].copy()


def thumbnail_grid(grid: Grid) -> Grid:
    """The grid of a `thumbnail`."""
    step, rows, columns = _steps(grid.shape)
    return Grid((rows, columns), grid.proj, (grid.pixel[0] * step, grid.pixel[1] * step), grid.west, grid.north)


def _steps(shape: tuple[int, ...]) -> tuple[int, int, int]:
    step = max(-(-max(shape) // THUMBNAIL), 1)
    step = min(step, *shape)
    return step, shape[0] // step, shape[1] // step


def evenly_chosen(count: int, most: int) -> list[int]:
    """Numbers from 0 to below `count`, at most `most`, evenly apart."""
    return evenly(count, most) if count else []


def sum_of(tallies: Iterable[CodeTally]) -> CodeTally:
    """All counts together."""
    total = CodeTally()
    for tally in tallies:
        total.add(tally)
    return total
