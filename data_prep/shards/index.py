"""The shards folder's table of contents: `index.json` for the whole, a `.idx` beside every tar for its members.

The trainer plans from them before it starts. `.idx` is the format of DALI's wds2idx, version v1.2: a line with the
version and the number of samples, then a line per sample with `<ext> <offset> <size> <name>` for each member.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from data_prep.encoding import ENCODINGS, Encoding, Unit
from data_prep.errors import DataError, UserError
from data_prep.files import format_version, is_inside
from data_prep.frames import GridUnit
from data_prep.shards.codecs import CODECS
from data_prep.shards.samples import Packing
from data_prep.shards.sources import Source, SourceOptions, open_source
from data_prep.shards.statistics import Statistics
from data_prep.shards.tally import CodeTally

FORMAT_VERSION = 2
INDEX_NAME = "index.json"
BUILD_NAME = ".build"  # a folder beside it, of a build that is not finished
_IDX_VERSION = "v1.2"


_STRICT = ConfigDict(extra="forbid", strict=True)


class _Model(BaseModel):
    model_config = ConfigDict(**_STRICT, frozen=True)


@dataclass(frozen=True, slots=True, config=_STRICT)
class Shard:
    """One tar of a split. There may be a hundred thousand, so it is small: with slots a third of a model."""

    name: str = Field(description="path relative to the shards folder, such as train/train-000000.tar")
    samples: int = Field(gt=0, lt=2**31)
    bytes: int = Field(gt=0, lt=2**62)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Split(_Model):
    """The shards of a split and what their codes are like."""

    shards: list[Shard]
    first_time: str = Field(description="UTC of the earliest frame")
    last_time: str = Field(description="UTC of the latest frame")
    code_counts: list[int] = Field(description="how often each code occurs, coarse-grained to 256 bins")
    pixels: int = Field(description="of all frames of all samples")
    missing: int = Field(description="pixels without data")
    wet: int = Field(description="pixels from the encoding's wet code on")
    statistics: Statistics = Field(description="what these counts say of the values")

    @property
    def tally(self) -> CodeTally:
        """Its counts, to add to."""
        return CodeTally(code_counts=list(self.code_counts), pixels=self.pixels, missing=self.missing, wet=self.wet)

    @property
    def missing_share(self) -> float:
        """Share of the pixels without data."""
        return self.tally.missing_share

    @property
    def wet_share(self) -> float:
        """Share of wet pixels among those with data."""
        return self.tally.wet_share

    @property
    def samples(self) -> int:
        """Sequences in all of its shards."""
        return sum(shard.samples for shard in self.shards)


class BuildNote(_Model):
    """One build of a folder: what a later one must know to add to it."""

    plan: str = Field(description="hash of the options, the archive's listing, the layout and the tasks")
    settings: str = Field(description="hash of the options alone")
    spans: list[tuple[str, str]] = Field(
        description="from the first to the last start of the sequences of each run (UTC)"
    )
    events: list[str] = Field(description="the whole events that were considered")


class ShardsIndex(_Model):
    """What `index.json` says."""

    format_version: int
    archive: str = Field(description="reader that read the archive, such as sevir")
    encoding: str
    unit: Unit = Field(description="unit of the archive's field")
    cadence_s: Annotated[int, Field(gt=0)]
    frames: Annotated[int, Field(gt=0, le=10**6)] = Field(description="frames per sequence")
    shape: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = Field(description="rows, columns")
    pixel: tuple[float, float] = Field(description="height and width of a pixel, in pixel_unit")
    pixel_unit: GridUnit
    codec: str = Field(description="how frames are compressed: lz4, zstd or raw")
    frames_per_chunk: Annotated[int, Field(gt=0)]
    splits: dict[str, Split]
    archive_shape: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = Field(
        description="rows, columns of the archive's frames"
    )
    archive_pixel: tuple[float, float] = Field(description="of the archive's frames, in pixel_unit")
    importance: bool = Field(description="whether samples were drawn with probabilities other than 1")
    guard_s: Annotated[int, Field(ge=0)] = Field(description="seconds that lie between frames of two splits")
    left_out: dict[str, int] = Field(description="how many sequences or files were left out, by reason")
    builds: list[BuildNote] = Field(min_length=1, description="the build, and what was appended since")

    @property
    def codes(self) -> Encoding:
        """The encoding of the shards' codes."""
        return ENCODINGS[self.encoding]

    @cached_property
    def packing(self) -> Packing:
        """How its sequences are stored."""
        return Packing(self.codec, (self.frames, *self.shape), self.codes.dtype, self.frames_per_chunk)

    @property
    def content(self) -> bytes:
        """`index.json`."""
        return (json.dumps(self.model_dump(mode="json"), indent=1) + "\n").encode()


