"""Every byte of one shard against what its index, its `.idx` and its JSONs say; done in a worker, a few frames at a time."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.building.sequences import follows
from data_prep.building.splits import Membership
from data_prep.errors import DataError, RadarFileError
from data_prep.files import sha256_of
from data_prep.frames import Grid, same_pixels
from data_prep.shards.index import ShardMembers, Shards, check_size, idx_name, make_idx, read_idx
from data_prep.shards.marks import Marks, marks_of, membership_of
from data_prep.shards.parts import ShardPart
from data_prep.shards.stored import chunks_at, meta_at
from data_prep.shards.tally import CodeTally, Counter
from data_prep.workers import reading

_SHARE_TOLERANCE = 2e-6  # shares are rounded to six digits
_DAMAGED = (LookupError, TypeError, ValueError, ArithmeticError)  # what a JSON of another form makes its readers raise


@dataclass
class CheckedShard:
    """What was found. tally, marks: of the samples that could be read. whole: whether those are all."""

    faults: list[str]
    whole: bool = True
    tally: CodeTally = field(default_factory=CodeTally)
    marks: Marks = field(default_factory=lambda: marks_of([]))


class CountedCodes(NamedTuple):
    """tally: of a sample's codes. beyond: whether it has codes that the encoding has not."""

    tally: CodeTally
    beyond: bool


def check_shard(part: ShardPart) -> CheckedShard:
    """All faults of a shard, a sentence each."""
    shards, shard = part.open(), part.shard
    tar, checked = shards.folder / shard.name, CheckedShard([])
    try:
        check_size(shards.source, shard)
    except DataError as error:
        return CheckedShard([str(error)], whole=False)
    try:
        if sha256_of(tar) != shard.sha256:
            checked.faults.append(f"{shard.name}: its sha256 is not the one in the index")
        if (shards.folder / idx_name(shard.name)).read_bytes() != make_idx(tar):
            checked.faults.append(f"{shard.name}: {Path(idx_name(shard.name)).name} does not fit its headers")
        places = read_idx(shards.source, shard)
    except (OSError, ValueError, tarfile.TarError, DataError) as error:
        checked.faults.append(f"{shard.name}: cannot be read by its .idx: {error}")
        checked.whole = False
        return checked
    samples, faults = list[tuple[int, Membership]](), checked.faults
    for number, key in enumerate(places.keys):
        try:
            meta = meta_at(shards, shard, places, number)
            sample = membership_of(part.split, key, meta)
            counted = count_codes(shards, part, places, number)
        except DataError as error:
            faults.append(str(error))
            checked.whole = False
            continue
        except _DAMAGED as error:
            faults.append(f"{shard.name}: the JSON of {key} is damaged: {error!r}")
            checked.whole = False
            continue
        checked.tally.add(counted.tally)
        samples.append((part.first + number, sample))
        faults += (f"{shard.name}: {key}: {fault}" for fault in _sample_faults(key, meta, counted, shards))
    checked.marks = marks_of(samples)
    return checked


def tally_shard(part: ShardPart) -> CodeTally:
    """The counts of all of a shard's codes. Raises DataError where it is damaged."""
    shards, tally = part.open(), CodeTally()
    places = read_idx(shards.source, part.shard)
    for number in range(len(places.keys)):
        tally.add(count_codes(shards, part, places, number).tally)
    return tally


def count_codes(shards: Shards, part: ShardPart, places: ShardMembers, number: int) -> CountedCodes:
    """Decodes a sample and counts its codes. Raises DataError, also where decoding it has killed a worker."""
    counter, encoding, beyond = Counter(shards.index.codes), shards.index.codes, False
    try:
        with reading(f"{part.shard.name}: sample {places.keys[number]}"):
            for codes_tHW in chunks_at(shards, part.shard, places, number):
                for codes_HW in codes_tHW:
                    counter.add(codes_HW)
                beyond = beyond or bool(np.any(codes_tHW > encoding.missing))
    except RadarFileError as error:
        raise DataError(str(error)) from None
    return CountedCodes(counter.tally, beyond)


def _sample_faults(key: str, meta: dict[str, Any], counted: CountedCodes, shards: Shards) -> Iterator[str]:
    """Where the JSON says something else than the codes, the index or the member's name."""
    index, tally, packing = shards.index, counted.tally, shards.packing
    try:
        times = [datetime.fromisoformat(time) for time in meta["times"]]
        grid, frames = Grid.from_dict(meta["grid"]), meta["frames"]
        said = (frames["shape"], frames["dtype"], frames["codec"], frames["frames_per_chunk"])
        shares = np.array([meta["missing"], meta["wet"]], np.float64)
        probability = float(meta["probability"])
    except _DAMAGED as error:
        yield f"its JSON is damaged: {error!r}"
        return
    if meta.get("key") != key:
        yield f"its JSON is of {meta.get('key')}"
    if said != (list(packing.shape_THW), packing.dtype.name, index.codec, index.frames_per_chunk):
        yield f"its JSON says frames are {frames}"
    if not 0.0 < probability <= 1.0 or (probability != 1.0 and not index.importance):
        yield f"its acceptance probability is {probability}"
    if grid.shape != index.shape:
        yield f"its grid is {grid.shape[0]} x {grid.shape[1]}"
    if not same_pixels(grid.pixel, grid.unit, index.pixel, index.pixel_unit):
        yield f"its pixels are {grid.pixel[0]:g} x {grid.pixel[1]:g} {grid.unit}"
    if len(times) != index.frames or not all(follows(a, b, index.cadence_s) for a, b in pairwise(times)):
        yield f"its times are not {index.frames} at {index.cadence_s} s"
    if counted.beyond:
        yield f"it has codes beyond those of {index.encoding}"
    if np.any(np.abs(shares - (tally.missing_share, tally.wet_share)) > _SHARE_TOLERANCE):
        yield f"its JSON says {shares[0]} missing and {shares[1]} wet, counted {tally.missing_share}, {tally.wet_share}"
