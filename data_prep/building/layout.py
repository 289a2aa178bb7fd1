"""The one form that all sequences of a shards folder have, and reading a sequence into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from math import isclose
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.building.sequences import Sequence, iso, utc
from data_prep.encoding import encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Grid, GridUnit, RadarFrame, pixel_in_words
from data_prep.readers import Reader, Recording

_SAME_TIME_S = 1.0


class AnotherGridError(Exception):
    """A frame that does not have the shape, the pixels or the place of the others."""


@dataclass(frozen=True)
class Layout:
    """Which frames belong, and what is made of them.

    archive_shape, pixel: rows and columns, and the pixel (height, width), of the archive's frames. crop: side of the
    square in the middle that is kept; None keeps all. encoding: name of that of the codes.
    """

    archive_shape: tuple[int, int]
    pixel: tuple[float, float]
    pixel_unit: GridUnit
    crop: int | None
    encoding: str

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a sample's frames."""
        return (self.crop, self.crop) if self.crop else self.archive_shape

    def fit(self, frame: RadarFrame) -> RadarFrame:
        """The part that is kept. Raises AnotherGridError."""
        grid = frame.grid
        pixels_alike = grid.unit == self.pixel_unit and all(
            isclose(a, b, rel_tol=1e-3) for a, b in zip(grid.pixel, self.pixel, strict=True)
        )
        if grid.shape != self.archive_shape or not pixels_alike:
            archive = _in_words(self.archive_shape, self.pixel, self.pixel_unit)
            raise AnotherGridError(f"{_in_words(grid.shape, grid.pixel, grid.unit)}, not {archive}")
        return frame.crop(*grid.centre(self.crop), self.crop, self.crop) if self.crop else frame


def _in_words(shape: tuple[int, int], pixel: tuple[float, float], unit: GridUnit) -> str:
    return f"{shape[0]} x {shape[1]} pixels of {pixel_in_words(pixel, unit)}"


def usual_layout(
    reader: Reader, recordings: list[Recording], sequences: list[Sequence], crop: int | None, encoding: str
) -> Layout:
    """The layout that most of the first, middle and last sequence's frames have.

    Raises RadarFileError where no recording at all can be read, UserError where `crop` is larger than the frames.
    """
    grids: list[Grid] = []
    first_error: RadarFileError | None = None
    for number in dict.fromkeys((0, len(sequences) // 2, len(sequences) - 1, *range(len(sequences)))):
        try:
            grids.append(read_recording(reader, recordings[sequences[number].frames[0].recording])[0].grid)
        except RadarFileError as error:
            first_error = first_error or error
        if len(grids) == 3:
            break
    if not grids:
        assert first_error is not None
        raise first_error
    [(shape, _)] = Counter(grid.shape for grid in grids).most_common(1)
    if crop and crop > min(shape):
        raise UserError(
            f"crop={crop} is larger than the {shape[0]} x {shape[1]} pixels of a frame; give {min(shape)} or less"
        )
    usual = next(grid for grid in grids if grid.shape == shape)
    return Layout(shape, usual.pixel, usual.unit, crop, encoding)


def read_recording(reader: Reader, recording: Recording) -> list[RadarFrame]:
    """The recording's frames. Raises RadarFileError, also where they are not those that the listing promised."""
    try:
        frames = reader.read(recording)
    except OSError as error:
        raise RadarFileError(recording.path, error.strerror or str(error)) from None
    if len(frames) != len(recording.times):
        raise RadarFileError(recording.path, f"holds {len(frames)} frames, its listing says {len(recording.times)}")
    for frame, listed in zip(frames, recording.times, strict=True):
        if abs((utc(frame.time) - utc(listed)).total_seconds()) > _SAME_TIME_S:
            raise RadarFileError(recording.path, f"holds a frame of {iso(frame.time)}, its listing says {iso(listed)}")
    return frames


def read_sequence(
    reader: Reader, recordings: Mapping[int, Recording], sequence: Sequence, layout: Layout
) -> tuple[NDArray[Any], Grid]:
    """Codes (T, H, W) and the grid of one sequence; one recording is held in memory at a time.

    Raises RadarFileError, AnotherGridError.
    """
    encoding = encoding_named(layout.encoding)
    codes_THW = np.empty((len(sequence.frames), *layout.shape), encoding.dtype)
    grid: Grid | None = None
    for position, frame in enumerate(_frames(reader, recordings, sequence)):
        kept = layout.fit(frame)
        grid = grid or kept.grid
        if not _same_place(grid, kept.grid):
            raise AnotherGridError(f"the frame of {iso(frame.time)} lies elsewhere than the first")
        codes_THW[position] = kept.encode(encoding)
    assert grid is not None
    return codes_THW, grid


def _frames(reader: Reader, recordings: Mapping[int, Recording], sequence: Sequence) -> Iterable[RadarFrame]:
    for recording, refs in groupby(sequence.frames, key=lambda ref: ref.recording):
        frames = read_recording(reader, recordings[recording])
        for ref in refs:
            yield frames[ref.step]


def _same_place(a: Grid, b: Grid) -> bool:
    half_pixel = max(a.pixel) / 2
    return a.proj == b.proj and abs(a.west - b.west) <= half_pixel and abs(a.north - b.north) <= half_pixel
