"""Checkpoints that are whole or not used: DeepSpeed's own files, a manifest of their hashes, a `latest` that moves last.

checkpoints/step_00000100/   DeepSpeed's files and manifest.json {"files": {name: {bytes, sha256}}, ...}
checkpoints/latest           the tag of the newest whole one
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.files import sha256_of, write_atomically
from ds_nowcast.engine import Engine
from ds_nowcast.errors import SaveError
from ds_nowcast.ranks import Ranks

_TAG, _RANK_FILE = re.compile(r"step_(\d{8})"), re.compile(r"zero_pp_rank_(\d+)_")
MANIFEST = "manifest.json"


def tag_of(step: int) -> str:
    """The folder name of a step's checkpoint."""
    return f"step_{step:08d}"


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path, keep: int, ranks: Ranks) -> None:
        self._folder, self._keep, self._ranks = folder, keep, ranks

    def save(self, engine: Engine, client_state: dict[str, Any]) -> Path:
        """Saves the engine's present step. Raises SaveError on all ranks if any rank could not write; `latest` then stays."""
        tag = tag_of(engine.steps)
        target = self._folder / tag
        if self._ranks.first:
            shutil.rmtree(target, ignore_errors=True)  # what a killed save may have left
        self._ranks.barrier()
        failure, files = engine.save(self._folder, tag, client_state), {}
        if failure is None:
            try:
                files = self._hash_own_files(target)
            except OSError as error:
                failure = str(error)
        reports = self._ranks.gather((failure, files))
        failures = [f"rank {rank}: {why}" for rank, (why, _) in enumerate(reports) if why]
        if not failures and self._ranks.first:
            failures = self._finish(target, {name: entry for _, files in reports for name, entry in files.items()})
        failures = self._ranks.from_first(failures)
        if failures:
            if self._ranks.first:
                shutil.rmtree(target, ignore_errors=True)
            raise SaveError(
                f"checkpoint {target} could not be written ({'; '.join(failures)}); make room and run the same command again: "
                f"it goes on from the checkpoint before"
            )
        if self._ranks.first:
            self._prune()
        return target

    def _finish(self, target: Path, files: dict[str, dict[str, Any]]) -> list[str]:
        """On rank 0: the manifest, then `latest`. Returns what failed."""
        try:
            manifest = {"tag": target.name, "ranks": self._ranks.world, "files": dict(sorted(files.items()))}
            write_atomically(target / MANIFEST, json.dumps(manifest, indent=1).encode())
            _sync_folder(target)
            write_atomically(self._folder / "latest", target.name.encode())
            _sync_folder(self._folder)
            return []
        except OSError as error:
            return [f"rank 0: {error}"]

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

    def _prune(self) -> None:
        """Removes the oldest whole ones beyond `keep`, and unfinished ones older than the newest."""
        tags = self._tags()
        whole = [tag for tag in tags if (self._folder / tag / MANIFEST).is_file()]
        for tag in tags:
            if tag not in whole[-self._keep :] and tag < whole[-1]:
                shutil.rmtree(self._folder / tag, ignore_errors=True)

    def _tags(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if path.is_dir() and _TAG.fullmatch(path.name))

    def newest(self, warn: Callable[[str], None]) -> str | None:
        """The tag to resume from: the newest undamaged one, chosen by rank 0 for all; None in a fresh run.

        Warns of each damaged one passed over. Raises UserError where all are damaged or the number of ranks differs.
        """
        choice = self._choose(warn) if self._ranks.first else None
        tag, ranks, error = self._ranks.from_first(choice)
        if error:
            raise UserError(error)
        if tag is not None and ranks != self._ranks.world:
            raise UserError(
                f"{self._folder / tag} was saved by {ranks} ranks and this launch has {self._ranks.world}; launch with {ranks} ranks"
            )
        return None if tag is None else str(tag)

    def _choose(self, warn: Callable[[str], None]) -> tuple[str | None, int, str]:
        tags, damages = self._tags(), []
        whole = [tag for tag in reversed(tags) if (self._folder / tag / MANIFEST).is_file()]
        latest = self._folder / "latest"
        named = latest.read_text("utf-8", "replace").strip() if latest.is_file() else None
        if whole and named != whole[0]:
            warn(f"{latest} says {named!r}, the newest finished checkpoint is {whole[0]}")
        for tag in whole:
            damage, ranks = _damage(self._folder / tag)
            if damage is None:
                return tag, ranks, ""
            damages.append(damage)
            warn(f"checkpoint {self._folder / tag} is damaged ({damage}); trying the one before")
        if whole:
            return (
                None,
                0,
                f"no checkpoint of {self._folder} is whole ({'; '.join(damages)}); remove the folder to start anew",
            )
        return None, 0, ""


def _damage(target: Path) -> tuple[str | None, int]:
    """What is wrong with a checkpoint (None if nothing), and how many ranks saved it."""
    try:
        manifest = json.loads((target / MANIFEST).read_text("utf-8"))
        files, ranks = dict(manifest["files"]), int(manifest["ranks"])
        for name, entry in files.items():
            path = target / name
            if not path.is_file():
                return f"{name} is missing", ranks
            if path.stat().st_size != entry["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}", ranks
            if sha256_of(path) != entry["sha256"]:
                return f"{name} has changed since it was written", ranks
        return (None, ranks) if files else ("its manifest lists no files", ranks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read ({error})", 0


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
