"""A task of a build: sequences that become shards, each a tar that is written whole or not at all."""

from __future__ import annotations

import json
import os
import socket
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_prep.building.layout import AnotherGridError, Layout, frames_of
from data_prep.building.left_out import LeftOuts
from data_prep.building.selection import Selection, judge
from data_prep.building.sequences import Sequence
from data_prep.encoding import encoding_named
from data_prep.errors import RadarFileError
from data_prep.files import sha256_of, write_atomically
from data_prep.frames import Grid
from data_prep.hashing import permutation
from data_prep.readers import LeftOut, Reader, Recording
from data_prep.shards.index import Shard, idx_name, make_idx
from data_prep.shards.samples import META_MEMBER, Packer, Packing
from data_prep.shards.tally import CodeTally, Counter
from data_prep.times import iso

UNREADABLE = "unreadable"
_COPIED_BYTES = 1 << 20  # into a tar at a time
_SPOOL_BYTES = 1 << 26  # packed samples of a task that are held in memory; more wait in a file


@dataclass(frozen=True)
class ShardTask:
    """Everything a worker needs to write the shards of some sequences.

    folder: where. number: the task's, of its split. sequences: each is read once and cut into
    the layout's pieces. recordings: those that the sequences' frames name. packing: how samples are compressed.
    samples_per_shard: at most. strict: an unreadable recording is an error, not left out.
    """

    folder: Path
    split: str
    number: int
    reader: Reader
    sequences: tuple[Sequence, ...]
    recordings: dict[int, Recording]
    layout: Layout
    packing: Packing
    selection: Selection
    samples_per_shard: int
    strict: bool

    @property
    def stem(self) -> str:
        """Begins the names of its files."""
        return f"{self.split}-{self.number:06d}"


class TaskRecord(BaseModel):
    """What is known of a task once it is done. shards: named by their files in the task's folder."""

    model_config = ConfigDict(extra="forbid", strict=True)

    shards: list[Shard] = Field(default_factory=list)
    first_time: str = ""
    last_time: str = ""
    tally: CodeTally = Field(default_factory=CodeTally)
    left_out: LeftOuts = Field(default_factory=LeftOuts)


class _Packed(NamedTuple):
    """A sample that was kept: where its frames lie in the spool, and its JSON."""

    key: str
    offset: int
    size: int
    meta: bytes


