"""By which a build is known again: hashes of what was asked for, of the archive's listing, and of what frames decided."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from data_prep.building.earlier import spans_of
from data_prep.building.layout import Layout
from data_prep.building.options import Options
from data_prep.building.sequences import Sequence
from data_prep.readers import Reader, Recording, Scan
from data_prep.shards.index import FORMAT_VERSION, BuildNote
from data_prep.times import iso


def settings_hash(options: Options, encoding: str, frames: int, scan: Scan, reader: Reader) -> str:
    """Equal where two builds' samples are alike."""
    asked = {
        "split": [options.split, options.split_dates or reader.split_dates, options.split_blocks],
        "guard": options.guard.total_seconds(),
        "archive": [options.format, scan.product.name, scan.product.unit, scan.cadence_s, options.cadence_s],
        "sequences": [frames, options.stride or frames, vars(options.cutting), encoding],
        "limits": [options.min_wet, options.max_missing, options.importance, options.importance_floor],
        "shards": [options.samples_per_shard, options.seed, FORMAT_VERSION, options.codec],
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def build_note(
    settings: str,
    recordings: list[Recording],
    fresh: list[Sequence],
    earlier_plans: list[str],
    stride: timedelta,
    layout: Layout,
    dealt: list[tuple[str, int]],
) -> BuildNote:
    """What the index keeps of a build.

    fresh: the sequences that no earlier build considered, `stride` apart in a run. dealt: split and number of sequences
    of each task.
    """
    events = sorted({sequence.event for sequence in fresh if sequence.event})
    derived = [layout.archive_shape, layout.archive_pixel, layout.pixel_unit, dealt]
    plan = _hash([settings, earlier_plans, derived], recordings)
    return BuildNote(plan=plan, settings=settings, spans=spans_of(fresh, stride), events=events)


def _hash(first: list[object], recordings: list[Recording]) -> str:
    """Equal where the bytes will be; a moved archive keeps it, so names are taken relative to what they share."""
    digest = hashlib.sha256(json.dumps(first).encode())
    sizes: dict[Path, int] = {}
    root = os.path.commonpath([os.path.abspath(recording.path.parent) for recording in recordings])
    for recording in recordings:
        name = os.path.relpath(os.path.abspath(recording.path), root)
        times = [iso(time) for time in recording.times]
        if recording.path not in sizes:
            sizes[recording.path] = _size(recording.path)
        identity = [name, recording.member, sizes[recording.path], recording.item, recording.event, times]
        digest.update(json.dumps(identity).encode())
    return digest.hexdigest()


def _size(path: Path) -> int:
    """A file that was mended has another. 0 for a folder, and for what does not lie on a disk."""
    with suppress(OSError):
        return path.stat().st_size if path.is_file() else 0
    return 0
