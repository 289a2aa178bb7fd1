"""A search on disk, beside its result: what is searched, the journal, a folder for each trial; the same command goes on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.files import write_atomically, writing
from ds_nowcast.tuning.trial import Trial, read_trial

SEARCH = "search.json"
LOCK = ".lock"
FORMAT_VERSION = 1


class TrialsFolder:
    """`tuned.trials` beside `tuned.json`."""

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f"{out.stem}.trials")
        self._handle: int | None = None

    def leave(self) -> None:
        """Lets another process have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def trial(self, number: int) -> Path:
        """Where a trial's outcome.json and log lie."""
        return self.path / f"{number:04d}"

    def again(self, name: str, turn: int) -> Path:
        """Where what is measured again at the end lies."""
        return self.path / "again" / f"{name}-{turn}"

    def trials(self) -> list[Trial]:
        """Those that ended, in their order."""
        found = [read_trial(path) for path in sorted(self.path.glob("[0-9]*")) if path.is_dir()]
        return sorted((trial for trial in found if trial is not None), key=lambda trial: trial.number)

    def begin(self, searched: Mapping[str, Any], *, anew: bool) -> None:
        """Takes the folder for this process, and holds what is searched against what was.

        anew: another search that lies there is put aside. Raises UserError where there is one, or a process at work.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._take()
        if anew and ((self.path / SEARCH).exists() or any(self.path.glob("[0-9]*"))):
            self._put_aside()
        before = self._searched()
        if before is None:
            if any(self.path.glob("[0-9]*")):
                raise UserError(f"{self.path} holds trials of no known search; give another --out, or remove it")
            content = {"format_version": FORMAT_VERSION, **searched}
            with writing(self.path):
                write_atomically(self.path / SEARCH, (json.dumps(content, indent=1) + "\n").encode())
        else:
            self._check_same(before, searched)

    def _take(self) -> None:
        try:
            self._handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process searches in {self.path}; wait for its end, or give another --out"
            ) from None
        except OSError as error:
            raise UserError(f"{self.path} cannot be used ({error.strerror}); give another --out") from None

    def _put_aside(self) -> None:
        """Keeps the folder that is there under another name, and takes a new one."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        with writing(self.path):
            os.rename(self.path, aside)
            self.path.mkdir()
        self.leave()
        self._take()

    def _searched(self) -> dict[str, Any] | None:
        path = self.path / SEARCH
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text("utf-8"))
            if not isinstance(content, dict):
                raise ValueError("not an object")
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} cannot be read ({error}); give another --out, or --anew to start anew") from None
        return content

    def _check_same(self, before: dict[str, Any], searched: Mapping[str, Any]) -> None:
        if before.pop("format_version", None) != FORMAT_VERSION:
            raise UserError(f"{self.path} is of another version; give another --out, or --anew to start anew")
        now = json.loads(json.dumps(searched))
        differing = _differences(before, now)
        if differing:
            told = "; ".join(differing[:3]) + ("" if len(differing) <= 3 else f"; and {len(differing) - 3} more")
            raise UserError(
                f"{self.path} holds another search ({told}); give another --out, or --anew, which puts that one aside and starts anew"
            )


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    """`where: before -> now`, at the outermost places that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted({*before, *now})
            for line in _differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
        ]
    return [] if before == now else [f"{where}: {_short(before)} -> {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
