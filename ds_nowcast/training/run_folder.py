"""The folder of one training: what it is (`run.json`, `config.json`), how it went (`metrics.jsonl`), what came of it.

config.json         the resolved config; usable as --deepspeed_config
run.json            what may not change between launches: order of samples, model, data, samples a step; and versions, ranks
metrics.jsonl       one line per logged step and per evaluation
samples/            with nowcast.log_samples: a line per sample and step, see ds_nowcast.training.sample_log
checkpoints/        see ds_nowcast.training.checkpoints
model.safetensors, model.json   the best evaluated step; enough to forecast without deepspeed
last.safetensors    the last step
failure.json        why it ended, where it failed; logs/ then holds what each rank printed, and where it stood
.lock               held by the launch that is under way
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.files import write_atomically, write_new
from data_prep.shards.index import Shards
from ds_nowcast.config import Batch, RunConfig
from ds_nowcast.errors import SaveError
from ds_nowcast.launch.beats import Failure
from ds_nowcast.models import checked_options
from ds_nowcast.stream.order import OrderIdentity
from ds_nowcast.training.checkpoints import finished_tags

FORMAT_VERSION = 1
LOCK = ".lock"
_TOLD_WHEN_CHANGED = (("loss",), ("learning_rate",), ("ema",), ("data", "augment"), ("evaluation", "select"))


class RunFolder:
    """Paths and small files of a run. Only rank 0 writes; reading is for all."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._handle: int | None = None  # of the lock
        self._begun = False  # whether this launch has come so far that its end concerns the folder

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints go."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """Where the ranks' logs go, and stay where a launch fails."""
        return self.path / "logs"

    @property
    def samples(self) -> Path:
        """Where what each step saw goes, where the config asks for it."""
        return self.path / "samples"

    @property
    def has_checkpoints(self) -> bool:
        """Whether one was finished, so that a launch resumes. Raises UserError where that cannot be told."""
        try:
            return bool(finished_tags(self.checkpoints))
        except OSError as error:
            raise UserError(
                f"{error.filename or self.checkpoints} cannot be read ({error.strerror}); run the same command again when it can, or "
                "give another --run folder"
            ) from None

    @property
    def metrics(self) -> Path:
        """Where each log step leaves a line."""
        return self.path / "metrics.jsonl"

    def check(self, identity: dict[str, Any], order: OrderIdentity, *, new_order: bool) -> None:
        """Passes a new or empty folder, and one whose run can go on.

        Raises UserError where the folder holds something else, a run of another model or data, or, without `new_order`,
        a run that saw its samples in another order.
        """
        described = self.path / "run.json"
        if not described.is_file():
            if self._is_taken():
                raise UserError(
                    f"{self.path} exists and is not a run folder; give a new folder, or one that a training made"
                )
            return
        saved = _read_json(described)
        differing = [f"{k}: {saved.get(k)!r} -> {v!r}" for k, v in identity.items() if saved.get(k) != v]
        if differing:
            raise UserError(
                f"{self.path} is the run of another model or data ({'; '.join(differing)}); give a new --run folder, or its own config"
            )
        moved = order.differences(saved.get("order") or {})
        if moved and not new_order:
            raise UserError(
                f"{self.path} has seen its samples in another order ({'; '.join(moved)}); give a new --run folder, its own settings "
                "and shards, or --new-order to go on in a new order from here"
            )

    def batch(self, config: RunConfig, ranks: int) -> tuple[Batch, Batch]:
        """Of this launch, and what the config asked for when it was last changed: see `RunConfig.batch_again`.

        The first launch fixes the samples of a step. Raises UserError where the config now gives others, unless no
        checkpoint has been saved yet, and where they do not divide over the ranks.
        """
        asked = self._asked()
        if asked is None:
            batch = config.batch(ranks)
            return batch, batch
        batch, now_asked = config.batch_again(ranks, asked)
        if batch.total != asked.total and self.has_checkpoints:
            raise UserError(
                f"{self.path} was trained with {asked.total} samples a step and this launch has {batch.total}; keep the batch size "
                "of its config.json, or give a new --run folder"
            )
        return batch, now_asked

    def _asked(self) -> Batch | None:
        """What the config of the last launch asked for; None in a new folder."""
        described = self.path / "run.json"
        if not described.is_file():
            return None
        try:
            asked = _read_json(described)["batch_asked"]
            batch = Batch(**{name: int(asked[name]) for name in Batch._fields})
            return batch if min(batch) > 0 else None
        except (KeyError, TypeError, ValueError, OverflowError):
            return None  # of an earlier version, or not a run's: `check` tells

    def changes(self, config: RunConfig) -> list[str]:
        """Settings that may change between launches and make what comes incomparable with what was: "key: was -> is"."""
        try:
            before = _read_json(self.path / "config.json").get("nowcast")
        except UserError:  # gone or damaged: it will be written anew
            return []
        now = config.to_dict()["nowcast"]
        pairs = {".".join(keys): (_at(before, keys), _at(now, keys)) for keys in _TOLD_WHEN_CHANGED}
        return [f"nowcast.{key}: {was} -> {is_now}" for key, (was, is_now) in pairs.items() if was != is_now]

    def _is_taken(self) -> bool:
        try:
            return self.path.exists() and (
                not self.path.is_dir() or any(not path.name.startswith(".") for path in self.path.iterdir())
            )
        except OSError as error:
            raise UserError(f"run folder {self.path} cannot be read ({error.strerror}); give another folder") from None

    def lock_if_there(self) -> None:
        """As `lock`, where there is a folder already."""
        if self.path.is_dir():
            self.lock()

    def lock(self) -> None:
        """Keeps other launches out until this process ends, however it ends; what one left of its failure goes.

        Raises UserError where one is under way.
        """
        if self._handle is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)  # a file: network disks lock no folders
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._handle = handle
            (self.path / "failure.json").unlink(missing_ok=True)
            shutil.rmtree(self.logs, ignore_errors=True)
        except BlockingIOError:
            raise UserError(
                f"another launch is training in {self.path}; wait for its end, or give another --run folder"
            ) from None
        except OSError as error:
            raise UserError(
                f"run folder {self.path} cannot be used ({error.strerror}); give a folder that can"
            ) from None

    def begin(self) -> None:
        """Every rank, once rank 0 holds the folder: from now on a failure is recorded there."""
        self._begun = self.path.is_dir()

    def describe(
        self, config: RunConfig, identity: dict[str, Any], order: OrderIdentity, batch: Batch, asked: Batch
    ) -> None:
        """Writes `config.json` and `run.json`. Raises UserError."""
        versions = {name: version(name) for name in ("torch", "deepspeed", "webdataset")} | {
            "python": platform.python_version()
        }
        run = {
            "format_version": FORMAT_VERSION,
            **identity,
            "order": asdict(order),
            "ranks": batch.ranks,
            "batch": batch._asdict(),
            "batch_asked": asked._asdict(),
            "learning_rate": config.rates(batch).full,
            "versions": versions,
        }
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.write("config.json", config.to_dict())
            self.write("run.json", run)
        except OSError as error:
            raise UserError(
                f"run folder {self.path} cannot be written ({error.strerror}); give a folder that can, on a disk with room"
            ) from None

    def write(self, name: str, content: dict[str, Any]) -> None:
        """A small JSON file, whole or not at all."""
        write_atomically(self.path / name, _as_json(content))

    def fail(self, failure: Failure, first: bool) -> bool | None:
        """Records why a run ended, where this launch has begun in it. Returns whether nobody else did; None if it cannot.

        first: we are rank 0, whose word counts; another one's does where rank 0 is gone. Never raises: the failure itself
        must be told.
        """
        record = {**asdict(failure), "time": time.time()}
        try:
            if not self._begun or not (self.path / "run.json").is_file():
                return None
            if first:
                self.write("failure.json", record)
            else:
                write_new(self.path / "failure.json", _as_json(record))
        except FileExistsError:
            return False
        except OSError:
            return None
        return True


