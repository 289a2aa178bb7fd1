"""The shards folder while it is being built: who builds it, which shards are done, and what is left behind.

`.build/` in it holds the plan's hash, a lock, and a record for each finished shard. It goes when `index.json` stands.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from data_prep.errors import UserError
from data_prep.files import write_atomically
from data_prep.shards.index import INDEX_NAME, ShardsIndex, idx_name, open_shards
from data_prep.shards.shard import ShardRecord, ShardTask

BUILD_NAME = ".build"
_PLAN_NAME = "plan.json"


def is_complete(out: Path, plan_hash: str) -> bool:
    """Whether the folder was built by the same plan and is whole.

    Raises UserError where it holds something else, DataError where a shard of it is missing.
    """
    if not (out / INDEX_NAME).is_file():
        return False
    if open_shards(out).index.plan != plan_hash:
        raise UserError(f"{out} was built from other files or with other settings; give another --out, or remove it")
    shutil.rmtree(out / BUILD_NAME, ignore_errors=True)  # left by a build killed between its last two steps
    return True


class BuildFolder:
    """A shards folder that this process alone is building."""

    def __init__(self, out: Path) -> None:
        self.out, self.build = out, out / BUILD_NAME

    def done(self, task: ShardTask) -> ShardRecord | None:
        """What was recorded of the task's shard, if it still lies there whole in size."""
        try:
            record = ShardRecord.model_validate_json(self._record_path(task).read_bytes())
        except (OSError, ValidationError):
            return None
        if record.shard is None:
            return record
        tar = self.out / task.name
        whole = (
            tar.is_file() and tar.stat().st_size == record.shard.bytes and (self.out / idx_name(task.name)).is_file()
        )
        return record if whole else None

    def record(self, task: ShardTask, record: ShardRecord) -> None:
        """Notes that the task's shard is finished."""
        write_atomically(self._record_path(task), record.model_dump_json().encode())

    def finish(self, index: ShardsIndex) -> None:
        """Writes `index.json`, by which the folder becomes one to train from."""
        content = json.dumps(index.model_dump(mode="json"), indent=1) + "\n"
        write_atomically(self.out / INDEX_NAME, content.encode())
        shutil.rmtree(self.build)

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
        """Whether any shard is finished."""
        return any(self.build.glob("*-[0-9]*.json"))

    def sweep(self) -> None:
        """Removes halves of files that a killed or failed build left."""
        for half in self.out.glob("*/.*.partial"):
            half.unlink(missing_ok=True)

    def _record_path(self, task: ShardTask) -> Path:
        return self.build / f"{Path(task.name).stem}.json"


@contextmanager
def building(out: Path, plan_hash: str) -> Iterator[BuildFolder]:
    """The folder, made or taken up again, locked against other builders; after a failure no half file is left in it.

    Raises UserError where it holds something else, another plan's shards, or is being built at this moment.
    """
    folder = BuildFolder(out)
    made_folder = not out.exists()
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give --out a folder to make")
    if not made_folder and not folder.build.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and not a build to continue; give --out a folder that is new or empty")
    folder.build.mkdir(parents=True, exist_ok=True)
    with open(folder.build / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{out} is being built by another process; wait for it, or give another --out") from None
        _note_plan(folder, plan_hash, made_folder)
        folder.sweep()
        try:
            yield folder
        except BaseException:
            if folder.build.is_dir():
                folder.sweep()
                if not folder.has_records():
                    folder.discard()
            raise


def _note_plan(folder: BuildFolder, plan_hash: str, made_folder: bool) -> None:
    noted = folder.build / _PLAN_NAME
    if not noted.is_file():
        write_atomically(noted, json.dumps({"plan": plan_hash, "made_folder": made_folder}).encode())
        return
    try:
        same = json.loads(noted.read_bytes())["plan"] == plan_hash
    except (ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise UserError(
            f"{folder.out} was begun from other files or with other settings; give another --out, or remove it"
        )
