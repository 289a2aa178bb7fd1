"""Checkpoints that are whole or not used: DeepSpeed's own files, a manifest of their hashes, a `latest` that moves last.

checkpoints/step_00000100/   DeepSpeed's files and manifest.json {"files": {name: {bytes, sha256}}, "saved_with": ...}
checkpoints/latest           the tag of the newest whole one
checkpoints/.universal/      there only while one is being moved to another number of ranks or ZeRO stage

Damage (a file that is missing, cut short or changed) is passed over: the checkpoint before is used. A file that cannot be
read now (a disk or network in trouble, permissions) is no damage: the launch ends, and later finds all as it was.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import UserError
from data_prep.files import sha256_of, write_atomically
from ds_nowcast.engine import WORKPLACE, Engine
from ds_nowcast.errors import SaveError
from ds_nowcast.ranks import Ranks

_TAG, _RANK_FILE = re.compile(r"step_(\d{8})"), re.compile(r"zero_pp_rank_(\d+)_")
MANIFEST = "manifest.json"
_MOVING = ("ranks", "ZeRO stage")  # what of an engine's kind may be another where a checkpoint is loaded


def tag_of(step: int) -> str:
    """The folder name of a step's checkpoint."""
    return f"step_{step:08d}"


class Saved(NamedTuple):
    """A whole checkpoint."""

    tag: str
    saved_with: dict[str, Any]  # ranks, ZeRO stage, precision ... of the engine that saved it

    def fits(self, engine: Engine) -> bool:
        """Whether that engine had as many ranks and the ZeRO stage of this one."""
        return self.saved_with == engine.kind

    def __str__(self) -> str:
        return f"{self.tag}, saved by {self.saved_with['ranks']} ranks at ZeRO {self.saved_with['ZeRO stage']}"


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path, keep: int, ranks: Ranks) -> None:
        self._folder, self._keep, self._ranks = folder, keep, ranks
        self._damaged: set[str] = set()  # those passed over when the run was resumed, on rank 0

    def save(self, engine: Engine, client_state: dict[str, Any], best: int | None = None) -> Path:
        """Saves the engine's present step, then prunes; the checkpoint of the step `best` stays, if there is one.

        Raises SaveError on all ranks if any rank could not write; `latest` then stays.
        """
        tag = tag_of(engine.steps)
        target, culprit = self._folder / tag, 0
        try:
            self._ranks.on_first(lambda: _empty(target))
            failure, files = engine.save(self._folder, tag, client_state), {}
            if failure is None:
                try:
                    files = self._hash_own_files(target)
                except OSError as error:
                    failure = str(error)
            reports = self._ranks.gather((failure, files))
            failures = {rank: f"rank {rank}: {why}" for rank, (why, _) in enumerate(reports) if why}
            if failures:
                culprit = min(failures)
                raise OSError("; ".join(failures.values()))
            hashed = {name: entry for _, files in reports for name, entry in files.items()}
            self._ranks.on_first(lambda: self._finish(target, hashed, engine.kind))
        except OSError as error:
            if self._ranks.first:
                _remove(target)
            raise SaveError(
                f"checkpoint {target} could not be written ({error}); make room and run the same command again: "
                f"it goes on from the checkpoint before"
            ).at(culprit) from None
        if self._ranks.first:
            with suppress(OSError):  # what cannot be looked at stays until the next time
                self._prune(tag, best)
        return target

    def _finish(self, target: Path, files: dict[str, dict[str, Any]], saved_with: dict[str, Any]) -> None:
        """On rank 0: the manifest, then `latest`."""
        manifest = {"tag": target.name, "saved_with": saved_with, "files": dict(sorted(files.items()))}
        write_atomically(target / MANIFEST, json.dumps(manifest, indent=1).encode())
        _sync_folder(target)
        write_atomically(self._folder / "latest", target.name.encode())
        _sync_folder(self._folder)

    def _hash_own_files(self, target: Path) -> dict[str, dict[str, Any]]:
        """Bytes and sha256 of the files this rank wrote, flushed to disk."""
        files = {}
        for path in sorted(path for path in target.rglob("*") if path.is_file() and path.name != MANIFEST):
            match = _RANK_FILE.search(path.name)
            if (int(match.group(1)) if match else 0) == self._ranks.rank:
                with open(path, "rb+") as file:
                    os.fsync(file.fileno())
                files[path.relative_to(target).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        return files

    def _prune(self, newest: str, best: int | None) -> None:
        """Removes the oldest finished ones beyond `keep`, unfinished ones, those found damaged, and any after `newest`.

        `newest` was just saved and is whole: those after it were damaged, else the run would have gone on from them.
        """
        good = [tag for tag in finished_tags(self._folder) if tag <= newest and tag not in self._damaged - {newest}]
        kept = {*good[-self._keep :], *([] if best is None else [tag_of(best)])} & {*good}
        for tag in _tags(self._folder):
            if tag not in kept:
                _remove(self._folder / tag)
        self._damaged.clear()

    def newest(self, engine: Engine, warn: Callable[[str], None]) -> Saved | None:
        """The one to resume from: the newest undamaged one, chosen by rank 0 for all; None in a fresh run.

        Warns of each damaged one passed over. Raises UserError where all are damaged, where one cannot be read now, or
        where the newest was saved with another optimizer, scheduler or precision.
        """
        try:
            saved = self._ranks.on_first(lambda: self._choose(warn))
        except OSError as error:
            raise UserError(
                f"{error.filename or self._folder} cannot be read ({error.strerror}); nothing was changed: run the same command "
                "again when it can be read, or give another --run folder"
            ) from None
        if saved is None:
            return None
        present = {name: now for name, now in engine.kind.items() if name not in _MOVING}
        was = saved.saved_with
        differing = [f"{name} {was.get(name)} -> {now}" for name, now in present.items() if was.get(name) != now]
        if differing:
            raise UserError(
                f"{self._folder / saved.tag} cannot be resumed with other settings ({', '.join(differing)}); launch as it was saved, or "
                "give a new --run folder and --init-from this one's last.safetensors or model.safetensors"
            )
        return saved

    def _choose(self, warn: Callable[[str], None]) -> Saved | None:
        """On rank 0. Raises OSError where something cannot be read."""
        shutil.rmtree(self._folder / WORKPLACE, ignore_errors=True)  # of a launch that was killed
        finished, damages = finished_tags(self._folder), []
        latest = self._folder / "latest"
        named = latest.read_text("utf-8", "replace").strip() if _is_there(latest) else None
        if finished and named != finished[-1]:
            there = "is missing" if named is None else f"says {named!r}"
            warn(f"{latest} {there}; the newest finished checkpoint is {finished[-1]}")
        for tag in reversed(finished):
            try:
                saved = Saved(tag, _checked(self._folder / tag))
                self._damaged = {damaged for damaged in finished if damaged > tag}
                return saved
            except _DamagedError as damage:
                damages.append(f"{tag}: {damage}")
                warn(f"checkpoint {self._folder / tag} is damaged ({damage}); trying the one before")
        if finished:
            raise UserError(
                f"no checkpoint of {self._folder} is whole ({'; '.join(damages)}); remove that folder to start anew"
            )
        return None


def finished_tags(folder: Path) -> list[str]:
    """In the order of steps those whose save was not interrupted; they may have been damaged since. Raises OSError."""
    return [tag for tag in _tags(folder) if _is_there(folder / tag / MANIFEST)]


def _tags(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if _TAG.fullmatch(path.name) and path.is_dir())
    except FileNotFoundError:
        return []


def _is_there(path: Path) -> bool:
    """As Path.exists, but trouble with the disk or permissions raises OSError; newer Pythons take it for absence."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


class _DamagedError(Exception):
    """What is wrong with a checkpoint."""


def _checked(target: Path) -> dict[str, Any]:
    """What a checkpoint was saved with. Raises _DamagedError where it is not whole, OSError where that cannot be told."""
    try:
        manifest = json.loads((target / MANIFEST).read_text("utf-8"))
        files = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
        saved_with = dict(manifest["saved_with"])
        if files and not saved_with.keys() >= {*_MOVING}:
            raise ValueError("it does not say how many ranks saved it")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _DamagedError(f"{MANIFEST} cannot be used: {error!r}") from None
    if not files:
        raise _DamagedError(f"{MANIFEST} lists no files")
    for name, (size, sha256) in files.items():
        _check_file(target / name, size, sha256)
    return saved_with


def _check_file(path: Path, size: int, sha256: str) -> None:
    if not _is_there(path):
        raise _DamagedError(f"{path.name} is missing")
    if path.stat().st_size != size:
        raise _DamagedError(f"{path.name} has {path.stat().st_size} bytes instead of {size}")
    if sha256_of(path) != sha256:
        raise _DamagedError(f"{path.name} has changed since it was written")


def _remove(target: Path) -> None:
    """The manifest first: killed halfway, it leaves an unfinished checkpoint, not a damaged one."""
    with suppress(OSError):
        (target / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)


def _empty(target: Path) -> None:
    """An empty folder; what a killed save may have left in it is removed."""
    _remove(target)
    target.mkdir(parents=True, exist_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
