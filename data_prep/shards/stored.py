"""Samples as they lie in a shard: whole, their JSON by itself, or their frames a few at a time.

Any tar tool reads a shard, and so does plain webdataset:

    for sample in webdataset.WebDataset("shards/sevir/train/train-000000.tar", shardshuffle=False):
        meta = json.loads(sample["json"])
        raw = lz4.frame.open(io.BytesIO(sample["frames.lz4"])).read()
        codes_THW = numpy.frombuffer(raw, meta["frames"]["dtype"]).reshape(meta["frames"]["shape"])

(or `raw = zstandard.ZstdDecompressor().stream_reader(sample["frames.zst"], read_across_frames=True).read()`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.shards.index import Shard, ShardMembers, Shards, read_idx
from data_prep.shards.samples import META_MEMBER


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
    meta, codes_THW = meta_at(shards, shard, members, number), np.empty(shards.shape_THW, shards.packing.dtype)
    with _named(shard, members, number):
        shards.packing.unpack(_member(shards, shard, members, number, shards.packing.member), 0, codes_THW)
    return meta, codes_THW


def meta_at(shards: Shards, shard: Shard, members: ShardMembers, number: int) -> dict[str, Any]:
    """The JSON of sample `number` of a shard. Raises DataError where it is damaged."""
    with _named(shard, members, number):
        meta = json.loads(bytes(_member(shards, shard, members, number, META_MEMBER)))
        if not isinstance(meta, dict):
            raise ValueError("its JSON is not an object")
        return meta


def chunks_at(shards: Shards, shard: Shard, members: ShardMembers, number: int) -> Iterator[NDArray[Any]]:
    """The codes (t, H, W) of a sample, a chunk's frames at a time, in memory that is used again.

    The thread may read nothing else from the source meanwhile. Raises DataError where they are damaged.
    """
    packing = shards.packing
    codes_tHW = np.empty((packing.frames_per_chunk, *shards.index.shape), packing.dtype)
    with _named(shard, members, number):
        packed = _member(shards, shard, members, number, packing.member)
        for start in range(0, shards.index.frames, packing.frames_per_chunk):
            part_tHW = codes_tHW[: shards.index.frames - start]
            packing.unpack(packed, start, part_tHW)
            yield part_tHW


def frames_at(
    shards: Shards, shard: Shard, members: ShardMembers, number: int, frames: Sequence[int]
) -> Iterator[NDArray[Any]]:
    """The codes (H, W) of some frames of a sample. As `chunks_at`."""
    codes_1HW = np.empty((1, *shards.index.shape), shards.packing.dtype)
    with _named(shard, members, number):
        packed = _member(shards, shard, members, number, shards.packing.member)
        for frame in frames:
            shards.packing.unpack(packed, frame, codes_1HW)
            yield codes_1HW[0]


def _member(shards: Shards, shard: Shard, members: ShardMembers, number: int, ext: str) -> memoryview:
    if (place := members.members.get(ext, [None] * len(members.keys))[number]) is None:
        raise ValueError(f"it has no {ext}")
    return shards.source.read(shard.name, *place)


@contextmanager
def _named(shard: Shard, members: ShardMembers, number: int) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{shard.name}: sample {members.keys[number]}: {error}") from None
