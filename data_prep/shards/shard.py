"""One shard: a tar of samples, written whole or not at all, and read back.

Any tar tool reads a shard, and so does plain webdataset:

    for sample in webdataset.WebDataset("shards/sevir/train/train-000000.tar", shardshuffle=False):
        meta = json.loads(sample["json"])
        raw = lz4.frame.open(io.BytesIO(sample["frames.lz4"])).read()
        codes_THW = numpy.frombuffer(raw, meta["frames"]["dtype"]).reshape(meta["frames"]["shape"])

(or `raw = zstandard.ZstdDecompressor().stream_reader(sample["frames.zst"], read_across_frames=True).read()`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_prep.building.layout import AnotherGridError, Layout, read_sequence
from data_prep.building.sequences import Sequence, iso
from data_prep.encoding import Encoding, encoding_named
from data_prep.errors import DataError, RadarFileError
from data_prep.files import sha256_of, write_atomically
from data_prep.frames import Grid
from data_prep.readers import Reader, Recording
from data_prep.shards.index import Shard, ShardMembers, Shards, code_histogram, idx_name, make_idx, read_idx
from data_prep.shards.samples import META_MEMBER, Packing

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class ShardTask:
    """Everything a worker needs to write one shard.

    folder: the shards folder. reader: module of the reader. recordings: those that the sequences' frames name.
    packing: how sequences are compressed.
    max_missing: largest share of pixels without data. min_wet: smallest share of wet pixels among those with data.
    strict: an unreadable recording is an error, not left out.
    """

    folder: Path
    split: str
    number: int
    reader: str
    sequences: tuple[Sequence, ...]
    recordings: dict[int, Recording]
    layout: Layout
    packing: Packing
    max_missing: float
    min_wet: float
    strict: bool

    @property
    def name(self) -> str:
        """The tar's path in the shards folder."""
        return f"{self.split}/{self.split}-{self.number:06d}.tar"


class CodeTally(BaseModel):
    """Counts over codes that can be added up."""

    model_config = ConfigDict(extra="forbid", strict=True)

    code_counts: list[int] = Field(default_factory=lambda: [0] * 256)
    pixels: int = 0
    missing: int = 0
    wet: int = 0

    def add(self, other: CodeTally) -> None:
        """Takes in another's counts."""
        self.code_counts = [a + b for a, b in zip(self.code_counts, other.code_counts, strict=True)]
        self.pixels += other.pixels
        self.missing += other.missing
        self.wet += other.wet

    @property
    def missing_share(self) -> float:
        """Share of the pixels without data."""
        return round(self.missing / max(self.pixels, 1), 6)

    @property
    def wet_share(self) -> float:
        """Share of wet pixels among those with data."""
        return round(self.wet / max(self.pixels - self.missing, 1), 6)


