"""What a build will write: decided before anything is read but a few frames, and the same for the same input."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.building.layout import Layout, usual_layout
from data_prep.building.sequences import Sequence, find_sequences, iso
from data_prep.building.splits import assign, check_split_name, parse_split_dates
from data_prep.encoding import Unit, encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.hashing import permutation
from data_prep.readers import READERS, LeftOut, Reader, Recording, Scan, reader_named
from data_prep.shards.codecs import DEFAULT
from data_prep.shards.index import FORMAT_VERSION
from data_prep.shards.samples import Packing, frames_per_chunk
from data_prep.shards.shard import UNREADABLE, ShardTask


@dataclass(frozen=True)
class Options:
    """What the user asks for, as far as it decides what is written. None: the archive's own default."""

    format: str
    sources: tuple[str, ...]
    product: str | None
    split_dates: str | None
    split: str | None
    frames: int | None
    stride: int | None
    crop: int | None
    min_wet: float
    max_missing: float | None
    encoding: str | None
    samples_per_shard: int
    seed: int
    codec: str = DEFAULT

    @property
    def archive(self) -> str:
        """What messages call the archive."""
        return self.sources[0] if len(self.sources) == 1 else f"{self.sources[0]} and {len(self.sources) - 1} more"


@dataclass(frozen=True)
class Plan:
    """The shards to write, and what is already known of their index."""

    archive: str  # the reader's name
    source: str  # what messages call the files
    unit: Unit
    cadence_s: int
    frames: int
    layout: Layout
    packing: Packing
    hash: str  # of the options and the archive's listing
    tasks: list[ShardTask]
    left_out: list[LeftOut]

    @property
    def raw_bytes_per_sequence(self) -> int:
        """Size of a sequence's codes before they are compressed."""
        return self.frames * self.packing.frame_bytes


def make_plan(options: Options, out: Path, strict: bool) -> Plan:
    """Lists the archive, finds and splits its sequences, and deals them to shards.

    Raises UserError where the options do not fit the archive or nothing is left, RadarFileError where `strict` and the
    listing has an unreadable file.
    """
    reader = reader_named(options.format)
    scan = reader.scan(options.sources, options.product)
    encoding, unit = options.encoding or scan.product.encoding, scan.product.unit
    if unit not in encoding_named(encoding).units:
        raise UserError(f"encoding {encoding} cannot hold the {unit} of {options.archive}; leave --encoding out")
    if strict:
        _refuse_unreadable(scan)
    usable, incomplete = _complete(scan.recordings, options)
    if not usable:
        raise UserError(nothing_left(options.archive, [*scan.left_out, *incomplete]))
    recordings = sorted(usable, key=lambda recording: (recording.times[0], str(recording.path), recording.item))
    found = find_sequences(recordings, options.frames, options.stride, scan.cadence_s, options.archive)
    splits, crossing = _split(options, reader, found.sequences)
    left_out = [*scan.left_out, *incomplete, *found.left_out, *crossing]
    sequences = [sequence for part in splits.values() for sequence in part]
    if not sequences:
        raise UserError(nothing_left(options.archive, left_out))
    layout = usual_layout(reader, recordings, sequences, options.crop, encoding)
    packing = _packing(options.codec, found.frames, layout)
    tasks = [
        ShardTask(
            out, split, number, READERS[options.format], part, _needed(part, recordings), layout, packing,
            1.0 if options.max_missing is None else options.max_missing, options.min_wet, strict,
        )
        for split, in_split in splits.items()
        for number, part in enumerate(_deal(in_split, split, options))
    ]  # fmt: skip
    digest = _hash(options, encoding, found.frames, reader, recordings)
    about = options.format, options.archive, unit, scan.cadence_s
    return Plan(*about, found.frames, layout, packing, digest, tasks, left_out)


