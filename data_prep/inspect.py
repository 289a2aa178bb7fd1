"""`inspect`: what a shards folder holds, as a table and, on request, a picture of some of its sequences."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_prep.building.account import in_bytes
from data_prep.console import whole
from data_prep.errors import DataError, UserError
from data_prep.frames import Grid, pixel_in_words
from data_prep.shards.index import Shards, Split, open_shards
from data_prep.shards.shard import read_sample

EXAMPLE = "python -m data_prep inspect shards/sevir --picture sevir.png"
_BARS = " ▁▂▃▄▅▆▇█"
_BAR_WIDTH = 32
_ROWS, _COLUMNS = 3, 5  # of the picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `inspect`."""
    parser.add_argument("folder", metavar="DIR", help="a shards folder, or its URL")
    parser.add_argument("--picture", type=Path, metavar="F.png", help=f"draw {_COLUMNS} frames of {_ROWS} sequences")
    parser.add_argument("--split", metavar="NAME", help="the split to draw from (default: the first)")
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="chooses the sequences drawn (default 0)")
    parser.add_argument("--quiet", action="store_true", help="no table")


def run(args: argparse.Namespace) -> int:
    """Prints the table, writes the picture."""
    shards = open_shards(args.folder)
    if not args.quiet:
        show(Console(highlight=False), shards)
    if args.picture:
        draw(shards, args.split or next(iter(shards.index.splits)), args.picture, args.seed)
    return 0


def show(console: Console, shards: Shards) -> None:
    """What the index says: the archive in general, then a line for each split."""
    index = shards.index
    rows, columns = index.shape
    about = Table(box=None, show_header=False)
    about.add_row("archive", Text(f"{index.archive}, {index.unit}, every {index.cadence_s} s"))
    about.add_row(
        "sequence",
        Text(f"{index.frames} frames of {rows} x {columns} pixels of {pixel_in_words(index.pixel, index.pixel_unit)}"),
    )
    about.add_row("codes", Text(f"{index.encoding}, {index.codec}, {index.frames_per_chunk} frames a chunk"))
    for reason, count in index.left_out.items():
        about.add_row("left out", Text(f"{count}: {reason}"))
    console.print(about)
    console.print(_split_table(shards))
    console.print(_time_and_code_table(shards))


def _split_table(shards: Shards) -> Table:
    table = Table(box=None)
    table.add_column("split")
    for column in ("sequences", "shards", "size", "missing", "wet"):
        table.add_column(column, justify="right")
    for name, split in shards.index.splits.items():
        size = in_bytes(sum(shard.bytes for shard in split.shards))
        shares = f"{split.missing_share:.2%}", f"{split.wet_share:.2%}"
        table.add_row(name, str(split.samples), str(len(split.shards)), size, *shares)
    return table


def _time_and_code_table(shards: Shards) -> Table:
    table = Table(box=None)
    for column in ("split", "first frame", "last frame", "how often each code, low to high"):
        table.add_column(column, no_wrap=True)
    for name, split in shards.index.splits.items():
        table.add_row(name, split.first_time[:16], split.last_time[:16], code_bar(shards, split))
    return table


def code_bar(shards: Shards, split: Split) -> str:
    """A line of blocks, the frequency of seen codes from low to high; an eighth of height is a factor of ten.

    The scale is logarithmic because nearly all pixels of most archives are dry.
    """
    codes = shards.index.codes
    seen = np.array(split.code_counts[: codes.missing if codes.dtype == np.uint8 else 255], np.float64)
    counts = np.array([part.sum() for part in np.array_split(seen, _BAR_WIDTH)])
    highest = len(_BARS) - 1
    with np.errstate(divide="ignore"):
        heights = np.clip(np.ceil(highest + np.log10(counts / max(counts.max(), 1.0))), 0, highest)
    return "".join(_BARS[int(height)] for height in np.where(counts > 0, np.maximum(heights, 1), 0))


def draw(shards: Shards, split: str, path: Path, seed: int) -> None:
    """Writes a PNG of some sequences of a split. Raises UserError, DataError where a sample is damaged."""
    from data_prep.pictures import (  # late: matplotlib is slow to import and only this needs it
        Strip,
        film_strip,
    )

    index, samples = shards.index, shards.split(split).samples
    if not path.parent.is_dir():
        raise UserError(f"--picture {path}: {path.parent} is not a folder; give one that exists")
    chosen = sorted(np.random.default_rng(seed).permutation(samples)[:_ROWS].tolist())
    strips, grids = [], []
    for number in chosen:
        meta, codes_THW = read_sample(shards, split, number)
        try:
            times = [datetime.fromisoformat(time) for time in meta["times"]]
            grids.append(Grid.from_dict(meta["grid"]))
            strips.append(Strip(str(meta["key"]), index.codes.decode(codes_THW, index.unit), times))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{shards.source.location}: the JSON of sample {number} of {split} is damaged ({error!r})"
            ) from None
    title = f"{index.archive}, {split}, {samples} sequences"
    film_strip(path, strips, unit=index.unit, grid=grids[0], title=title, columns=_COLUMNS)
