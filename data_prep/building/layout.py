"""The one form that all samples of a shards folder have, and reading a sequence's frames into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.building.regrid import Mean, coarser
from data_prep.building.sequences import Sequence
from data_prep.encoding import encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Grid, GridUnit, RadarFrame, pixel_in_words, same_pixels
from data_prep.readers import Reader, Recording
from data_prep.times import iso, utc
from data_prep.workers import InProcess, Pool, reading

_SAME_TIME_S = 1.0
_LOOKED_AT = 3


class AnotherGridError(Exception):
    """A frame that does not have the shape, the pixels or the place of the others."""


@dataclass(frozen=True)
class Cutting:
    """What is kept of a frame: the middle square of `crop` pixels, or squares of `tile` that overlap, or all of it.

    to_pixel: side of the coarser pixels that frames are averaged to before, in the grid's unit; None leaves them.
    """

    crop: int | None = None
    tile: int | None = None
    overlap: int = 0
    to_pixel: float | None = None


WHOLE_FRAMES = Cutting()


@dataclass(frozen=True)
class Layout:
    """Which frames belong, and what is made of them.

    archive_shape, archive_pixel: rows and columns, and the pixel (height, width), of the archive's frames. encoding: name
    of that of the codes.
    """

    archive_shape: tuple[int, int]
    archive_pixel: tuple[float, float]
    pixel_unit: GridUnit
    cutting: Cutting
    encoding: str

    @cached_property
    def _grid(self) -> Grid:
        """Of frames before they are cut, wherever they lie."""
        proj = "+proj=longlat" if self.pixel_unit == "degree" else ""
        return self._coarse(Grid(self.archive_shape, proj, self.archive_pixel, 0.0, 0.0))

    def _coarse(self, grid: Grid) -> Grid:
        return coarser(grid, self.cutting.to_pixel) if self.cutting.to_pixel else grid

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a sample's pixels."""
        return self._grid.pixel

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a sample's frames."""
        side = self.cutting.crop or self.cutting.tile
        return (side, side) if side else self._grid.shape

    @cached_property
    def cuts(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of the corner of each sample in a frame."""
        cutting = self.cutting
        if cutting.crop:
            return (self._grid.centre(cutting.crop),)
        return tuple(self._grid.tiles(cutting.tile, cutting.overlap)) if cutting.tile else ((0, 0),)

    def check(self, frame: RadarFrame) -> None:
        """Raises AnotherGridError where a frame of the archive is not like the others."""
        grid = frame.grid
        if grid.shape != self.archive_shape or not same_pixels(
            grid.pixel, grid.unit, self.archive_pixel, self.pixel_unit
        ):
            archive = _in_words(self.archive_shape, self.archive_pixel, self.pixel_unit)
            raise AnotherGridError(f"{_in_words(grid.shape, grid.pixel, grid.unit)}, not {archive}")

    def mean(self, frames: Iterable[RadarFrame]) -> RadarFrame:
        """The mean of some frames on the coarser pixels, of the time of the last; a single one as it is if pixels stay."""
        [first, *others] = frames
        if not others and not self.cutting.to_pixel:
            return first
        mean, last = Mean(first.unit, self._coarse(first.grid)), first
        mean.add(first)
        for last in others:
            mean.add(last)
        return RadarFrame(mean.field(), first.unit, last.time, mean.grid)


def _in_words(shape: tuple[int, int], pixel: tuple[float, float], unit: GridUnit) -> str:
    return f"{shape[0]} x {shape[1]} pixels of {pixel_in_words(pixel, unit)}"


def usual_layout(
    reader: Reader,
    recordings: list[Recording],
    sequences: list[Sequence],
    cutting: Cutting,
    encoding: str,
    pool: Pool | None = None,
) -> Layout:
    """The layout that most of the first, middle and last sequence's frames have.

    pool: where the frames are read. Raises RadarFileError where no recording at all can be read, UserError where `cutting`
    does not fit the frames.
    """
    grids: list[Grid] = []
    first_error: RadarFileError | None = None
    order = dict.fromkeys((0, len(sequences) // 2, len(sequences) - 1, *range(len(sequences))))
    candidates = (recordings[sequences[number].frames[0].recording] for number in order)
    look = partial(_grid_of, reader)
    while len(grids) < _LOOKED_AT and (some := list(islice(candidates, _LOOKED_AT - len(grids)))):
        for grid in (pool or InProcess()).each(look, some):
            if isinstance(grid, RadarFileError):
                first_error = first_error or grid
            else:
                grids.append(grid)
    if not grids:
        assert first_error is not None
        raise first_error
    [(shape, _)] = Counter(grid.shape for grid in grids).most_common(1)
    usual = next(grid for grid in grids if grid.shape == shape)
    layout = Layout(shape, usual.pixel, usual.unit, cutting, encoding)
    _check_cutting(cutting, coarser(usual, cutting.to_pixel) if cutting.to_pixel else usual)
    return layout


def _check_cutting(cutting: Cutting, grid: Grid) -> None:
    for name, side in (("crop", cutting.crop), ("tile", cutting.tile)):
        if side and side > min(grid.shape):
            raise UserError(
                f"{name}={side} is larger than the {grid.shape[0]} x {grid.shape[1]} pixels of a frame; "
                f"give {min(grid.shape)} or less"
            )


def _grid_of(reader: Reader, recording: Recording) -> Grid:
    return read_recording(reader, recording)[0].grid


def read_recording(reader: Reader, recording: Recording) -> list[RadarFrame]:
    """The recording's frames. Raises RadarFileError, also where they are not those that the listing promised."""
    try:
        with reading(recording.label):
            frames = reader.read(recording)
    except OSError as error:
        raise RadarFileError(recording.label, error.strerror or str(error)) from None
    if len(frames) != len(recording.times):
        raise RadarFileError(recording.label, f"holds {len(frames)} frames, its listing says {len(recording.times)}")
    for frame, listed in zip(frames, recording.times, strict=True):
        if abs((utc(frame.time) - utc(listed)).total_seconds()) > _SAME_TIME_S:
            raise RadarFileError(recording.label, f"holds a frame of {iso(frame.time)}, its listing says {iso(listed)}")
    return frames


def frames_of(
    reader: Reader, recordings: Mapping[int, Recording], sequence: Sequence, layout: Layout
) -> Iterator[RadarFrame]:
    """The T frames of a sequence before they are cut, all in one place; one recording is held in memory at a time.

    Raises RadarFileError, AnotherGridError.
    """
    place: Grid | None = None

    def checked() -> Iterator[RadarFrame]:
        nonlocal place
        for frame in _archive_frames(reader, recordings, sequence):
            layout.check(frame)
            place = place or frame.grid
            if not _same_place(place, frame.grid):
                raise AnotherGridError(f"the frame of {iso(frame.time)} lies elsewhere than the first")
            yield frame

    frames = checked()
    for _ in sequence.times:
        yield layout.mean(islice(frames, sequence.parts))


def _archive_frames(reader: Reader, recordings: Mapping[int, Recording], sequence: Sequence) -> Iterator[RadarFrame]:
    for recording, refs in groupby(sequence.frames, key=lambda ref: ref.recording):
        frames = read_recording(reader, recordings[recording])
        for ref in refs:
            yield frames[ref.step]


def _same_place(a: Grid, b: Grid) -> bool:
    half_pixel = max(a.pixel) / 2
    return a.proj == b.proj and abs(a.west - b.west) <= half_pixel and abs(a.north - b.north) <= half_pixel


def read_sequence(
    reader: Reader, recordings: Mapping[int, Recording], sequence: Sequence, layout: Layout
) -> tuple[NDArray[Any], Grid]:
    """Codes (T, H, W) and the grid of a sequence of which one piece is kept. Raises RadarFileError, AnotherGridError."""
    encoding, [(row, column)], (rows, columns) = encoding_named(layout.encoding), layout.cuts, layout.shape
    codes_THW = np.empty((len(sequence.times), rows, columns), encoding.dtype)
    grid: Grid | None = None
    for position, frame in enumerate(frames_of(reader, recordings, sequence, layout)):
        kept = frame.crop(row, column, rows, columns)
        grid = grid or kept.grid
        codes_THW[position] = kept.encode(encoding)
    assert grid is not None
    return codes_THW, grid
