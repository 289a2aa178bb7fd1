"""`stats`: value statistics of each split, as a table and in the index."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_prep.building.folder import clear_finished
from data_prep.console import positive, progress
from data_prep.errors import DataError, UserError
from data_prep.files import write_atomically
from data_prep.shards.check import tally_shard
from data_prep.shards.index import BUILD_NAME, INDEX_NAME, Shards, ShardsIndex, Split, open_shards
from data_prep.shards.parts import each_part, parts_of
from data_prep.shards.statistics import QUANTILES, statistics_of
from data_prep.shards.tally import CodeTally
from data_prep.workers import Pool, Workers, cores

EXAMPLE = "python -m data_prep stats shards/sevir"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `stats`."""
    parser.add_argument("folder", metavar="DIR", help="a shards folder")
    parser.add_argument(
        "--from-counts", action="store_true", help="from the counts in the index, without decoding the shards"
    )
    parser.add_argument("--workers", type=positive, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no table")


def run(args: argparse.Namespace) -> int:
    """Works them out, writes them where they are others, prints the table."""
    shards, console = open_shards(args.folder), Console(highlight=False)
    if args.from_counts:
        tallies = {name: split.tally for name, split in shards.index.splits.items()}
    else:
        with Workers(args.workers or cores()) as pool:
            tallies = count_all(shards, pool, args.quiet)
    changed = write(shards, tallies)
    index = open_shards(args.folder).index
    if not args.quiet:
        show(console, index)
    if changed:
        console.print(
            Text(
                f"{INDEX_NAME} has changed: {', '.join(changed)}. Its hash is part of each run's identity: trainings begun "
                "on this folder will refuse to resume unless they are given --new-order"
            ),
            soft_wrap=True,
        )
    elif not args.quiet:
        console.print(Text(f"{INDEX_NAME} says so already: nothing is written"), soft_wrap=True)
    return 0


def show(console: Console, index: ShardsIndex) -> None:
    """All tables."""
    console.print(share_table(index))
    for unit in index.codes.units:
        console.print(statistics_table(index, unit))
    for unit in index.codes.thresholds:
        console.print(threshold_table(index, unit))


def count_all(shards: Shards, pool: Pool, quiet: bool = True) -> dict[str, CodeTally]:
    """The counts of each split, from all of its codes. Raises DataError where a sample is damaged."""
    tallies = {name: CodeTally() for name in shards.index.splits}
    samples = sum(split.samples for split in shards.index.splits.values())
    with progress("sequences", samples, quiet=quiet) as advance:
        for part, tally in each_part(tally_shard, parts_of(shards), pool):
            tallies[part.split].add(tally)
            advance(part.shard.samples)
    return tallies


def write(shards: Shards, tallies: Mapping[str, CodeTally]) -> list[str]:
    """Puts counts and what follows from them into the index; what has changed. Its bytes stay where nothing has.

    Raises UserError while a build adds to the folder or where one has since it was opened, DataError where the disk does
    not take it.
    """
    splits, changed = dict[str, Split](), list[str]()
    for name, before in shards.index.splits.items():
        tally, statistics = tallies[name], statistics_of(tallies[name], shards.index.codes)
        if before.tally != tally:
            changed.append(f"code counts of {name}")
        if before.statistics.differs_from(statistics):
            changed.append(f"statistics of {name}")
        else:
            statistics = before.statistics
        splits[name] = before.model_copy(update={**tally.model_dump(), "statistics": statistics})
    if changed:
        _write_index(shards, shards.index.model_copy(update={"splits": splits}))
    return changed


def _write_index(shards: Shards, index: ShardsIndex) -> None:
    clear_finished(shards.folder)
    if (shards.folder / BUILD_NAME).exists():
        raise UserError(f"{shards.folder} is being added to; end that build, then run the same again")
    if open_shards(shards.folder, whole=False).hash != shards.hash:
        raise UserError(
            f"{shards.folder} has changed since it was read, so that nothing is written; run the same again"
        )
    try:
        write_atomically(shards.folder / INDEX_NAME, index.content)
    except OSError as error:
        raise DataError(f"{shards.folder}/{INDEX_NAME} cannot be written ({error.strerror}); it is as it was") from None


def statistics_table(index: ShardsIndex, unit: str) -> Table:
    """What values in a unit are like, a line for each split; empty columns where no pixel has data."""
    table = Table(box=None)
    table.add_column(unit)
    for column in ("mean", "std", "min", *QUANTILES, "max"):
        table.add_column(column, justify="right")
    for name, split in index.splits.items():
        values = split.statistics.values.get(unit)
        if values:
            numbers = (values.mean, values.std, values.min, *values.quantiles.values(), values.max)
            table.add_row(name, *(f"{number:.4g}" for number in numbers))
    return table


def threshold_table(index: ShardsIndex, unit: str) -> Table:
    """Shares of the pixels with data that reach each of the encoding's thresholds in a unit."""
    table = Table(box=None)
    table.add_column(f"{unit} ≥")
    for threshold in index.codes.thresholds[unit]:
        table.add_column(f"{threshold:g}", justify="right")
    for name, split in index.splits.items():
        reached = split.statistics.at_or_above.get(unit, {})
        table.add_row(name, *(f"{100 * share:.3g}%" for share in reached.values()))
    return table


def share_table(index: ShardsIndex) -> Table:
    """Shares of pixels, and what the model's input is like, a line for each split."""
    table = Table(box=None)
    table.add_column("split")
    for column in ("pixels with data", "missing", "wet", "model mean", "model std"):
        table.add_column(column, justify="right")
    for name, split in index.splits.items():
        found = split.statistics
        model = [f"{number:.4f}" for number in (found.model_mean, found.model_std) if number is not None]
        table.add_row(name, f"{found.count:.4g}", f"{found.missing_share:.2%}", f"{found.wet_share:.2%}", *model)
    return table
