"""What a reader does with one file of an archive, and what that cost: the task of a guarded worker."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.building.layout import read_recording
from data_prep.encoding import encoding_named
from data_prep.errors import MOST_REASON, RadarFileError, UserError
from data_prep.frames import RadarFrame
from data_prep.readers import Recording, reader_named
from data_prep.readers.file_reader import FileReader
from data_prep.readers.stamps import YEARS

_MOST_FRAMES = 6
_MOST_PIXELS = 1 << 25  # of a field that is looked at whole


class Looked(NamedTuple):
    """outcome: "frames", "refused", or "fault" (with what is wrong in `says`). memory_mb: the most that was held, above before."""

    outcome: str
    says: str
    seconds: float
    memory_mb: float


def look(task: tuple[str, str, Path]) -> Looked:
    """task: (format, the archive's folder or file, the file in question)."""
    began, before = time.perf_counter(), _peak_kb(reset=True)
    try:
        outcome, says = _frames(*task)
    except RadarFileError as error:
        outcome, says = _refused(error, task[2])
    except UserError as error:
        in_catalog = task[0] == "sevir" and "CATALOG.csv" in str(error)  # which no archive can be read without
        outcome, says = _refused(error, task[2]) if in_catalog else ("fault", f"a UserError of no file: {error}")
    except MemoryError:
        outcome, says = "fault", "MemoryError"
    except Exception:
        outcome, says = "fault", traceback.format_exc()
    return Looked(outcome, says, time.perf_counter() - began, (_peak_kb() - before) / 1024)


def _frames(name: str, source: str, path: Path) -> tuple[str, str]:
    reader = reader_named(name)
    if isinstance(reader, FileReader):
        listed = reader.listed(path)
        recordings = [
            Recording(path, entry.item, (entry.time,), entry.product, member=member) for member, entry in listed.entries
        ]
        reasons = [one.detail for one in listed.left_out if one.reason == "unreadable"]
    else:
        found = reader.scan([source])
        recordings, reasons = list(found.recordings), [one.detail for one in found.left_out]
    if not recordings and reasons:
        return _refused(RadarFileError(path, reasons[0]), path)
    for recording in _some(recordings):
        try:
            frames = read_recording(reader, recording)
        except RadarFileError as error:
            return _refused(error, path)
        for frame in frames:
            if wrong := _wrong(frame, recording):
                return "fault", wrong
    return "frames", f"{len(recordings)}"


def _some(recordings: Sequence[Recording]) -> Sequence[Recording]:
    """The first and the last few."""
    return [*recordings[: _MOST_FRAMES // 2], *recordings[_MOST_FRAMES // 2 :][-_MOST_FRAMES // 2 :]]


def _wrong(frame: RadarFrame, recording: Recording) -> str:
    grid = frame.grid
    if frame.stored.shape != grid.shape or frame.stored.ndim != 2:
        return f"stored {frame.stored.shape} on a grid of {grid.shape}"
    if not (np.isfinite([*grid.pixel, grid.west, grid.north]).all() and min(grid.pixel) > 0):
        return f"grid {grid}"
    if frame.time.year not in YEARS:
        return f"time {frame.time}"
    if frame.stored.size > _MOST_PIXELS:
        return ""
    if frame.field.dtype != np.float32 or np.isinf(frame.field).any():
        return "field is not finite float32"
    codes = frame.encode(encoding_named(recording.product.encoding))
    return "" if codes.shape == grid.shape else f"codes {codes.shape}"


def _refused(error: UserError, path: Path) -> tuple[str, str]:
    says = str(error)
    if not any(file.name in says for file in (path, *path.parent.iterdir())) and "CATALOG.csv" not in says:
        return "fault", f"does not name {path.name}: {says[:300]!r}"
    if len(says) > MOST_REASON + len(str(path)) + 100 or not says.isprintable():
        return "fault", f"{len(says)} characters, or some that cannot be printed: {says[:300]!r}"
    return "refused", says


def _peak_kb(reset: bool = False) -> int:
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
