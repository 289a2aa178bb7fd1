"""What a build will write: decided before anything is read but a few frames, and the same for the same input."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np

from data_prep.building.earlier import Earlier, spans_of
from data_prep.building.estimate import Estimate, estimate
from data_prep.building.layout import WHOLE_FRAMES, Cutting, Layout, usual_layout
from data_prep.building.left_out import LeftOuts
from data_prep.building.selection import Selection
from data_prep.building.sequences import Found, Gap, Sequence, find_sequences, iso
from data_prep.building.splits import SplitRule, assign, check_split_name, parse_split_blocks, parse_split_dates
from data_prep.encoding import Unit, encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.hashing import permutation
from data_prep.readers import READERS, LeftOut, Reader, Recording, Scan, reader_named
from data_prep.shards.codecs import DEFAULT
from data_prep.shards.index import FORMAT_VERSION, BuildNote, ShardsIndex
from data_prep.shards.samples import Packing, frames_per_chunk
from data_prep.shards.shard import UNREADABLE, ShardTask
from data_prep.workers import InProcess, Pool

BLOCKS_GUARD_HOURS = 6.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asks for, as far as it decides what is written. None: the archive's own default."""

    format: str
    sources: tuple[str, ...]
    product: str | None = None
    split_dates: str | None = None
    split_blocks: str | None = None
    split: str | None = None
    guard_hours: float | None = None
    frames: int | None = None
    stride: int | None = None
    cadence_s: int | None = None
    cutting: Cutting = WHOLE_FRAMES
    min_wet: float = 0.0
    max_missing: float | None = None
    importance: float | None = None
    importance_floor: float = 2e-4
    encoding: str | None = None
    samples_per_shard: int = 32
    seed: int = 0
    codec: str = DEFAULT

    @property
    def archive(self) -> str:
        """What messages call the archive."""
        return self.sources[0] if len(self.sources) == 1 else f"{self.sources[0]} and {len(self.sources) - 1} more"

    @property
    def selection(self) -> Selection:
        """Which samples are kept."""
        max_missing = 1.0 if self.max_missing is None else self.max_missing
        return Selection(max_missing, self.min_wet, self.importance, self.importance_floor, self.seed)

    @property
    def guard(self) -> timedelta:
        """Between frames of two splits."""
        usual = BLOCKS_GUARD_HOURS if self.split_blocks else 0.0
        return timedelta(hours=usual if self.guard_hours is None else self.guard_hours)


@dataclass(frozen=True)
class Plan:
    """The tasks to do, and what is already known of their index. note: the build's own in it."""

    options: Options
    unit: Unit
    cadence_s: int
    frames: int
    layout: Layout
    packing: Packing
    note: BuildNote
    tasks: list[ShardTask]
    left_out: LeftOuts
    gaps: list[Gap]
    estimate: Estimate | None
    earlier: ShardsIndex | None = field(repr=False)

    @property
    def hash(self) -> str:
        """Of the options and the archive's listing."""
        return self.note.plan

    @property
    def raw_bytes_per_sample(self) -> int:
        """Size of a sample's codes before they are compressed."""
        return self.frames * self.packing.frame_bytes

    def samples(self, split: str) -> int:
        """At most so many samples of a split."""
        return sum(len(task.sequences) for task in self.tasks if task.split == split) * len(self.layout.cuts)


def make_plan(
    options: Options,
    out: Path,
    strict: bool,
    pool: Pool | None = None,
    earlier: ShardsIndex | None = None,
    estimated: bool = False,
) -> Plan:
    """Lists the archive, finds and splits its sequences, and deals them to tasks.

    pool: where files are read. earlier: the index of a folder to add to. estimated: whether sizes are to be told. Raises
    UserError where the options do not fit the archive or nothing is left, RadarFileError where `strict` and the listing has
    an unreadable file.
    """
    pool = pool or InProcess()
    reader = reader_named(options.format)
    scan = reader.scan(options.sources, options.product, pool.each)
    encoding, unit = options.encoding or scan.product.encoding, scan.product.unit
    if unit not in encoding_named(encoding).units:
        raise UserError(f"encoding {encoding} cannot hold the {unit} of {options.archive}; leave --encoding out")
    if strict:
        _refuse_unreadable(scan)
    usable, incomplete = _complete(scan.recordings, options)
    if not usable:
        raise UserError(nothing_left(options.archive, LeftOuts.of([*scan.left_out, *incomplete])))
    recordings = sorted(usable, key=lambda recording: (recording.times[0], recording.label, recording.item))
    parts = _parts(options, scan)
    found = find_sequences(recordings, options.frames, options.stride, scan.cadence_s, options.archive, parts)
    settings = _settings(options, encoding, found.frames, scan, reader)
    before = Earlier(earlier)
    before.check(settings, out)
    fresh = [sequence for sequence in found.sequences if before.lacks(sequence)]
    splits, crossing = _split(options, reader, fresh)
    left_out = LeftOuts.of([*scan.left_out, *incomplete, *found.left_out, *crossing])
    sequences = [sequence for part in splits.values() for sequence in part]
    if not sequences and not earlier:
        raise UserError(nothing_left(options.archive, left_out))
    layout = before.layout(options.cutting, encoding) or usual_layout(
        reader, recordings, sequences, options.cutting, encoding, pool
    )
    packing = _packing(options.codec, found.frames, layout)
    guess = None
    if sequences and (estimated or len(layout.cuts) > 1):
        guess = estimate(reader, recordings, sequences, layout, packing, options.selection, pool)
    tasks = [
        ShardTask(
            out / ".build", split, number, READERS[options.format], part, _needed(part, recordings), layout, packing,
            options.selection, options.samples_per_shard, strict,
        )
        for split, in_split in splits.items()
        for number, part in enumerate(_deal(in_split, split, options, _sequences_per_task(options, guess)))
    ]  # fmt: skip
    note = _note(settings, recordings, fresh, before, found, options, scan.cadence_s * parts)
    return Plan(
        options, unit, scan.cadence_s * parts, found.frames, layout, packing, note, tasks, left_out, found.gaps,
        guess, earlier,
    )  # fmt: skip