def write_shards(task: ShardTask) -> TaskRecord:
    """Writes the task's tars and their `.idx` aside and renames them; the same task always gives the same bytes.

    Sequences are read in order of time; what is kept of them is dealt to shards of about equal size. Raises RadarFileError
    if `task.strict`, OSError where the disk does not take it; then nothing is left behind but whole files.
    """
    record = TaskRecord()
    with SpooledTemporaryFile(_SPOOL_BYTES, dir=str(task.folder)) as spool:
        packed: list[_Packed] = []
        for sequence in sorted(task.sequences, key=lambda sequence: (sequence.times[0], sequence.key)):
            for key, frames, meta in _samples(sequence, task, record):
                packed.append(_Packed(key, spool.tell(), sum(map(len, frames)), meta))
                spool.writelines(frames)
        order = permutation(len(packed), task.selection.seed, zlib.crc32(task.split.encode()), task.number)
        parts = np.array_split(order, -(-len(packed) // task.samples_per_shard)) if packed else []
        for number, part in enumerate(parts):
            record.shards.append(_write_tar(f"{task.stem}-{number:04d}.tar", [packed[i] for i in part], spool, task))
    return record


def _write_tar(name: str, packed: Iterable[_Packed], spool: Any, task: ShardTask) -> Shard:
    tar, samples = task.folder / name, 0
    aside = tar.with_name(f".{name}.{socket.gethostname()}-{os.getpid()}.partial")
    try:
        with _tar_writer(aside) as writer:
            for one in packed:
                spool.seek(one.offset)
                frames = spool.read(one.size)
                writer.write({"__key__": one.key, task.packing.member: frames, META_MEMBER: one.meta})
                samples += 1
        write_atomically(task.folder / idx_name(name), make_idx(aside))
        size, digest = aside.stat().st_size, sha256_of(aside)
        os.replace(aside, tar)
    finally:
        aside.unlink(missing_ok=True)
    return Shard(name=name, samples=samples, bytes=size, sha256=digest)


@contextmanager
def _tar_writer(path: Path) -> Iterator[Any]:
    import webdataset  # late: planning needs no tars, and outside of workers this imports torch

    with open(path, "wb") as file:
        with webdataset.TarWriter(file, encoder=False, mtime=0, user="nowcast", group="nowcast", mode=0o644) as writer:
            # its own tar is one for pipes, in blocks of 10 KB and of a format that may change; this takes large ones
            writer.tarstream = tarfile.TarFile(
                fileobj=file, mode="w", format=tarfile.USTAR_FORMAT, copybufsize=_COPIED_BYTES
            )
            yield writer
        file.flush()
        os.fsync(file.fileno())


def _samples(sequence: Sequence, task: ShardTask, record: TaskRecord) -> Iterator[tuple[str, list[bytes], bytes]]:
    """(key, parts of the packed frames, JSON) of each piece that is kept, counted in `record`; for the others it says why not."""
    try:
        pieces = _pieces(sequence, task)
    except RadarFileError as error:
        if task.strict:
            raise
        record.left_out.add(LeftOut(sequence.key, UNREADABLE, str(error)))
        return
    except AnotherGridError as error:
        record.left_out.add(LeftOut(sequence.key, "another grid", str(error)))
        return
    first, last = iso(sequence.times[0]), iso(sequence.times[-1])
    for piece in pieces:
        tally = piece.counter.tally
        verdict = judge(piece.key, tally, task.layout.encoding, task.selection)
        if verdict.reason:
            record.left_out.add(LeftOut(piece.key, verdict.reason, verdict.detail))
            continue
        record.tally.add(tally)
        record.first_time = min(record.first_time or first, first)
        record.last_time = max(record.last_time, last)
        yield piece.key, piece.packer.finish(), _meta(piece, sequence, task, tally, verdict.probability)


class _Piece(NamedTuple):
    key: str
    place: tuple[int, int]  # row and column of its corner
    packer: Packer
    counter: Counter
    grid: Grid


def _pieces(sequence: Sequence, task: ShardTask) -> list[_Piece]:
    """The pieces of a sequence, packed as its frames are read, so that one frame at a time is held as it was stored."""
    layout, (rows, columns) = task.layout, task.layout.shape
    encoding, pieces = encoding_named(layout.encoding), list[_Piece]()
    for frame in frames_of(task.reader, task.recordings, sequence, layout):
        if not pieces:
            for row, column in layout.cuts:
                key = f"{sequence.key}_{row:04d}_{column:04d}" if layout.cutting.tile else sequence.key
                grid = frame.grid.crop(row, column, rows, columns)
                pieces.append(_Piece(key, (row, column), Packer(task.packing), Counter(encoding), grid))
        top, left = layout.cuts[0]
        only = len(layout.cuts) == 1
        codes = (frame.crop(top, left, rows, columns) if only else frame).encode(encoding)
        for piece in pieces:
            row, column = (0, 0) if only else piece.place
            part = codes[row : row + rows, column : column + columns]
            piece.packer.add(part)
            piece.counter.add(part)
    return pieces


def _meta(piece: _Piece, sequence: Sequence, task: ShardTask, tally: CodeTally, probability: float) -> bytes:
    packing, sources = task.packing, [task.recordings[ref.recording].name for ref in sequence.frames]
    meta = {
        "key": piece.key,
        "event": sequence.event,
        "times": [iso(time) for time in sequence.times],
        "grid": piece.grid.to_dict(),
        "sources": sources if len(set(sources)) > 1 else sources[:1],  # one for each that was read, or one for all
        "missing": tally.missing_share,
        "wet": tally.wet_share,
        "probability": probability,
        "frames": {
            "shape": list(packing.shape_THW),
            "dtype": packing.dtype.name,
            "codec": packing.form,
            "frames_per_chunk": packing.frames_per_chunk,
        },
    }
    return json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()
