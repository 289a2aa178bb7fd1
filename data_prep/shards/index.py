"""The shards folder's table of contents: `index.json` for the whole, a `.idx` beside every tar for its members.

The trainer plans from them before it starts. `.idx` is the format of DALI's wds2idx, version v1.2: a line with the
version and the number of samples, then a line per sample with `<ext> <offset> <size> <name>` for each member.
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_prep.encoding import ENCODINGS, Encoding, Unit
from data_prep.errors import DataError, UserError
from data_prep.files import is_inside

FORMAT_VERSION = 1
INDEX_NAME = "index.json"
_IDX_VERSION = "v1.2"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Shard(_Model):
    """One tar of a split."""

    name: str = Field(description="path relative to the shards folder, such as train/train-000000.tar")
    samples: Annotated[int, Field(gt=0)]
    bytes: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Split(_Model):
    """The shards of a split and what their codes are like."""

    shards: list[Shard]
    first_time: str = Field(description="UTC of the earliest frame")
    last_time: str = Field(description="UTC of the latest frame")
    code_counts: list[int] = Field(description="how often each code occurs, coarse-grained to 256 bins")
    missing_share: float
    wet_share: float = Field(description="share of the seen pixels from the encoding's wet code on")

    @property
    def samples(self) -> int:
        """Sequences in all of its shards."""
        return sum(shard.samples for shard in self.shards)


class ShardsIndex(_Model):
    """What `index.json` says."""

    format_version: int
    archive: str = Field(description="reader that read the archive, such as sevir")
    encoding: str
    unit: Unit = Field(description="unit of the archive's field")
    cadence_s: Annotated[int, Field(gt=0)]
    frames: Annotated[int, Field(gt=0)] = Field(description="frames per sequence")
    shape: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = Field(description="rows, columns")
    pixel_m: tuple[float, float]
    codec: str = Field(description="how frames are compressed: zstd")
    frames_per_chunk: Annotated[int, Field(gt=0)]
    splits: dict[str, Split]
    left_out: dict[str, int] = Field(description="how many sequences or files were left out, by reason")
    plan: str = Field(description="hash of the options and the archive's listing this was built from")

    @property
    def codes(self) -> Encoding:
        """The encoding of the shards' codes."""
        return ENCODINGS[self.encoding]


@dataclass(frozen=True)
class Shards:
    """An opened shards folder."""

    folder: Path
    index: ShardsIndex
    hash: str  # sha256 of index.json: part of a run's identity

    def split(self, name: str) -> Split:
        """The split of that name. Raises UserError naming those there are."""
        if name not in self.index.splits:
            there = ", ".join(self.index.splits)
            raise UserError(f"{self.folder} has no split {name!r}; it has {there}")
        return self.index.splits[name]

    @property
    def shape_THW(self) -> tuple[int, int, int]:
        """Frames, rows and columns of every sequence."""
        return (self.index.frames, *self.index.shape)


def open_shards(folder: Path | str) -> Shards:
    """Reads and checks `index.json`, and that the shards are there in the size it says.

    Raises UserError when there is no index or it is damaged, DataError when a shard is missing or of another size.
    """
    folder = Path(folder)
    path = folder / INDEX_NAME
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give one that `python -m data_prep build --out` made")
    if not path.is_file():
        raise UserError(
            f"{folder} has no {INDEX_NAME}; build it with `python -m data_prep build`, or run an interrupted build again"
        )
    content = path.read_bytes()
    try:
        index = ShardsIndex.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path} is damaged: {where}: {first['msg']}; build the folder anew") from None
    _check(folder, index)
    return Shards(folder, index, hashlib.sha256(content).hexdigest())


def _check(folder: Path, index: ShardsIndex) -> None:
    path = folder / INDEX_NAME
    if index.format_version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {index.format_version}, this program reads {FORMAT_VERSION}; build the folder anew"
        )
    if index.encoding not in ENCODINGS or index.unit not in ENCODINGS[index.encoding].units:
        raise UserError(
            f"{path} names encoding {index.encoding!r} in {index.unit!r}; known are {', '.join(ENCODINGS)}; build the folder anew"
        )
    for shard in (shard for split in index.splits.values() for shard in split.shards):
        if not is_inside(shard.name):
            raise UserError(f"{path} names a shard outside the folder: {shard.name!r}; build the folder anew")
        tar = folder / shard.name
        size = tar.stat().st_size if tar.is_file() else None
        if size != shard.bytes:
            there = "is missing" if size is None else f"has {size} bytes"
            raise DataError(
                f"shard {tar} {there}, {INDEX_NAME} says {shard.bytes}; copy it again or build the folder anew"
            )


class Member(NamedTuple):
    """Where a member's bytes lie in its tar."""

    offset: int
    size: int


class ShardMembers(NamedTuple):
    """Keys of a shard's samples in tar order, and per extension the members' places."""

    keys: list[str]
    members: dict[str, list[Member]]


def idx_path(tar: Path) -> Path:
    """The `.idx` beside a tar."""
    return tar.with_suffix(".idx")


def make_idx(tar: Path) -> bytes:
    """The `.idx` of a finished tar, from its headers."""
    samples: dict[str, list[str]] = {}
    with tarfile.open(tar) as archive:
        for member in archive:
            key, _, ext = Path(member.name).name.partition(".")
            samples.setdefault(key, []).append(f"{ext} {member.offset_data} {member.size} {member.name}")
    lines = [f"{_IDX_VERSION} {len(samples)}", *(" ".join(members) for members in samples.values())]
    return ("\n".join(lines) + "\n").encode()


def read_idx(tar: Path, shard: Shard) -> ShardMembers:
    """Reads the `.idx` beside `tar`. Raises DataError when it is missing, damaged, or points outside the tar."""
    path = idx_path(tar)
    try:
        return _parse_idx(path.read_text("utf-8"), shard)
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} cannot be used ({error}); build the folder anew") from None


def _parse_idx(text: str, shard: Shard) -> ShardMembers:
    head, *lines = text.splitlines()
    if head != f"{_IDX_VERSION} {shard.samples}":
        raise ValueError(f"begins with {head[:40]!r}, expected '{_IDX_VERSION} {shard.samples}'")
    if len(lines) != shard.samples:
        raise ValueError(f"{len(lines)} lines for {shard.samples} samples")
    keys: list[str] = []
    members: dict[str, list[Member]] = {}
    for line in lines:
        words = line.split(" ")
        keys.append(Path(words[3]).name.partition(".")[0])
        for ext, offset, size in zip(words[0::4], words[1::4], words[2::4], strict=True):
            member = Member(int(offset), int(size))
            if member.offset < 0 or member.size < 0 or member.offset + member.size > shard.bytes:
                raise ValueError(f"{keys[-1]}.{ext} lies outside the tar")
            members.setdefault(ext, []).append(member)
    if any(len(places) != len(keys) for places in members.values()):
        raise ValueError("samples differ in their members")
    return ShardMembers(keys, members)


def code_histogram(codes: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How often each code occurs, (256,); wider codes by their high byte."""
    high = codes if codes.dtype == np.uint8 else (codes >> 8).astype(np.uint8)
    flat = np.ascontiguousarray(high).reshape(-1)
    pairs = np.bincount(flat[: flat.size // 2 * 2].view(np.uint16), minlength=65536).reshape(
        256, 256
    )  # in half the time
    odd_one = np.bincount(flat[flat.size // 2 * 2 :], minlength=256)
    return np.asarray(pairs.sum(axis=0) + pairs.sum(axis=1) + odd_one, np.int64)