def _parts(options: Options, scan: Scan) -> int:
    wanted, own = options.cadence_s or scan.cadence_s, scan.cadence_s
    if wanted % own or wanted < own:
        raise UserError(f"cadence={wanted} s is no multiple of the archive's {own} s; give {own}, {2 * own}, ...")
    return wanted // own


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
        LeftOut(recording.event or recording.name, recording.incomplete, "allow it with --max-missing F")
        for recording in recordings
        if recording.incomplete
    ]
    return [recording for recording in recordings if not recording.incomplete], left_out


def nothing_left(archive: str, left_out: LeftOuts) -> str:
    """What the user is told when no sequence remains."""
    parts = []
    for reason, count in left_out.counts.items():
        example = left_out.of_reason(reason)[0]
        first = ", ".join(filter(None, (example.what, example.detail)))
        parts.append(f"{count} {reason} ({first}{', ...' if count > 1 else ''})")
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
    rule: SplitRule
    if options.split_blocks:
        rule = parse_split_blocks(options.split_blocks)
    elif dates:
        rule = parse_split_dates(dates)
    else:
        raise UserError(
            f"format {options.format} has no customary split dates; give --split-dates VAL,TEST, such as "
            "2019-01-01,2019-06-01, or --split-blocks TRAIN,VAL,TEST in days, or --split NAME to put all into one"
        )
    return assign(sequences, rule, options.guard)


def _sequences_per_task(options: Options, guess: Estimate | None) -> int:
    """So many that they give about a shard's worth of samples, from one to as many as a shard has samples."""
    most = options.samples_per_shard
    if guess is None or guess.kept_per_sequence <= 1.0:
        return most
    return math.ceil(most / guess.kept_per_sequence)


def _deal(sequences: list[Sequence], split: str, options: Options, per_task: int) -> Iterator[tuple[Sequence, ...]]:
    """Tasks of about equal size, each with sequences from all over the split, so that one shard mixes storms."""
    if not sequences:
        return
    order = permutation(len(sequences), options.seed, zlib.crc32(split.encode()))
    for part in np.array_split(order, -(-len(sequences) // per_task)):
        yield tuple(sequences[number] for number in part)


def _needed(sequences: tuple[Sequence, ...], recordings: list[Recording]) -> dict[int, Recording]:
    numbers = {ref.recording for sequence in sequences for ref in sequence.frames}
    return {number: recordings[number] for number in sorted(numbers)}


def _settings(options: Options, encoding: str, frames: int, scan: Scan, reader: Reader) -> str:
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


def _note(
    settings: str,
    recordings: list[Recording],
    fresh: list[Sequence],
    before: Earlier,
    found: Found,
    options: Options,
    cadence_s: int,
) -> BuildNote:
    spans = spans_of(fresh, timedelta(seconds=(options.stride or found.frames) * cadence_s))
    events = sorted({sequence.event for sequence in fresh if sequence.event})
    return BuildNote(plan=_hash([settings, *before.plans], recordings), settings=settings, spans=spans, events=events)


def _hash(first: list[str], recordings: list[Recording]) -> str:
    """Equal where the bytes will be; a moved archive keeps it, so names are taken relative to what they share."""
    digest = hashlib.sha256(json.dumps(first).encode())
    sizes: dict[Path, int] = {}  # a file that was mended has another
    root = os.path.commonpath([os.path.abspath(recording.path.parent) for recording in recordings])
    for recording in recordings:
        name = os.path.relpath(os.path.abspath(recording.path), root)
        times = [iso(time) for time in recording.times]
        size = sizes.setdefault(recording.path, recording.path.stat().st_size)
        identity = [name, recording.member, size, recording.item, recording.event, times]
        digest.update(json.dumps(identity).encode())
    return digest.hexdigest()
