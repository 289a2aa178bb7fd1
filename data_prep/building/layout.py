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
from data_prep.frames import Grid, RadarFrame
from data_prep.readers import Reader, Recording


class AnotherGridError(Exception):
    """A frame that does not have the shape, the pixels or the place of the others."""


@dataclass(frozen=True)
class Layout:
    """Which frames belong, and what is made of them.

    archive_shape, pixel_m: rows and columns, and the pixel (height, width), of the archive's frames. crop: side of the
    square in the middle that is kept; None keeps all. encoding: name of that of the codes.
    """

    archive_shape: tuple[int, int]
    pixel_m: tuple[float, float]
    crop: int | None
    encoding: str

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a sample's frames."""
        return (self.crop, self.crop) if self.crop else self.archive_shape

    def fit(self, frame: RadarFrame) -> RadarFrame:
        """The part that is kept. Raises AnotherGridError."""
        grid = frame.grid
        pixels_alike = all(isclose(a, b, rel_tol=1e-3) for a, b in zip(grid.pixel_m, self.pixel_m, strict=True))
        if grid.shape != self.archive_shape or not pixels_alike:
            raise AnotherGridError(f"{_in_words(grid.shape, grid.pixel_m)}, not {_in_words(*self._archive)}")
        return frame.crop(*grid.centre(self.crop), self.crop, self.crop) if self.crop else frame

    @property
    def _archive(self) -> tuple[tuple[int, int], tuple[float, float]]:
        return self.archive_shape, self.pixel_m


def _in_words(shape: tuple[int, int], pixel_m: tuple[float, float]) -> str:
    return f"{shape[0]} x {shape[1]} pixels of {pixel_m[0]:g} x {pixel_m[1]:g} m"


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
    pixel_m = next(grid.pixel_m for grid in grids if grid.shape == shape)
    return Layout(shape, pixel_m, crop, encoding)


def read_recording(reader: Reader, recording: Recording) -> list[RadarFrame]:
    """The recording's frames. Raises RadarFileError, also where they are not those that the listing promised."""
    try:
        frames = reader.read(recording)
    except OSError as error:
        raise RadarFileError(recording.path, error.strerror or str(error)) from None
    if len(frames) != len(recording.times):
        raise RadarFileError(recording.path, f"holds {len(frames)} frames, its listing says {len(recording.times)}")
    for frame, listed in zip(frames, recording.times, strict=True):
        if abs((utc(frame.time) - utc(listed)).total_seconds()) > reader.cadence_s / 2:
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
    half_pixel_m = max(a.pixel_m) / 2
    return a.proj == b.proj and abs(a.west_m - b.west_m) <= half_pixel_m and abs(a.north_m - b.north_m) <= half_pixel_m