class ShardRecord(BaseModel):
    """What is known of a shard once it is written; `shard` is None where every sequence of it was left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    shard: Annotated[Shard | None, Field(description="as it stands in the index")] = None
    first_time: str = ""
    last_time: str = ""
    tally: CodeTally = Field(default_factory=CodeTally)
    left_out: list[tuple[str, str, str]] = Field(default_factory=list)


def tally_of(codes: NDArray[Any], encoding: Encoding) -> CodeTally:
    """The counts of codes of any shape."""
    missing = int(np.count_nonzero(codes >= encoding.missing))
    wet = int(np.count_nonzero(codes >= encoding.wet_code)) - missing
    return CodeTally(code_counts=code_histogram(codes).tolist(), pixels=codes.size, missing=missing, wet=wet)


def write_shard(task: ShardTask) -> ShardRecord:
    """Writes the tar and its `.idx` aside and renames them; the same task always gives the same bytes.

    Raises RadarFileError if `task.strict`, OSError where the disk does not take it; then nothing is left behind.
    """
    tar = task.folder / task.name
    tar.parent.mkdir(exist_ok=True)
    aside = tar.with_name(f".{tar.name}.{os.getpid()}.partial")
    record = ShardRecord()
    try:
        samples = _write_samples(aside, task, record)
        if samples:
            write_atomically(task.folder / idx_name(task.name), make_idx(aside))
            size, digest = aside.stat().st_size, sha256_of(aside)
            os.replace(aside, tar)
            record.shard = Shard(name=task.name, samples=samples, bytes=size, sha256=digest)
    finally:
        aside.unlink(missing_ok=True)
    return record


def _write_samples(path: Path, task: ShardTask, record: ShardRecord) -> int:
    reader: Reader = import_module(task.reader).READER
    written = 0
    with _tar_writer(path) as writer:
        for sequence in task.sequences:
            sample = _sample(reader, sequence, task, record)
            if sample:
                writer.write(sample)
                written += 1
    return written


@contextmanager
def _tar_writer(path: Path) -> Iterator[Any]:
    import webdataset  # late: it imports torch, which planning and --help do not need

    with open(path, "wb") as file:
        with webdataset.TarWriter(file, encoder=False, mtime=0, user="nowcast", group="nowcast", mode=0o644) as writer:
            yield writer
        file.flush()
        os.fsync(file.fileno())


def _sample(reader: Reader, sequence: Sequence, task: ShardTask, record: ShardRecord) -> dict[str, Any] | None:
    """The sequence as webdataset takes it, counted in `record`; or None, and why in `record.left_out`."""
    try:
        codes_THW, grid = read_sequence(reader, task.recordings, sequence, task.layout)
    except RadarFileError as error:
        if task.strict:
            raise
        record.left_out.append((sequence.key, UNREADABLE, str(error)))
        return None
    except AnotherGridError as error:
        record.left_out.append((sequence.key, "another grid", str(error)))
        return None
    tally = tally_of(codes_THW, encoding_named(task.layout.encoding))
    if reason := _why_not(tally, task):
        record.left_out.append((sequence.key, *reason))
        return None
    record.tally.add(tally)
    first, last = iso(sequence.times[0]), iso(sequence.times[-1])
    record.first_time = min(record.first_time or first, first)
    record.last_time = max(record.last_time, last)
    meta = _meta(sequence, task, grid, tally)
    return {"__key__": sequence.key, task.packing.member: task.packing.pack(codes_THW), META_MEMBER: meta}


def _why_not(tally: CodeTally, task: ShardTask) -> tuple[str, str] | None:
    if tally.missing == tally.pixels:
        return "all missing", "no pixel has data"
    if tally.missing / tally.pixels > task.max_missing:
        return f"more missing than {task.max_missing:g}", f"{tally.missing_share:g} of its pixels"
    if tally.wet / (tally.pixels - tally.missing) < task.min_wet:
        return f"drier than {task.min_wet:g}", f"{tally.wet_share:g} of its pixels are wet"
    return None


def _meta(sequence: Sequence, task: ShardTask, grid: Grid, tally: CodeTally) -> bytes:
    packing, sources = task.packing, [task.recordings[ref.recording].path.name for ref in sequence.frames]
    meta = {
        "key": sequence.key,
        "event": sequence.event,
        "times": [iso(time) for time in sequence.times],
        "grid": grid.to_dict(),
        "sources": sources if len(set(sources)) > 1 else sources[:1],  # one per frame, or one for all
        "missing": tally.missing_share,
        "wet": tally.wet_share,
        "probability": 1.0,
        "frames": {
            "shape": list(packing.shape_THW),
            "dtype": packing.dtype.name,
            "codec": packing.form,
            "frames_per_chunk": packing.frames_per_chunk,
        },
    }
    return json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()


def read_sample(shards: Shards, split: str, number: int) -> tuple[dict[str, Any], NDArray[Any]]:
    """The JSON and the codes (T, H, W) of the split's sample `number`, counted through its shards from 0.

    Raises DataError where it is damaged, IndexError where there is no such sample.
    """
    for shard in shards.split(split).shards:
        if number < shard.samples:
            return sample_at(shards, shard, read_idx(shards.source, shard), number)
        number -= shard.samples
    raise IndexError(f"{split} has no such sample")


def sample_at(shards: Shards, shard: Shard, members: ShardMembers, number: int) -> tuple[dict[str, Any], NDArray[Any]]:
    """The JSON and the codes (T, H, W) of sample `number` of a shard. Raises DataError where it is damaged."""
    codes_THW = np.empty(shards.shape_THW, shards.index.codes.dtype)

    def member(ext: str) -> memoryview:
        if (place := members.members.get(ext, [None] * len(members.keys))[number]) is None:
            raise ValueError(f"it has no {ext}")
        return shards.source.read(shard.name, *place)

    try:
        meta = json.loads(bytes(member(META_MEMBER)))
        if not isinstance(meta, dict):
            raise ValueError("its JSON is not an object")
        shards.packing.unpack(member(shards.packing.member), 0, codes_THW)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{shard.name}: sample {members.keys[number]}: {error}") from None
    return meta, codes_THW
