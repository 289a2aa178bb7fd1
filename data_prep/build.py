"""`build`: a radar archive becomes a folder of shards. The same command continues a build that was stopped."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from data_prep.building.account import show_gaps, show_left_out, show_plan, show_splits
from data_prep.building.folder import BuildFolder, building, clear_finished, is_complete, locked
from data_prep.building.layout import Cutting
from data_prep.building.left_out import LeftOuts
from data_prep.building.part import WHOLE, Part, local_ranks, part_of
from data_prep.building.plan import BLOCKS_GUARD_HOURS, Options, Plan, make_plan, nothing_left
from data_prep.building.sequences import Gap
from data_prep.building.splits import SPLITS
from data_prep.console import positive, positive_number, progress, share, whole
from data_prep.encoding import ENCODINGS
from data_prep.errors import DataError, UserError
from data_prep.readers import READERS
from data_prep.shards.codecs import CODECS, DEFAULT
from data_prep.shards.index import FORMAT_VERSION, INDEX_NAME, Shard, ShardsIndex, Split, open_shards
from data_prep.shards.shard import UNREADABLE, ShardTask, TaskRecord, write_shards
from data_prep.shards.tally import CodeTally
from data_prep.workers import InProcess, Pool, WorkerDiedError, Workers

EXAMPLE = """
python -m data_prep build --format sevir --source /data/sevir --out shards/sevir
  python -m data_prep build --format knmi --source 'knmi/*.h5' --out shards/knmi --frames 25 --crop 384 --split train
  python -m data_prep build --format mrms --source /data/mrms --out shards/mrms --frames 25 --tile 384 \\
      --split-blocks 14,3,3 --importance 0.1
  deepspeed --hostfile hostfile --module data_prep build --format mrms ...      # the same, by all hosts
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `build`."""
    parser.add_argument("--format", required=True, choices=list(READERS), help="what kind of archive it is")
    parser.add_argument("--source", required=True, nargs="+", metavar="PATH", help="folders, files or globs in quotes")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the shards folder to make")
    parser.add_argument("--product", metavar="NAME", help="which, where the files hold several")
    _add_samples(parser)
    _add_splits(parser)
    _add_shards(parser)
    _add_work(parser)


def _add_samples(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("samples")
    group.add_argument("--frames", type=positive, metavar="N", help="per sequence (default: a whole event)")
    group.add_argument("--stride", type=positive, metavar="N", help="from one start to the next (default: --frames)")
    group.add_argument(
        "--cadence",
        type=positive,
        metavar="S",
        help="seconds between frames, each the mean of the archive's since the last",
    )
    group.add_argument(
        "--pixel",
        type=positive_number,
        metavar="SIZE",
        help="side of coarser pixels to average to, in metres or degrees",
    )
    cut = group.add_mutually_exclusive_group()
    cut.add_argument("--crop", type=positive, metavar="PX", help="keep only a square in the middle")
    cut.add_argument("--tile", type=positive, metavar="PX", help="cut into squares that cover all")
    group.add_argument("--overlap", type=whole, default=0, metavar="PX", help="of tiles, at least (default 0)")
    group.add_argument("--min-wet", type=share, default=0.0, metavar="F", help="smallest share of wet pixels")
    group.add_argument("--max-missing", type=share, metavar="F", help="largest share without data (SEVIR: 0)")
    group.add_argument(
        "--importance",
        type=positive_number,
        metavar="M",
        help="keep a sample with probability FLOOR + M * mean(1 - exp(-rain)), which is kept with it",
    )
    group.add_argument(
        "--importance-floor", type=share, default=2e-4, metavar="FLOOR", help="that of a dry one (default 0.0002)"
    )
    group.add_argument("--encoding", choices=list(ENCODINGS), help="of the codes (default: the product's)")


def _add_splits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("splits")
    split = group.add_mutually_exclusive_group()
    split.add_argument("--split-dates", metavar="VAL,TEST", help="where train and val end (default: as is customary)")
    split.add_argument("--split-blocks", metavar="TRAIN,VAL,TEST", help="so many days (UTC) in turn, as in 14,3,3")
    split.add_argument("--split", metavar="NAME", help="put all into one split")
    group.add_argument(
        "--guard",
        type=float,
        metavar="HOURS",
        help=f"between frames of two splits (default 0; with --split-blocks {BLOCKS_GUARD_HOURS:g})",
    )


def _add_shards(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("shards")
    about_shards = "at most so many in a tar (default 32: some 20 MB of SEVIR)"
    group.add_argument("--samples-per-shard", type=positive, default=32, metavar="N", help=about_shards)
    about_codecs = "; ".join(f"{codec.name}: {codec.what}" for codec in CODECS.values())
    group.add_argument(
        "--codec", choices=list(CODECS), default=DEFAULT, help=f"of the frames (default {DEFAULT}). {about_codecs}"
    )
    about_seed = "deals sequences to shards, draws by importance (default 0)"
    group.add_argument("--seed", type=whole, default=0, metavar="N", help=about_seed)


def _add_work(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("work")
    about_workers = "processes (default: one per core)"
    group.add_argument("--workers", type=positive, metavar="N", help=about_workers)
    group.add_argument(
        "--part",
        metavar="I/N",
        help="do only the tasks whose number is I mod N (default: as a launcher's rank, srun or a SLURM array says, or 0/1)",
    )
    group.add_argument(
        "--finish", action="store_true", help="do nothing but check that all parts are there, and finish"
    )
    group.add_argument("--append", action="store_true", help="add what is new to a folder that is complete")
    group.add_argument("--dry-run", action="store_true", help="say what would be built and how large, write nothing")
    group.add_argument("--strict", action="store_true", help="stop at an unreadable file, instead of leaving it out")
    group.add_argument("--quiet", action="store_true", help="no progress and no account")


def options_of(args: argparse.Namespace) -> Options:
    """What the arguments ask for. Raises UserError where they contradict each other."""
    if args.tile and args.overlap >= args.tile:
        raise UserError(f"overlap={args.overlap} is not less than tile={args.tile}; give a smaller --overlap")
    if args.overlap and not args.tile:
        raise UserError("--overlap is of tiles; give --tile PX too, or leave --overlap out")
    if args.guard is not None and not 0 <= args.guard < 24 * 366:
        raise UserError(f"--guard {args.guard:g} is not a number of hours from 0 on; give one such as 6")
    return Options(
        format=args.format, sources=tuple(args.source), product=args.product, split_dates=args.split_dates,
        split_blocks=args.split_blocks, split=args.split, guard_hours=args.guard, frames=args.frames, stride=args.stride,
        cadence_s=args.cadence, cutting=Cutting(args.crop, args.tile, args.overlap, args.pixel), min_wet=args.min_wet,
        max_missing=args.max_missing, importance=args.importance, importance_floor=args.importance_floor,
        encoding=args.encoding, samples_per_shard=args.samples_per_shard, seed=args.seed, codec=args.codec,
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Plans, writes what is not yet written, and gives an account."""
    options, part = options_of(args), part_of(args.part)
    console = Console(highlight=False)
    earlier = _earlier(args.out) if args.append else None
    workers = args.workers or max(len(os.sched_getaffinity(0)) // local_ranks(), 1)
    with Workers(workers) as pool:
        try:
            plan = make_plan(options, args.out, args.strict, pool, earlier, estimated=args.dry_run)
            if args.dry_run:
                show_plan(console, plan)
                return 0
            quiet = args.quiet or part.number > 0
            built = build(plan, args.out, pool, quiet, Work(part, args.finish))
        except WorkerDiedError as error:
            raise _worker_died("the archive was listed", error) from None
        except OSError as error:
            where = error.filename or args.out
            raise DataError(f"{where} cannot be written: {error.strerror}; mend it, then run the same again") from None
    if not args.quiet:
        _show(console, args.out, built, part)
    return 0


def _earlier(out: Path) -> ShardsIndex | None:
    if not (out / INDEX_NAME).is_file():
        raise UserError(
            f"{out} has no {INDEX_NAME}, so there is nothing to append to; build it first, without --append"
        )
    return open_shards(out).index


@dataclass(frozen=True)
class Work:
    """part: which tasks are this process's. finish: none are."""

    part: Part = WHOLE
    finish: bool = False

    @property
    def who(self) -> str:
        """Of several processes that build one folder; empty where there is one."""
        return "finish" if self.finish else "" if self.part.whole else f"{self.part.number}-of-{self.part.of}"


ALL = Work()


@dataclass(frozen=True)
class Built:
    """What a process did. index: of a folder that is finished now. to_do: tasks of other parts that are not done."""

    index: ShardsIndex | None
    left_out: LeftOuts
    gaps: Sequence[Gap]
    to_do: int = 0


def build(plan: Plan, out: Path, pool: Pool | None = None, quiet: bool = True, work: Work = ALL) -> Built | None:
    """Writes the shards that are not yet there, then `index.json`; None where the folder was complete already.

    Raises UserError (another build's folder, nothing to write), RadarFileError (with --strict), DataError (a worker died),
    OSError (the disk). What is finished stays, and the next build of the same plan goes on from there.
    """
    if _is_done(plan, out):
        return None
    mine = [] if work.finish else [task for i, task in enumerate(plan.tasks) if i % work.part.of == work.part.number]
    offsets = {name: len(split.shards) for name, split in plan.earlier.splits.items()} if plan.earlier else None
    with building(out, plan.hash, mine, work.who, offsets) as folder:
        _write_all(folder, plan, mine, pool or InProcess(), quiet)
        try:
            with locked(folder.build / "lock-finish") as alone:
                return _finish_if_all(folder, plan, alone, work)
        except FileNotFoundError:  # another part has finished it meanwhile, and taken .build away
            if not _is_done(plan, out):
                raise
            return None


def _is_done(plan: Plan, out: Path) -> bool:
    if plan.earlier is None:
        done = is_complete(out, plan.hash)
    else:
        done = not plan.tasks or plan.hash in (note.plan for note in open_shards(out).index.builds)
        clear_finished(out)
    unreadable = open_shards(out).index.left_out.get(UNREADABLE, 0) if done else 0
    if unreadable and any(task.strict for task in plan.tasks):
        raise UserError(
            f"{out} was built without {unreadable} sequences of unreadable files; mend them, remove it, build again"
        )
    return done


def _write_all(folder: BuildFolder, plan: Plan, tasks: list[ShardTask], pool: Pool, quiet: bool) -> None:
    """Does those of the tasks that are not done."""
    open_tasks = [] if _all_there(folder, plan) else [task for task in tasks if folder.done(task) is None]
    total, left = (sum(len(task.sequences) for task in some) for some in (tasks, open_tasks))
    try:
        with progress("sequences", total, quiet=quiet) as advance:
            advance(total - left)
            for task, record in pool.run(write_shards, open_tasks):
                folder.record(task, record)
                advance(len(task.sequences))
    except WorkerDiedError as error:
        raise _worker_died(f"{error.task.stem} was built", error) from None
    if any(task.strict for task in tasks):
        _refuse_unreadable(folder.records(tasks))


def _worker_died(when: str, error: WorkerDiedError[Any]) -> DataError:
    return DataError(
        f"a worker died while {when} ({error.how}): killed, or out of memory; run the same command again, with fewer "
        "--workers if memory is short, to go on from there"
    )


def _all_there(folder: BuildFolder, plan: Plan) -> bool:
    """Whether nothing but the last steps is left, in which shards move to their places."""
    return all(record is not None for record in folder.records(plan.tasks))


def _refuse_unreadable(records: list[TaskRecord | None]) -> None:
    """For shards that an earlier build without --strict had finished."""
    for record in records:
        for key, _, detail in record.left_out.of_reason(UNREADABLE) if record else ():
            raise UserError(f"sequence {key} is {UNREADABLE}: {detail}; leave --strict out to go on without it")


def _finish_if_all(folder: BuildFolder, plan: Plan, alone: bool, work: Work) -> Built | None:
    records = folder.records(plan.tasks)
    missing = [task.stem for task, record in zip(plan.tasks, records, strict=True) if record is None]
    if missing and _is_done(plan, folder.out):  # by another part, between two looks
        return None
    if missing and work.finish:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"{folder.out} is not finished: {len(missing)} of {len(records)} tasks are not done ({shown}); "
            "run the parts that were not, then --finish again"
        )
    if missing or not alone:
        return Built(None, LeftOuts(), plan.gaps, len(missing))
    return _finish(folder, plan, [record for record in records if record])


