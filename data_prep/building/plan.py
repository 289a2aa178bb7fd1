"""What a build will write: decided before anything is read but a few frames, and the same for the same input."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np

from data_prep.building.earlier import Earlier
from data_prep.building.estimate import Estimate, estimate
from data_prep.building.identity import build_note, settings_hash
from data_prep.building.layout import Layout, usual_layout
from data_prep.building.left_out import LeftOuts
from data_prep.building.options import Options
from data_prep.building.sequences import Gap, Sequence, complete, find_sequences, in_order
from data_prep.building.splits import SplitRule, assign, check_split_name, parse_split_blocks, parse_split_dates
from data_prep.building.task import UNREADABLE, ShardTask
from data_prep.encoding import Unit, encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.hashing import permutation
from data_prep.readers import LeftOut, Reader, Recording, Scan, reader_named
from data_prep.shards.index import BUILD_NAME, BuildNote, ShardsIndex
from data_prep.shards.samples import Packing, frames_per_chunk
from data_prep.workers import InProcess, Pool


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
        """Of the options, the archive's listing, and what frames decided: the layout, and which sequence is in which task."""
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
    # without a limit of the user's the archive's own rule counts, with one what is found when recordings are read
    recordings, incomplete = in_order(scan.recordings), list[LeftOut]()
    if options.max_missing is None:
        recordings, incomplete = complete(recordings, "allow it with --max-missing F")
    if not recordings:
        raise UserError(nothing_left(options.archive, LeftOuts.of([*scan.left_out, *incomplete])))
    parts = _parts(options, scan)
    found = find_sequences(recordings, options.frames, options.stride, scan.cadence_s, options.archive, parts)
    settings = settings_hash(options, encoding, found.frames, scan, reader)
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
            out / BUILD_NAME, split, number, reader, part, _needed(part, recordings), layout, packing,
            options.selection, options.samples_per_shard, strict,
        )
        for split, in_split in splits.items()
        for number, part in enumerate(_deal(in_split, split, options, _sequences_per_task(options, guess)))
    ]  # fmt: skip
    step = timedelta(seconds=(options.stride or found.frames) * scan.cadence_s * parts)
    dealt = [(task.split, len(task.sequences)) for task in tasks]
    note = build_note(settings, recordings, fresh, before.plans, step, layout, dealt)
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
