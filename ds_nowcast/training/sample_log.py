"""What each step saw, sample by sample: `samples/rank00000.jsonl` and its like, in the form of `ds_nowcast.order --json`."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from ds_nowcast.config import Batch
from ds_nowcast.errors import SaveError
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.windows import Sample


class SampleLog:
    """One file per rank, a line per sample."""

    def __init__(self, folder: Path, batch: Batch, ranks: Ranks, window: int, step: int) -> None:
        """Opens for appending; lines of steps after `step` (of a launch that then died) go. Raises OSError on all ranks."""
        self.failure: SaveError | None = None  # why this rank could not write, for all to agree on
        self._batch, self._ranks, self._window, self._folder = batch, ranks, window, folder
        ranks.on_first(lambda: _forget_after(folder, step))
        self._file: IO[str] | None = None

    def add(self, samples: Iterable[Sample]) -> None:
        """The samples of one step of this rank. What goes wrong is kept in `failure`: the other ranks do not wait here."""
        lines = (json.dumps(s.line(self._batch.total, self._ranks.world, self._window)) + "\n" for s in samples)
        try:
            if self._file is None:
                self._file = open(self._folder / f"rank{self._ranks.rank:05d}.jsonl", "a", encoding="utf-8")  # noqa: SIM115
            self._file.write("".join(lines))
            self._file.flush()
        except OSError as error:
            self.failure = SaveError(f"{self._folder} cannot be written ({error.strerror}); make room")

    def __enter__(self) -> SampleLog:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be flushed is in `failure`
                self._file.close()


def _forget_after(folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("rank*.jsonl"):
        if path.stat().st_size:
            _cut_after(path, step)


def _cut_after(path: Path, step: int) -> None:
    """Cuts off the lines after a step, from the end: steps only grow, and the file may be of any length."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = len(content)
        while end and not _is_up_to(content[(begin := content.rfind(b"\n", 0, end - 1) + 1) : end], step):
            end = begin
        file.truncate(end)


def _is_up_to(line: bytes, step: int) -> bool:
    try:
        return line.endswith(b"\n") and float(json.loads(line)["step"]) <= step
    except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return False  # half a line