def _finish(folder: BuildFolder, plan: Plan, records: list[TaskRecord]) -> Built:
    left_out = plan.left_out.model_copy(deep=True)
    for record in records:
        left_out.merge(record.left_out)
    if not any(record.shards for record in records) and plan.earlier is None:
        folder.discard()
        raise UserError(nothing_left(plan.options.archive, left_out))
    index = _index(plan, records, folder.place(plan.tasks, records), left_out)
    folder.finish(index)
    return Built(index, left_out, plan.gaps)


def _index(plan: Plan, records: list[TaskRecord], placed: dict[str, list[Shard]], left_out: LeftOuts) -> ShardsIndex:
    layout, earlier = plan.layout, plan.earlier
    splits = dict(earlier.splits) if earlier else {}
    for name, shards in placed.items():
        new = [record for task, record in zip(plan.tasks, records, strict=True) if task.split == name and record.shards]
        splits[name] = _split(splits.get(name), new, shards)
    before = LeftOuts(counts=dict(earlier.left_out)) if earlier else LeftOuts()
    before.merge(left_out)
    return ShardsIndex(
        format_version=FORMAT_VERSION,
        archive=plan.options.format,
        encoding=layout.encoding,
        unit=plan.unit,
        cadence_s=plan.cadence_s,
        frames=plan.frames,
        shape=layout.shape,
        pixel=layout.pixel,
        pixel_unit=layout.pixel_unit,
        codec=plan.packing.form,
        frames_per_chunk=plan.packing.frames_per_chunk,
        splits={name: splits[name] for name in sorted(splits, key=_customary)},
        archive_shape=layout.archive_shape,
        archive_pixel=layout.archive_pixel,
        importance=plan.options.importance is not None,
        guard_s=round(plan.options.guard.total_seconds()),
        left_out=before.by_count(),
        builds=[*(earlier.builds if earlier else ()), plan.note],
    )


