"""What each step saw, sample by sample: `samples/rank00000.jsonl` and its like, in the form of `ds_nowcast.order --json`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from data_prep.files import write_atomically
from ds_nowcast.config import Batch
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.windows import Sample


class SampleLog:
    """One file per rank, a line per sample."""

    def __init__(self, folder: Path, batch: Batch, ranks: Ranks, window: int, step: int) -> None:
        """Opens for appending; lines of steps after `step` (of a launch that then died) go. Raises OSError on all ranks."""
        self._batch, self._ranks, self._window, self._folder = batch, ranks, window, folder
        ranks.on_first(lambda: _forget_after(folder, step))
        self._file: IO[str] | None = None

    def add(self, samples: Iterable[Sample]) -> None:
        """The samples of one step of this rank. Raises OSError."""
        if self._file is None:
            self._file = open(self._folder / f"rank{self._ranks.rank:05d}.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        lines = (json.dumps(s.line(self._batch.total, self._ranks.world, self._window)) + "\n" for s in samples)
        self._file.write("".join(lines))
        self._file.flush()

    def __enter__(self) -> SampleLog:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()


def _forget_after(folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("rank*.jsonl"):
        lines = path.read_text("utf-8", "replace").splitlines(keepends=True)
        write_atomically(path, "".join(line for line in lines if _step_of(line) <= step).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):
        return float("inf")  # half a line
