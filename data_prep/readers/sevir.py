"""SEVIR's vertically integrated liquid (VIL): events of 384 x 384 km and 49 frames, 5 minutes apart.

`CATALOG.csv` beside the folder `data`; its rows with img_type "vil" name an HDF5 file below `data` and an event in it.
A file holds `id` (N,) text and `vil` (N, rows, columns, frames) uint8: time last, row 0 in the south, codes 0..254
for kg/m2 and 255 for no data (Veillette et al. 2020, NeurIPS; tutorial of MIT-AI-Accelerator/eie-sevir).
A copy with time first, (N, frames, rows, columns), is told by its shape. SEVIR-LR has the same
catalog and file names, no `id`, the maximum of 3 x 3 pixels and every second frame (Gao et al. 2022, Earthformer,
`save_downsampled_dataset` of its code).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import ENCODINGS
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Grid, RadarFrame
from data_prep.readers import Each, LeftOut, Reader, Recording, Scan, in_turn
from data_prep.readers.hdf5 import as_text, dataset, member, open_hdf5, require_h5py
from data_prep.readers.sevir_catalog import VIL, SevirRecording, catalogs, events, once
from data_prep.workers import reading

CADENCE_S = 300
LR_PIXELS, LR_FRAMES = 3, 2  # of SEVIR that one of SEVIR-LR is made of


class SevirReader:
    """SEVIR's VIL events in the archive's own layout, and SEVIR-LR's."""

    name = "sevir"
    split_dates: tuple[str, str] | None = ("2019-01-01", "2019-06-01")  # of the published VIL benchmarks

    def scan(self, sources: Sequence[str], product: str | None = None, each: Each = in_turn) -> Scan:
        """Lists the events of the catalogs that `sources` name or belong to; reads no picture, of each file its shape.

        Left out are ids that occur more than once, absent files and unusable rows; pct_missing above 0 is noted.
        Raises UserError where a source, a catalog, a column or any VIL row is missing, a spreadsheet damaged it, or SEVIR
        and SEVIR-LR are mixed.
        """
        require_h5py()
        if product not in (None, VIL.name):
            raise UserError(f"format sevir has no product {product!r}; it has {VIL.name}")
        recordings: list[SevirRecording] = []
        left_out: list[LeftOut] = []
        for found in once(one for catalog, chosen in catalogs(sources).items() for one in events(catalog, chosen)):
            left_out.append(found) if isinstance(found, LeftOut) else recordings.append(found)
        paths = sorted({recording.path for recording in recordings})
        shapes = dict(zip(paths, each(shape_without_ids, paths), strict=True))
        recordings = [_as_stored(recording, shapes[recording.path]) for recording in recordings]
        cadences = {CADENCE_S if recording.has_id else CADENCE_S * LR_FRAMES for recording in recordings}
        if len(cadences) > 1:
            raise UserError("the files are of SEVIR and of SEVIR-LR, whose frames differ; give the files of one")
        return Scan(VIL, cadences.pop() if cadences else CADENCE_S, list(recordings), left_out)

    def read(self, recording: Recording) -> list[RadarFrame]:
        """The event's frames, its codes bit for bit. Raises RadarFileError where file and catalog do not agree."""
        assert isinstance(recording, SevirRecording)
        codes_THW = _codes(recording)
        vil255 = ENCODINGS[VIL.encoding]
        return [
            RadarFrame(codes, VIL.unit, time, recording.grid, vil255)
            for codes, time in zip(codes_THW, recording.times, strict=True)
        ]


def shape_without_ids(path: Path) -> tuple[int, ...] | None:
    """The shape of `vil` in a file that has no `id`; None where it has. Raises RadarFileError."""
    with reading(str(path)), open_hdf5(path) as file:
        return None if "id" in file else tuple(getattr(member(file, "vil"), "shape", ()))


def _as_stored(recording: SevirRecording, shape: tuple[int, ...] | RadarFileError | None) -> SevirRecording:
    """The event as SEVIR-LR has it, where its file has exactly that shape; else as the catalog has it."""
    grid, times = recording.grid, recording.times[::LR_FRAMES]
    rows, columns = (size // LR_PIXELS for size in grid.shape)
    whole = (rows * LR_PIXELS, columns * LR_PIXELS) == grid.shape
    if not whole or not isinstance(shape, tuple) or shape[1:] != (rows, columns, len(times)):
        return recording
    height, width = (size * LR_PIXELS for size in grid.pixel)
    coarse = Grid((rows, columns), grid.proj, (height, width), grid.west, grid.north)
    return replace(recording, grid=coarse, times=times, has_id=False)


def _codes(recording: SevirRecording) -> NDArray[np.uint8]:
    """The event's codes (T, H, W), row 0 in the north."""
    item, frames, shape = recording.item, len(recording.times), recording.grid.shape
    with open_hdf5(recording.path) as file:
        time_first = getattr(member(file, "vil"), "shape", ())[1:] == (frames, *shape) != (*shape, frames)
        vil = dataset(file, "vil", (None, frames, *shape) if time_first else (None, *shape, frames), np.uint8)
        _check_event(recording, file, len(vil))
        if time_first:
            return np.asarray(vil[item])[:, ::-1]
        codes_THW = np.empty((frames, *shape), np.uint8)
        step = vil.chunks[3] if vil.chunks else frames  # each of the file's chunks is decompressed once
        for start in range(0, frames, step):
            part_HWT = vil[item, :, :, start : start + step]
            codes_THW[start : start + step] = part_HWT[::-1].transpose(2, 0, 1)
    return codes_THW


def _check_event(recording: SevirRecording, file: Any, events: int) -> None:
    """Raises RadarFileError where the file has no such event, or one with another id. events: in `vil`."""
    path, item, event = recording.path, recording.item, recording.event
    ids = dataset(file, "id", (None,), None) if recording.has_id else None
    events = events if ids is None else min(events, len(ids))
    if item >= events:
        what = f"the catalog's row of {event} points at nothing: file_index {item} of {events} events"
        raise RadarFileError(path, what)
    if ids is not None and as_text(ids[item]) != event:
        raise RadarFileError(path, f"event {item} is {as_text(ids[item])}, but the catalog says {event}")


READER: Reader = SevirReader()
