"""`build`: a radar archive becomes a folder of shards. The same command continues a build that was stopped."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_prep.building.account import count_reasons, in_bytes, show_left_out, show_splits
from data_prep.building.folder import BuildFolder, building, is_complete
from data_prep.building.plan import Options, Plan, make_plan, nothing_left
from data_prep.console import positive, progress, share, whole
from data_prep.encoding import ENCODINGS
from data_prep.errors import DataError, UserError
from data_prep.readers import READERS, LeftOut
from data_prep.shards.codecs import CODECS, DEFAULT
from data_prep.shards.index import FORMAT_VERSION, ShardsIndex, Split, open_shards
from data_prep.shards.shard import UNREADABLE, CodeTally, ShardRecord, ShardTask, write_shard
from data_prep.workers import WorkerDiedError, in_parallel

EXAMPLE = """
python -m data_prep build --format sevir --source /data/sevir --out shards/sevir
  python -m data_prep build --format knmi --source 'knmi/*.h5' --out shards/knmi --frames 25 --crop 384 --split train
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `build`."""
    parser.add_argument("--format", required=True, choices=list(READERS), help="what kind of archive it is")
    parser.add_argument("--source", required=True, nargs="+", metavar="PATH", help="folders, files or globs in quotes")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the shards folder to make")
    parser.add_argument("--product", metavar="NAME", help="which, where the files hold several")
    split = parser.add_mutually_exclusive_group()
    split.add_argument("--split-dates", metavar="VAL,TEST", help="where train and val end (default: as is customary)")
    split.add_argument("--split", metavar="NAME", help="put all into one split")
    parser.add_argument("--frames", type=positive, metavar="N", help="per sequence (default: a whole event)")
    parser.add_argument("--stride", type=positive, metavar="N", help="from one start to the next (default: --frames)")
    parser.add_argument("--crop", type=positive, metavar="PX", help="keep only a square in the middle")
    parser.add_argument("--min-wet", type=share, default=0.0, metavar="F", help="smallest share of wet pixels")
    parser.add_argument(
        "--max-missing",
        type=share,
        metavar="F",
        help="largest share without data (SEVIR: 0)",
    )
    parser.add_argument("--encoding", choices=list(ENCODINGS), help="of the codes (default: the archive's)")
    about_shards = "at most so many sequences in a tar (default 32: some 20 MB of SEVIR)"
    parser.add_argument("--samples-per-shard", type=positive, default=32, metavar="N", help=about_shards)
    about_codecs = "; ".join(f"{codec.name}: {codec.what}" for codec in CODECS.values())
    parser.add_argument(
        "--codec", choices=list(CODECS), default=DEFAULT, help=f"of the frames (default {DEFAULT}). {about_codecs}"
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--workers", type=positive, default=cores, metavar="N", help="processes (default: one per core)"
    )
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="deals sequences to shards (default 0)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be built, write nothing")
    parser.add_argument("--strict", action="store_true", help="stop at an unreadable file, instead of leaving it out")
    parser.add_argument("--quiet", action="store_true", help="no progress and no account")


def run(args: argparse.Namespace) -> int:
    """Plans, writes what is not yet written, and gives an account."""
    options = Options(
        args.format, tuple(args.source), args.product, args.split_dates, args.split, args.frames, args.stride, args.crop,
        args.min_wet, args.max_missing, args.encoding, args.samples_per_shard, args.seed, args.codec,
    )  # fmt: skip
    console = Console(highlight=False)
    plan = make_plan(options, args.out, args.strict)
    if args.dry_run:
        _show_plan(console, plan)
        return 0
    try:
        built = build(plan, args.out, args.workers, args.quiet)
    except OSError as error:
        where = error.filename or args.out
        raise DataError(f"{where} cannot be written: {error.strerror}; mend it, then run the same again") from None
    if not args.quiet:
        _show(console, args.out, built)
    return 0


@dataclass(frozen=True)
class Built:
    """A finished folder and what is not in it."""

    index: ShardsIndex
    left_out: list[LeftOut]


def build(plan: Plan, out: Path, workers: int, quiet: bool = True) -> Built | None:
    """Writes the shards that are not yet there, then `index.json`; None where the folder was complete already.

    Raises UserError (another build's folder, nothing to write), RadarFileError (with --strict), DataError (a worker
    died), OSError (the disk). What is finished stays, and the next build of the same plan goes on from there.
    """
    if is_complete(out, plan.hash):
        unreadable = open_shards(out).index.left_out.get(UNREADABLE, 0)
        if unreadable and any(task.strict for task in plan.tasks):
            raise UserError(
                f"{out} was built without {unreadable} sequences of unreadable files; mend them, remove it, build again"
            )
        return None
    with building(out, plan.hash) as folder:
        try:
            records = _write_all(folder, plan.tasks, workers, quiet)
        except WorkerDiedError as error:
            names = ", ".join(task.name for task in error.tasks)
            raise DataError(
                f"a worker died while building {names}: out of memory, or a file that crashes its reader; "
                "run the same command with --workers 1 to go on from there"
            ) from None
        left_out = [*plan.left_out, *(LeftOut(*item) for record in records for item in record.left_out)]
        index = _index(plan, records, left_out)
        if not index.splits:
            folder.discard()
            raise UserError(nothing_left(plan.source, left_out))
        folder.finish(index)
    return Built(index, left_out)


def _write_all(folder: BuildFolder, tasks: list[ShardTask], workers: int, quiet: bool) -> list[ShardRecord]:
    """The record of every task, in their order."""
    records = {task.name: record for task in tasks if (record := folder.done(task))}
    open_tasks = [task for task in tasks if task.name not in records]
    with progress("sequences", sum(len(task.sequences) for task in tasks), quiet=quiet) as advance:
        advance(sum(len(task.sequences) for task in tasks if task.name in records))
        for task, record in in_parallel(write_shard, open_tasks, workers):
            folder.record(task, record)
            records[task.name] = record
            advance(len(task.sequences))
    if any(task.strict for task in tasks):
        _refuse_unreadable(records.values())
    return [records[task.name] for task in tasks]


def _refuse_unreadable(records: Iterable[ShardRecord]) -> None:
    """For shards that an earlier build without --strict had finished."""
    for key, reason, detail in (item for record in records for item in record.left_out):
        if reason == UNREADABLE:
            raise UserError(f"sequence {key} is {UNREADABLE}: {detail}; leave --strict out to go on without it")


def _index(plan: Plan, records: list[ShardRecord], left_out: list[LeftOut]) -> ShardsIndex:
    splits = {
        split: _split([record for task, record in zip(plan.tasks, records, strict=True) if task.split == split])
        for split in dict.fromkeys(task.split for task, record in zip(plan.tasks, records, strict=True) if record.shard)
    }
    return ShardsIndex(
        format_version=FORMAT_VERSION,
        archive=plan.archive,
        encoding=plan.layout.encoding,
        unit=plan.unit,
        cadence_s=plan.cadence_s,
        frames=plan.frames,
        shape=plan.layout.shape,
        pixel=plan.layout.pixel,
        pixel_unit=plan.layout.pixel_unit,
        codec=plan.packing.form,
        frames_per_chunk=plan.packing.frames_per_chunk,
        splits=splits,
        left_out=count_reasons(left_out),
        plan=plan.hash,
    )


def _split(records: list[ShardRecord]) -> Split:
    tally = CodeTally()
    for record in records:
        tally.add(record.tally)
    return Split(
        shards=[record.shard for record in records if record.shard],
        first_time=min(record.first_time for record in records if record.shard),
        last_time=max(record.last_time for record in records),
        code_counts=tally.code_counts,
        missing_share=tally.missing_share,
        wet_share=tally.wet_share,
    )


def _show(console: Console, out: Path, built: Built | None) -> None:
    if built is None:
        console.print(Text(f"{out} is complete and was built just like this: nothing to do"), soft_wrap=True)
        return
    show_splits(console, built.index.splits)
    show_left_out(console, built.left_out)
    console.print(Text(f"wrote {out}"), soft_wrap=True)


def _show_plan(console: Console, plan: Plan) -> None:
    table = Table(box=None)
    table.add_column("split")
    for column in ("sequences", "shards", "raw size"):
        table.add_column(column, justify="right")
    for split in dict.fromkeys(task.split for task in plan.tasks):
        sizes = [len(task.sequences) for task in plan.tasks if task.split == split]
        table.add_row(split, str(sum(sizes)), str(len(sizes)), in_bytes(sum(sizes) * plan.raw_bytes_per_sequence))
    console.print(table)
    rows, columns = plan.layout.shape
    console.print(f"{plan.frames} frames of {rows} x {columns} pixels each as {plan.layout.encoding}; nothing written")
    show_left_out(console, plan.left_out)
