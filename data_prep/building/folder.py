"""The shards folder while it is being built: who builds it, which tasks are done, and what is left behind.

`.build/` in it holds the plan's hash, locks, finished shards, and a record for each finished task. When all tasks are done
the shards move to their places, numbered one after the other, `index.json` is written, and `.build/` goes. Until then an
index that is there already (of a folder that is added to) stays as it is.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from data_prep.building.task import ShardTask, TaskRecord
from data_prep.errors import DataError, UserError
from data_prep.files import write_atomically, write_new
from data_prep.shards.index import BUILD_NAME, INDEX_NAME, BuildNote, Shard, ShardsIndex, idx_name, open_shards

_PLAN_NAME = "plan.json"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # of a file system without locks


def is_complete(out: Path, build: BuildNote) -> bool:
    """Whether the folder was built, or added to, by that build and is whole.

    Raises UserError where it holds something else, DataError where a shard of it is missing.
    """
    if not (out / INDEX_NAME).is_file():
        return False
    builds = open_shards(out).index.builds
    if build.plan not in (note.plan for note in builds):
        if build.settings == builds[-1].settings:
            raise UserError(f"{out} was built from other files; give --append to add what is new, or another --out")
        raise UserError(f"{out} was built with other settings; give those, another --out, or remove it")
    clear_finished(out)
    return True


def clear_finished(out: Path) -> None:
    """Removes what a build left that was killed between its last two steps: it stands in the index already."""
    if _noted_plan(out / BUILD_NAME / _PLAN_NAME) in [note.plan for note in open_shards(out).index.builds]:
        shutil.rmtree(out / BUILD_NAME, ignore_errors=True)


class BuildFolder:
    """A shards folder that is being built. offsets: how many shards of each split it had before; None for a new one."""

    def __init__(self, out: Path, offsets: dict[str, int] | None = None) -> None:
        self.out, self.build = out, out / BUILD_NAME
        self.offsets, self.adds = offsets or {}, offsets is not None

    def done(self, task: ShardTask) -> TaskRecord | None:
        """What was recorded of the task, if its shards still lie there whole in size."""
        record = self._record(task)
        return record if record and all(self._lies_in(self.build, shard) for shard in record.shards) else None

    def record(self, task: ShardTask, record: TaskRecord) -> None:
        """Notes that the task is done."""
        write_atomically(self._record_path(task), record.model_dump_json().encode())

    def records(self, tasks: Iterable[ShardTask]) -> Iterator[TaskRecord | None]:
        """The record of each task, read one by one, also where its shards have begun to move to their places."""
        return map(self._record, tasks)

    def without_record(self, tasks: Iterable[ShardTask]) -> list[str]:
        """The stems of those that have none. Reads no record; raises FileNotFoundError where the build has ended."""
        names = set(os.listdir(self.build))
        return [task.stem for task in tasks if self._record_path(task).name not in names]

    def place(self, tasks: list[ShardTask], records: list[TaskRecord]) -> dict[str, list[Shard]]:
        """Moves all shards to their places and gives those of each split, in order.

        May be repeated after it was interrupted. Raises DataError where a shard is nowhere.
        """
        numbers = dict(self.offsets)
        placed: dict[str, list[Shard]] = {}
        for task, record in zip(tasks, records, strict=True):
            for shard in record.shards:
                number = numbers.get(task.split, 0)
                numbers[task.split] = number + 1
                final = replace(shard, name=f"{task.split}/{task.split}-{number:06d}.tar")
                (self.out / task.split).mkdir(exist_ok=True)
                for old, new in ((idx_name(shard.name), idx_name(final.name)), (shard.name, final.name)):
                    with suppress(FileNotFoundError):  # moved by a build that was killed since
                        os.replace(self.build / old, self.out / new)
                if not self._lies_in(self.out, final):
                    self._record_path(task).unlink(missing_ok=True)
                    raise DataError(f"shard {shard.name} of {self.build} is gone; run the same command again")
                placed.setdefault(task.split, []).append(final)
        return placed

    def finish(self, index: ShardsIndex) -> None:
        """Writes `index.json`, by which the folder becomes one to train from."""
        write_atomically(self.out / INDEX_NAME, index.content)
        shutil.rmtree(self.build, ignore_errors=True)

    def discard(self) -> None:
        """Takes away what a build without a single shard made, and the folder itself where it made that."""
        made_folder = json.loads((self.build / _PLAN_NAME).read_bytes())["made_folder"]
        shutil.rmtree(self.build)
        for split in (path for path in self.out.iterdir() if path.is_dir()):
            with suppress(OSError):
                split.rmdir()
        if made_folder:
            with suppress(OSError):
                self.out.rmdir()

    def has_records(self) -> bool:
        """Whether any task is done."""
        return any(self.build.glob("*-[0-9]*.json"))

    def sweep(self, tasks: Iterable[ShardTask]) -> None:
        """Removes halves of files that a killed or failed build of these tasks left."""
        halves = list(self.build.glob(".*.partial"))
        for task in tasks if halves else ():
            for half in halves:
                if half.name.startswith((f".{task.stem}-", f".{task.stem}.")):
                    half.unlink(missing_ok=True)

    def _record(self, task: ShardTask) -> TaskRecord | None:
        try:
            return TaskRecord.model_validate_json(self._record_path(task).read_bytes())
        except (OSError, ValidationError):
            return None

    def _lies_in(self, folder: Path, shard: Shard) -> bool:
        tar = folder / shard.name
        return tar.is_file() and tar.stat().st_size == shard.bytes and (folder / idx_name(shard.name)).is_file()

    def _record_path(self, task: ShardTask) -> Path:
        return self.build / f"{task.stem}.json"


@contextmanager
def building(
    out: Path, plan_hash: str, tasks: list[ShardTask], who: str = "", offsets: dict[str, int] | None = None
) -> Iterator[BuildFolder]:
    """The folder, made or taken up again, locked against who builds the same; after a failure no half file is left in it.

    tasks: those that this process does. who: it is among several, which share the folder; empty where it is alone and
    shuts them out. offsets: None for a new folder, or how many shards an existing one has per split. Raises UserError
    where it holds something else, another plan's shards, or is being built at this moment.
    """
    folder = BuildFolder(out, offsets)
    made_folder = not out.exists()
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give --out a folder to make")
    if offsets is None and not made_folder and not folder.build.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and not a build to continue; give --out a folder that is new or empty")
    folder.build.mkdir(parents=True, exist_ok=True)
    with _locked_for(who, folder.build) as mine:
        if not mine:
            raise UserError(f"{out} is being built by another process; wait for it, or give another --out")
        _note_plan(folder, plan_hash, made_folder)
        folder.sweep(tasks)
        try:
            yield folder
        except BaseException:
            if folder.build.is_dir():
                folder.sweep(tasks)
                if not who and not folder.has_records():
                    folder.discard()
            raise


@contextmanager
def _locked_for(who: str, build: Path) -> Iterator[bool]:
    """Several share the folder, each for itself, if all are of as many parts; one that is alone has all of it."""
    with locked(build / "lock", shared=bool(who)) as folder:
        if not who or not folder:
            yield folder
            return
        with locked(build / f"lock-{who}") as mine:
            yield mine and not any(map(_is_held, _locks_of_other_parts(who, build)))


def _locks_of_other_parts(who: str, build: Path) -> list[Path]:
    """Those of parts of another number than `who` is one of: they have other tasks, of which some are the same."""
    _, among, of = who.partition("-of-")
    return [path for path in build.glob("lock-*-of-*") if among and not path.name.endswith(among + of)]


def _is_held(path: Path) -> bool:
    with locked(path, shared=True) as free:  # so that two that ask at once do not see each other
        return not free


@contextmanager
def locked(path: Path, shared: bool = False, waits: bool = False) -> Iterator[bool]:
    """Whether this process has the lock, among others where it is shared; without locks on its file system everyone has it.

    waits: until it is free.
    """
    with open(path, "a+") as lock:  # NFS gives a shared lock to who may read, another to who may write
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield True


def _note_plan(folder: BuildFolder, plan_hash: str, made_folder: bool) -> None:
    noted = folder.build / _PLAN_NAME
    with suppress(FileExistsError):
        if not noted.is_file():
            write_new(noted, json.dumps({"plan": plan_hash, "made_folder": made_folder}).encode())
    if _noted_plan(noted) != plan_hash:
        begun, place = ("an addition to it", folder.build) if folder.adds else ("it", folder.out)
        raise UserError(
            f"{folder.out}: {begun} was begun from other files or with other settings; run that to its end, or remove {place}"
        )


def _noted_plan(noted: Path) -> str | None:
    try:
        plan: str = json.loads(noted.read_bytes())["plan"]
        return plan
    except (OSError, ValueError, KeyError, TypeError):
        return None