@dataclasses.dataclass(frozen=True)
class Shards:
    """An opened shards folder."""

    source: Source  # where its files are read from
    index: ShardsIndex
    hash: str  # sha256 of index.json: part of a run's identity
    # shards whose sha256 was compared: whether it fits
    hashed: dict[str, bool] = dataclasses.field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Of shards on a disk. Raises UserError where they lie elsewhere."""
        if not self.source.local:
            raise UserError(f"{self.source.location} is not a folder on a disk; copy the shards, then give that folder")
        return Path(self.source.location)

    def split(self, name: str) -> Split:
        """The split of that name. Raises UserError naming those there are."""
        if name not in self.index.splits:
            there = ", ".join(self.index.splits)
            raise UserError(f"{self.source.location} has no split {name!r}; it has {there}")
        return self.index.splits[name]

    @property
    def shape_THW(self) -> tuple[int, int, int]:
        """Frames, rows and columns of every sequence."""
        return (self.index.frames, *self.index.shape)

    @property
    def packing(self) -> Packing:
        """How its sequences are stored."""
        return self.index.packing


def open_shards(location: Path | str, options: SourceOptions | None = None, *, whole: bool = True) -> Shards:
    """Reads and checks `index.json` of a folder or URL.

    whole: a local shard that is missing or of another size is an error at once; else whoever reads it finds out, as
    for shards that lie elsewhere. Raises UserError when there is no index or it is damaged, DataError for a shard.
    """
    source = open_source(location, options or SourceOptions())
    where = f"{source.location}/{INDEX_NAME}"
    if source.local and not Path(source.location).is_dir():
        raise UserError(f"{source.location} is not a folder; give one that `python -m data_prep build --out` made")
    try:
        content = source.read_all(INDEX_NAME)
    except FileNotFoundError:
        if source.local and (Path(source.location) / BUILD_NAME).is_dir():
            what = "is not finished; run its build again, or the parts that are missing and then --finish"
        else:
            what = f"has no {INDEX_NAME}; build it with `python -m data_prep build`"
        raise UserError(f"{source.location} {what}") from None
    except OSError as error:
        raise UserError(f"{where} cannot be read ({error.strerror}); give a folder that can") from None
    if (version := format_version(content)) not in (None, FORMAT_VERSION):
        raise UserError(
            f"{where} has format version {version}, this program reads {FORMAT_VERSION}; build the folder anew"
        )
    try:
        index = ShardsIndex.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{where} is damaged: {place}: {first['msg']}; build the folder anew") from None
    _check(where, index)
    shards = Shards(source, index, hashlib.sha256(content).hexdigest())
    if whole and source.local:
        for shard in (shard for split in index.splits.values() for shard in split.shards):
            check_size(source, shard)
    return shards


def _check(where: str, index: ShardsIndex) -> None:
    if index.encoding not in ENCODINGS or index.unit not in ENCODINGS[index.encoding].units:
        raise UserError(
            f"{where} names encoding {index.encoding!r} in {index.unit!r}; known are {', '.join(ENCODINGS)}; build the folder anew"
        )
    if index.codec not in CODECS:
        raise UserError(f"{where} names codec {index.codec!r}; known are {', '.join(CODECS)}; build the folder anew")
    for split in index.splits.values():
        if not split.shards:
            raise UserError(f"{where} has a split without shards; build the folder anew")
        for shard in split.shards:
            if not is_inside(shard.name):
                raise UserError(f"{where} names a shard outside the folder: {shard.name!r}; build the folder anew")


def check_size(source: Source, shard: Shard) -> None:
    """Raises DataError where a shard is missing or has another size than the index says."""
    try:
        size = source.size(shard.name)
    except FileNotFoundError:
        there = "is missing"
    except (OSError, ValueError) as error:
        there = f"cannot be found ({error})"
    else:
        if size is None or size == shard.bytes:
            return
        there = f"has {size} bytes"
    raise DataError(
        f"shard {source.location}/{shard.name} {there}, {INDEX_NAME} says {shard.bytes} bytes; copy it again or build the folder anew"
    )


class Member(NamedTuple):
    """Where a member's bytes lie in its tar."""

    offset: int
    size: int


class ShardMembers(NamedTuple):
    """Keys of a shard's samples in tar order, and per extension the members' places; None where a sample has none."""

    keys: list[str]
    members: dict[str, list[Member | None]]


def idx_name(tar: str) -> str:
    """The name of the `.idx` beside a tar."""
    return f"{tar.removesuffix('.tar')}.idx"


def make_idx(tar: Path) -> bytes:
    """The `.idx` of a finished tar, from its headers."""
    samples: dict[str, list[str]] = {}
    with tarfile.open(tar) as archive:
        for member in archive:
            key, _, ext = Path(member.name).name.partition(".")
            samples.setdefault(key, []).append(f"{ext} {member.offset_data} {member.size} {member.name}")
    lines = [f"{_IDX_VERSION} {len(samples)}", *(" ".join(members) for members in samples.values())]
    return ("\n".join(lines) + "\n").encode()


def read_idx(source: Source, shard: Shard) -> ShardMembers:
    """Reads the `.idx` beside a shard. Raises DataError when it is missing, damaged, or points outside the tar."""
    name = idx_name(shard.name)
    try:
        return _parse_idx(source.read_all(name).decode(), shard)
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{source.location}/{name} cannot be used ({error}); build the folder anew") from None


def _parse_idx(text: str, shard: Shard) -> ShardMembers:
    head, *lines = text.splitlines()
    if head != f"{_IDX_VERSION} {shard.samples}":
        raise ValueError(f"begins with {head[:40]!r}, expected '{_IDX_VERSION} {shard.samples}'")
    if len(lines) != shard.samples:
        raise ValueError(f"{len(lines)} lines for {shard.samples} samples")
    keys: list[str] = []
    members: dict[str, list[Member | None]] = {}
    for number, line in enumerate(lines):
        words = line.split(" ")
        keys.append(PurePosixPath(words[3]).name.partition(".")[0])
        for ext, offset, size in zip(words[0::4], words[1::4], words[2::4], strict=True):
            member = Member(int(offset), int(size))
            if member.offset < 0 or member.size < 0 or member.offset + member.size > shard.bytes:
                raise ValueError(f"{keys[-1]}.{ext} lies outside the tar")
            members.setdefault(ext, [None] * len(lines))[number] = member
    return ShardMembers(keys, members)