def _as_json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Around what writes a file of a training under way: an OSError becomes the SaveError that tells how to go on."""
    try:
        yield
    except OSError as error:
        raise SaveError(
            f"{path} cannot be written ({error.strerror}); make room and run the same command again: it goes on from the last checkpoint"
        ) from None


class Metrics:
    """`metrics.jsonl`, one JSON object per line."""

    def __init__(self, path: Path, step: int) -> None:
        """Opens for appending; lines of steps after `step` (written by a launch that then died) are dropped first."""
        self._path = path
        if path.is_file():
            lines = path.read_text("utf-8", "replace").splitlines(keepends=True)
            write_atomically(path, "".join(line for line in lines if _step_of(line) <= step).encode())

    def add(self, **values: Any) -> None:
        """One line; a number that is not finite becomes null, which JSON can hold."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(values), allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return float("inf")  # half a line


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); give another --run folder") from None


def _at(content: Any, keys: Iterable[str]) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def run_identity(config: RunConfig, shards: Shards) -> dict[str, Any]:
    """What may not change between the launches of one run."""
    keys, index = config.nowcast, shards.index
    options = checked_options(keys.model.name, keys.model.options).model_dump(mode="json")
    return {
        "model": {"name": keys.model.name, **options},
        "input_frames": keys.data.input_frames,
        "output_frames": keys.data.output_frames,
        "encoding": index.encoding,
        "unit": index.unit,
        "cadence_s": index.cadence_s,
    }
