"""`verify`: every byte of a shards folder against what its index, its `.idx` files and its JSONs say."""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.building.sequences import follows
from data_prep.building.splits import Membership, leaks, too_near
from data_prep.console import Advance, progress
from data_prep.errors import DataError
from data_prep.files import sha256_of
from data_prep.frames import Grid
from data_prep.shards.index import Shard, Shards, Split, idx_name, make_idx, open_shards, read_idx
from data_prep.shards.shard import sample_at
from data_prep.shards.tally import CodeTally, tally_of

EXAMPLE = "python -m data_prep verify shards/sevir"
_SHARE_TOLERANCE = 2e-6  # shares are rounded to six digits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `verify`."""
    parser.add_argument("folder", metavar="DIR", help="a shards folder")
    parser.add_argument("--quiet", action="store_true", help="print faults only")


def run(args: argparse.Namespace) -> int:
    """Prints a line per fault; 0 where there is none, else 3."""
    shards = open_shards(args.folder)
    samples = sum(split.samples for split in shards.index.splits.values())
    count = 0
    with progress("sequences", samples, quiet=args.quiet) as advance:
        for fault in faults(shards, advance):
            print(fault, flush=True)
            count += 1
    if count:
        raise DataError(f"{args.folder} has {count} faults; copy it again or build it anew")
    if not args.quiet:
        print(f"{args.folder} is sound: {samples} sequences in {len(shards.index.splits)} splits")
    return 0


def faults(shards: Shards, advance: Advance = lambda amount: None) -> Iterator[str]:
    """A sentence for each fault found; the shards are read one sequence at a time. advance: called per sequence."""
    members: list[Membership] = []
    for name, split in shards.index.splits.items():
        tally = CodeTally()
        for shard in split.shards:
            yield from _shard_faults(shards, name, shard, tally, members, advance)
        yield from _split_faults(name, split, tally, [member for member in members if member.split == name])
    yield from _repeated_keys(members)
    yield from leaks(members)
    yield from too_near(members, timedelta(seconds=shards.index.guard_s))


def _shard_faults(
    shards: Shards, split: str, shard: Shard, tally: CodeTally, members: list[Membership], advance: Advance
) -> Iterator[str]:
    tar = shards.folder / shard.name
    if sha256_of(tar) != shard.sha256:
        yield f"{shard.name}: its sha256 is not the one in the index"
    try:
        if (shards.folder / idx_name(shard.name)).read_bytes() != make_idx(tar):
            yield f"{shard.name}: {Path(idx_name(shard.name)).name} does not fit its headers"
        places = read_idx(shards.source, shard)
    except (OSError, tarfile.TarError, DataError) as error:
        yield f"{shard.name}: cannot be read by its .idx: {error}"
        advance(shard.samples)
        return
    for number, key in enumerate(places.keys):
        advance(1)
        try:
            meta, codes_THW = sample_at(shards, shard, places, number)
            member = _membership(split, key, meta)
        except DataError as error:
            yield str(error)
            continue
        except (KeyError, TypeError, ValueError) as error:
            yield f"{shard.name}: the JSON of {key} is damaged: {error!r}"
            continue
        tally.add(tally_of(codes_THW, shards.index.codes))
        members.append(member)
        for fault in _sample_faults(key, meta, codes_THW, shards):
            yield f"{shard.name}: {key}: {fault}"


def _membership(split: str, key: str, meta: dict[str, Any]) -> Membership:
    times, sources = meta["times"], meta["sources"]
    each = sources * len(times) if len(sources) == 1 else sources[:: max(len(sources) // len(times), 1)]
    return Membership(split, key, meta["event"], tuple(zip(each, times, strict=True)))


def _sample_faults(key: str, meta: dict[str, Any], codes_THW: NDArray[Any], shards: Shards) -> Iterator[str]:
    """Where the JSON says something else than the codes, the index or the member's name."""
    index, tally = shards.index, tally_of(codes_THW, shards.index.codes)
    try:
        times = [datetime.fromisoformat(time) for time in meta["times"]]
        grid, frames = Grid.from_dict(meta["grid"]), meta["frames"]
        said = (frames["shape"], frames["dtype"], frames["codec"], frames["frames_per_chunk"])
        shares = np.array([meta["missing"], meta["wet"]], np.float64)
        probability = float(meta["probability"])
    except (KeyError, TypeError, ValueError) as error:
        yield f"its JSON is damaged: {error!r}"
        return
    if meta.get("key") != key:
        yield f"its JSON is of {meta.get('key')}"
    if said != (list(codes_THW.shape), codes_THW.dtype.name, index.codec, index.frames_per_chunk):
        yield f"its JSON says frames are {frames}"
    if not 0.0 < probability <= 1.0 or (probability != 1.0 and not index.importance):
        yield f"its acceptance probability is {probability}"
    if grid.shape != index.shape:
        yield f"its grid is {grid.shape[0]} x {grid.shape[1]}"
    if len(times) != index.frames or not all(follows(a, b, index.cadence_s) for a, b in pairwise(times)):
        yield f"its times are not {index.frames} at {index.cadence_s} s"
    if np.any(codes_THW > index.codes.missing):
        yield f"it has codes beyond those of {index.encoding}"
    if np.any(np.abs(shares - (tally.missing_share, tally.wet_share)) > _SHARE_TOLERANCE):
        yield f"its JSON says {shares[0]} missing and {shares[1]} wet, counted {tally.missing_share}, {tally.wet_share}"


def _split_faults(name: str, split: Split, tally: CodeTally, members: list[Membership]) -> Iterator[str]:
    """Where the index says something else than the samples together."""
    if split.code_counts != tally.code_counts:
        yield f"{name}: the index's code counts are not those of its sequences"
    elif split.tally != tally:
        yield f"{name}: the index's counts of missing and wet are not those of its sequences"
    times = [time for member in members for _, time in member.frames]
    if times and (split.first_time, split.last_time) != (min(times), max(times)):
        yield f"{name}: the index's first and last time are not those of its sequences"


def _repeated_keys(members: list[Membership]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for member in members:
        if member.key in seen:
            yield f"key {member.key} occurs twice: in {seen[member.key]} and {member.split}"
        seen[member.key] = member.split
