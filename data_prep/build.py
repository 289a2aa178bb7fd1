"""`build`: a radar archive becomes a folder of shards. The same command continues a build that was stopped."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from data_prep.building.account import show_gaps, show_left_out, show_plan, show_splits
from data_prep.building.arguments import add_arguments, options_of
from data_prep.building.finishing import index_of
from data_prep.building.folder import BuildFolder, building, clear_finished, is_complete, locked
from data_prep.building.left_out import LeftOuts
from data_prep.building.part import WHOLE, Part, local_ranks, part_of
from data_prep.building.plan import Plan, make_plan, nothing_left
from data_prep.building.sequences import Gap
from data_prep.building.task import UNREADABLE, ShardTask, TaskRecord, write_shards
from data_prep.console import progress
from data_prep.errors import RadarFileError, UserError, counted
from data_prep.files import writing
from data_prep.shards.index import BUILD_NAME, INDEX_NAME, ShardsIndex, open_shards
from data_prep.workers import InProcess, Pool, WorkerDiedError, Workers, cores

__all__ = ["EXAMPLE", "add_arguments", "build", "run"]
EXAMPLE = """
python -m data_prep build --format sevir --source /data/sevir --out shards/sevir
  python -m data_prep build --format knmi --source 'knmi/*.h5' --out shards/knmi --frames 25 --crop 384 --split train
  python -m data_prep build --format mrms --source /data/mrms --out shards/mrms --frames 25 --tile 384 \\
      --split-blocks 14,3,3 --importance 0.1
  deepspeed --hostfile hostfile --module data_prep build --format mrms ...      # the same, by all hosts
"""


def run(args: argparse.Namespace) -> int:
    """Plans, writes what is not yet written, and gives an account."""
    options, part = options_of(args), part_of(args.part)
    console = Console(highlight=False)
    earlier = _earlier(args.out) if args.append else None
    with Workers(args.workers or max(cores() // local_ranks(), 1)) as pool, writing(args.out):
        try:
            plan = make_plan(options, args.out, args.strict, pool, earlier, estimated=args.dry_run)
            if args.dry_run:
                show_plan(console, plan)
                return 0
            quiet = args.quiet or part.number > 0
            built = build(plan, args.out, pool, quiet, Work(part, args.finish))
        except WorkerDiedError as error:
            raise error.told("files were listed") from None
        except RadarFileError as error:
            without = ", or leave --strict out to go on without it" if args.strict else ""
            raise UserError(f"{error}; mend or remove it{without}") from None
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
    if work.finish and not (out / BUILD_NAME).is_dir():
        raise UserError(f"nothing of this build was begun in {out}; run it without --finish, or its parts, first")
    mine = [] if work.finish else [task for i, task in enumerate(plan.tasks) if i % work.part.of == work.part.number]
    offsets = {name: len(split.shards) for name, split in plan.earlier.splits.items()} if plan.earlier else None
    _check_unchanged(plan, out)
    try:
        with building(out, plan.hash, mine, work.who, offsets) as folder:
            if _is_done(plan, out):
                return None
            _check_unchanged(plan, out)
            _write_all(folder, plan, mine, pool or InProcess(), quiet)
            with locked(folder.build / "lock-last-steps", waits=True):
                return _finish_if_all(folder, plan, work)
    except FileNotFoundError:  # another part has finished it meanwhile, and taken .build away
        if not _is_done(plan, out):
            raise
        return None


def _is_done(plan: Plan, out: Path) -> bool:
    if plan.earlier is None:
        done = is_complete(out, plan.note)
    else:
        done = not plan.tasks or plan.hash in (note.plan for note in open_shards(out).index.builds)
        clear_finished(out)
    unreadable = open_shards(out).index.left_out.get(UNREADABLE, 0) if done else 0
    if unreadable and any(task.strict for task in plan.tasks):
        raise UserError(
            f"{out} was built without {unreadable} sequences of unreadable files; mend them, remove it, build again"
        )
    return done


def _check_unchanged(plan: Plan, out: Path) -> None:
    """Of a folder that is added to; while `.build` lies in it, nothing but this build changes it."""
    if plan.earlier is not None and open_shards(out).index != plan.earlier:
        raise UserError(f"{out} has changed while the archive was listed; run the same again")


def _write_all(folder: BuildFolder, plan: Plan, tasks: list[ShardTask], pool: Pool, quiet: bool) -> None:
    """Does those of the tasks that are not done."""
    open_tasks = [task for task in tasks if folder.done(task) is None]
    if open_tasks and not folder.without_record(plan.tasks) and None not in folder.records(open_tasks):
        open_tasks = []  # nothing but the last steps is left, in which shards move to their places
    total, left = (sum(len(task.sequences) for task in some) for some in (tasks, open_tasks))
    try:
        with progress("sequences", total, quiet=quiet) as advance:
            advance(total - left)
            with closing(pool.run(write_shards, open_tasks)) as done:
                for task, record in done:
                    folder.record(task, record)
                    advance(len(task.sequences))
    except WorkerDiedError as error:
        raise error.told(f"{error.task.stem} was built") from None
    if any(task.strict for task in tasks):
        _refuse_unreadable(folder.records(tasks))


def _refuse_unreadable(records: Iterable[TaskRecord | None]) -> None:
    """For shards that an earlier build without --strict had finished."""
    for record in records:
        for key, _, detail in record.left_out.of_reason(UNREADABLE) if record else ():
            raise UserError(f"sequence {key} is {UNREADABLE}: {detail}; leave --strict out to go on without it")


def _finish_if_all(folder: BuildFolder, plan: Plan, work: Work) -> Built | None:
    missing = folder.without_record(plan.tasks)
    records = [] if missing else list(folder.records(plan.tasks))
    missing += [task.stem for task, record in zip(plan.tasks, records, strict=False) if record is None]
    if missing and _is_done(plan, folder.out):  # by another part, between two looks
        return None
    if missing and work.finish:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"{folder.out} is not finished: {len(missing)} of {len(plan.tasks)} tasks are not done ({shown}); "
            "run the parts that were not, then --finish again"
        )
    if missing:
        return Built(None, LeftOuts(), plan.gaps, len(missing))
    return _finish(folder, plan, [record for record in records if record])


def _finish(folder: BuildFolder, plan: Plan, records: list[TaskRecord]) -> Built:
    left_out = plan.left_out.model_copy(deep=True)
    for record in records:
        left_out.merge(record.left_out)
    if not any(record.shards for record in records) and plan.earlier is None:
        folder.discard()
        raise UserError(nothing_left(plan.options.archive, left_out))
    index = index_of(plan, records, folder.place(plan.tasks, records), left_out)
    folder.finish(index)
    return Built(index, left_out, plan.gaps)


def _show(console: Console, out: Path, built: Built | None, part: Part) -> None:
    if built is None:
        console.print(Text(f"{out} is complete and was built just like this: nothing to do"), soft_wrap=True)
        return
    if built.index is None:
        rest = (
            f"{counted(built.to_do, 'task')} of other parts to do: the last part to end finishes it, or --finish does"
        )
        console.print(Text(f"part {part} of {out} is done ({part.said_by}); {rest}"), soft_wrap=True)
        return
    show_splits(console, built.index.splits)
    show_gaps(console, built.gaps)
    show_left_out(console, built.left_out)
    console.print(Text(f"wrote {out}"), soft_wrap=True)