def _packing(codec: str, frames: int, layout: Layout) -> Packing:
    dtype = encoding_named(layout.encoding).dtype
    frame_bytes = math.prod(layout.shape) * dtype.itemsize
    return Packing(codec, (frames, *layout.shape), dtype, frames_per_chunk(frame_bytes, codec))


def _complete(recordings: list[Recording], options: Options) -> tuple[list[Recording], list[LeftOut]]:
    """Without a limit of the user's, the archive's own rule: recordings that its catalog calls incomplete are left out.

    With one, what counts is what is found when they are read.
    """
    if options.max_missing is not None:
        return recordings, []
    left_out = [
        LeftOut(recording.event or recording.path.name, recording.incomplete, "allow it with --max-missing F")
        for recording in recordings
        if recording.incomplete
    ]
    return [recording for recording in recordings if not recording.incomplete], left_out


def nothing_left(archive: str, left_out: list[LeftOut]) -> str:
    """What the user is told when no sequence remains."""
    counts: dict[str, list[LeftOut]] = {}
    for item in left_out:
        counts.setdefault(item.reason, []).append(item)
    parts = []
    for reason, items in counts.items():
        first = ", ".join(filter(None, (items[0].what, items[0].detail)))
        parts.append(f"{len(items)} {reason} ({first}{', ...' if len(items) > 1 else ''})")
    account = "; ".join(parts) or "there are no frames"
    return f"no sequence of {archive} can be used: {account}; give other files or looser limits"


def _refuse_unreadable(scan: Scan) -> None:
    for item in scan.left_out:
        if item.reason == UNREADABLE:
            raise RadarFileError(item.what, item.detail or UNREADABLE)


def _split(
    options: Options, reader: Reader, sequences: list[Sequence]
) -> tuple[dict[str, list[Sequence]], list[LeftOut]]:
    if options.split is not None:
        return {check_split_name(options.split): sequences}, []
    dates = options.split_dates or (",".join(reader.split_dates) if reader.split_dates else None)
    if dates is None:
        raise UserError(
            f"format {options.format} has no customary split dates; give --split-dates VAL,TEST, "
            "such as 2019-01-01,2019-06-01, or --split NAME to put all into one"
        )
    return assign(sequences, parse_split_dates(dates))


def _deal(sequences: list[Sequence], split: str, options: Options) -> Iterator[tuple[Sequence, ...]]:
    """Shards of about equal size, each with sequences from all over the split, so that one shard mixes storms."""
    if not sequences:
        return
    order = permutation(len(sequences), options.seed, zlib.crc32(split.encode()))
    for part in np.array_split(order, -(-len(sequences) // options.samples_per_shard)):
        yield tuple(sequences[number] for number in part)


def _needed(sequences: tuple[Sequence, ...], recordings: list[Recording]) -> dict[int, Recording]:
    numbers = {ref.recording for sequence in sequences for ref in sequence.frames}
    return {number: recordings[number] for number in sorted(numbers)}


def _hash(options: Options, encoding: str, frames: int, reader: Reader, recordings: list[Recording]) -> str:
    """Equal where the bytes will be; a moved archive keeps it, so names are taken relative to what they share."""
    asked = {
        "split": [options.split, options.split_dates or reader.split_dates],
        "sequences": [options.format, frames, options.stride or frames, options.crop, encoding],
        "limits": [options.min_wet, options.max_missing],
        "shards": [options.samples_per_shard, options.seed, FORMAT_VERSION, options.codec],
    }
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    sizes: dict[Path, int] = {}  # a file that was mended has another
    root = os.path.commonpath([os.path.abspath(recording.path.parent) for recording in recordings])
    for recording in recordings:
        name = os.path.relpath(os.path.abspath(recording.path), root)
        times = [iso(time) for time in recording.times]
        size = sizes.setdefault(recording.path, recording.path.stat().st_size)
        digest.update(json.dumps([name, size, recording.item, recording.event, times]).encode())
    return digest.hexdigest()
