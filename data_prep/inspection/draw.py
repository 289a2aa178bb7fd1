"""Pictures of what was looked at, each row with a map of where it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import Unit, encoding_named
from data_prep.errors import UserError, counted
from data_prep.files import writing
from data_prep.frames import Grid
from data_prep.inspection.archive import ArchiveView
from data_prep.inspection.folder import FolderView, samples_at, shard_with
from data_prep.inspection.places import places_of
from data_prep.inspection.samples import Look, thumbnail, thumbnail_grid
from data_prep.pictures import Strip, domain_map, film_strip
from data_prep.pictures.page import evenly
from data_prep.shards.index import Shards, read_idx
from data_prep.shards.stored import frames_at
from data_prep.times import utc

ROWS, COLUMNS = 3, 5


def draw_archive(path: Path, view: ArchiveView) -> None:
    """Writes a PNG of frames of the first product. Raises UserError (no matplotlib, no frame)."""
    product = view.products[0]
    looks = [look for look in product.looks if look.pictures]
    if not looks:
        raise UserError(f"no frame of {view.format} could be read, so there is no picture; leave --picture out")
    codes, unit = encoding_named(product.product.encoding), product.product.unit
    rows = _by_event(looks) if len(looks[0].times) > 1 else _by_time(looks)
    strips = [
        Strip(label, codes.decode(codes_THW, unit), times, thumbnail_grid(grid))
        for label, codes_THW, times, grid in rows
    ]
    of = counted(product.frames, "frame") if product.frames else "frames that a build leaves out"
    title = f"{view.format}, {product.product.name}, {of}"
    _draw(path, strips, unit, title, product.grids)


class _Row(NamedTuple):
    label: str
    codes_THW: NDArray[Any]
    times: tuple[datetime, ...]
    grid: Grid


def _by_event(looks: Sequence[Look]) -> list[_Row]:
    """A row for each recording."""
    alike = [look for look in looks if look.grid.shape == looks[0].grid.shape]
    return [_Row(look.label, np.stack(look.pictures), look.times, look.grid) for look in alike[:ROWS]]


def _by_time(looks: Sequence[Look]) -> list[_Row]:
    """Rows of single frames one after the other, all on the commonest grid."""
    grid = Counter(look.grid for look in looks).most_common(1)[0][0]
    alike = [look for look in looks if look.grid == grid]
    rows = [alike[start : start + COLUMNS] for start in range(0, len(alike), COLUMNS)][:ROWS]
    return [
        _Row(
            f"{utc(row[0].times[0]):%Y-%m-%d}",
            np.stack([look.pictures[0] for look in row]),
            tuple(look.times[0] for look in row),
            grid,
        )
        for row in rows
    ]


def draw_folder(path: Path, view: FolderView, split: str, seed: int) -> None:
    """Writes a PNG of some sequences of a split. Raises UserError, DataError where a sample is damaged."""
    shards, index = view.shards, view.shards.index
    samples = shards.split(split).samples
    chosen = sorted(np.random.default_rng(seed).permutation(samples)[:ROWS].tolist())
    strips = [_strip(shards, split, number) for number in chosen]
    grids = [sample.grid for sample in view.splits[split].samples]
    _draw(path, strips, index.unit, f"{index.archive}, {split}, {counted(samples, 'sequence')}", grids)


def _strip(shards: Shards, split: str, number: int) -> Strip:
    [sample] = samples_at(shards, split, [number])
    frames = evenly(shards.index.frames, COLUMNS)
    shard, first = shard_with(shards, split, number)
    codes = frames_at(shards, shard, read_idx(shards.source, shard), number - first, frames)
    codes_THW = np.stack([thumbnail(codes_HW) for codes_HW in codes])
    values_THW = shards.index.codes.decode(codes_THW, shards.index.unit)
    return Strip(sample.key, values_THW, [sample.times[frame] for frame in frames], thumbnail_grid(sample.grid))


def _draw(path: Path, strips: Sequence[Strip], unit: Unit, title: str, grids: Sequence[Grid]) -> None:
    """With a map at the end of each row, where places are known."""
    around = list(dict.fromkeys(grids))
    if places_of(around).box is None:
        around = []
    with writing(path):
        film_strip(path, strips, unit=unit, grid=strips[0].grid, title=title, columns=COLUMNS, around=around)


def draw_map(path: Path, domains: Mapping[str, Sequence[Grid]], title: str) -> None:
    """Writes a PNG with the outlines of all grids, by group. Raises UserError (no matplotlib, no pyproj, off the earth)."""
    with writing(path):
        domain_map(path, domains, title=title)