def _customary(split: str) -> tuple[int, str]:
    return (SPLITS.index(split), "") if split in SPLITS else (len(SPLITS), split)


def _split(before: Split | None, records: list[TaskRecord], shards: list[Shard]) -> Split:
    tally = before.tally if before else CodeTally()
    firsts, lasts = ([before.first_time], [before.last_time]) if before else ([], [])
    for record in records:
        tally.add(record.tally)
        firsts.append(record.first_time)
        lasts.append(record.last_time)
    return Split(
        shards=[*(before.shards if before else ()), *shards],
        first_time=min(firsts),
        last_time=max(lasts),
        code_counts=tally.code_counts,
        pixels=tally.pixels,
        missing=tally.missing,
        wet=tally.wet,
    )


def _show(console: Console, out: Path, built: Built | None, part: Part) -> None:
    if built is None:
        console.print(Text(f"{out} is complete and was built just like this: nothing to do"), soft_wrap=True)
        return
    if built.index is None:
        what = f"part {part} of {out} is done ({part.said_by}); {built.to_do} tasks of other parts are not"
        console.print(Text(f"{what}: the last part to end finishes it, or --finish does"), soft_wrap=True)
        return
    show_splits(console, built.index.splits)
    show_gaps(console, built.gaps)
    show_left_out(console, built.left_out)
    console.print(Text(f"wrote {out}"), soft_wrap=True)
