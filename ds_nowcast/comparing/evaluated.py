"""An evaluated run: the sums of each window of its model and baselines, held against its own scores.

Names: W windows, K thresholds, F = 3 K + 3 sums of a forecast: hits, misses and false alarms by threshold, squared and
absolute error, pixels.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError, printable
from data_prep.times import iso
from ds_nowcast.baselines import BASELINES
from ds_nowcast.comparing.files import (
    AGAIN,
    MODEL,
    SCORES_NAME,
    WINDOWS_NAME,
    ScoresFile,
    Task,
    WindowLine,
    read_scores,
    read_windows,
)

Floats = NDArray[np.float64]
WindowId = tuple[str, datetime]  # a sequence's key, and the time of the last observation


@dataclass(frozen=True)
class Evaluated:
    """One run. `sums_WF`: by forecast, the windows in the order of `windows`; whole numbers are exact in float64."""

    name: str
    folder: Path
    task: Task
    windows: list[WindowId]
    sums_WF: dict[str, Floats]

    @property
    def observed_WK(self) -> Floats:
        """Observed events of each window: what all forecasts of it must agree on."""
        return observed(self.sums_WF[MODEL])


def observed(sums_WF: Floats) -> Floats:
    """(W, K) observed events, hits and misses."""
    k = (sums_WF.shape[-1] - 3) // 3
    found: Floats = sums_WF[..., :k] + sums_WF[..., k : 2 * k]
    return found


def read_runs(given: Sequence[Path]) -> list[Evaluated]:
    """The runs of folders. Raises UserError where one is given twice, missing, or damaged."""
    folders = [path.parent if path.name == SCORES_NAME else path for path in given]
    for i, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:i]]:
            raise UserError(f"{folder} is given twice; give each run once")
    with _no_collection():
        return [read_run(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the search for reference cycles: a run's lines have none, and it would take two thirds of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _names(folders: Sequence[Path]) -> list[str]:
    """Each folder's last parts, as few as tell all apart, and apart from baselines."""
    parts = [folder.resolve().parts for folder in folders]
    for most in range(1, max(map(len, parts)) + 1):
        names = ["/".join(words[-most:]) for words in parts]
        if len({*names, *BASELINES}) == len(names) + len(BASELINES):
            break
    return [printable(name) for name in names]


def read_run(folder: Path, name: str) -> Evaluated:
    """One of them. Raises UserError where it is missing, damaged, or its two files are not of one evaluation."""
    scores, lines = read_scores(folder), read_windows(folder)
    path = folder / WINDOWS_NAME
    if len(lines) != scores.task.windows:
        raise UserError(
            f"{path} has {len(lines)} lines, {SCORES_NAME} beside it says {scores.task.windows} windows; "
            f"copy both again, or {AGAIN}"
        )
    windows = [(line.key, line.time) for line in lines]
    if len(set(windows)) != len(windows):
        raise UserError(f"{path} has a window twice; {AGAIN}")
    sums = {forecast: _sums(path, lines, forecast, scores) for forecast in scores.counts()}
    run = Evaluated(name, folder, scores.task, windows, sums)
    for forecast in sums:
        _hold_against_scores(run, forecast, scores)
    return run


def _sums(path: Path, lines: Sequence[WindowLine], forecast: str, scores: ScoresFile) -> Floats:
    thresholds = len(scores.task.thresholds.values)
    rows = []
    for number, line in enumerate(lines, 1):
        sums = getattr(line, forecast)
        if sums is None:
            raise UserError(f"{path} has no {forecast} in line {number}, {SCORES_NAME} beside it has; {AGAIN}")
        counts = (sums.hits, sums.misses, sums.false_alarms)
        if any(len(numbers) != thresholds for numbers in counts):
            raise UserError(f"{path} is damaged in line {number}: {forecast} has not {thresholds} counts each; {AGAIN}")
        errors = (math.nan if error is None else error for error in (sums.squared_error, sums.absolute_error))
        rows.append([*counts[0], *counts[1], *counts[2], *errors, line.pixels])
    return np.array(rows, np.float64)


def _hold_against_scores(run: Evaluated, forecast: str, scores: ScoresFile) -> None:
    """Raises UserError where the windows do not add up to `scores.json`, or do not agree on what was observed."""
    counts, sums_WF = scores.counts()[forecast], run.sums_WF[forecast]
    total = sums_WF.sum(0).tolist()
    k = len(run.task.thresholds.values)
    for i, name in enumerate(("hits", "misses", "false_alarms")):
        said = [sum(column) for column in zip(*getattr(counts, name), strict=False)]
        if said != total[i * k : (i + 1) * k]:
            raise _other(run, f"{name} of {forecast}")
    if sum(counts.pixels) != total[-1]:
        raise _other(run, "pixels")
    differs_W = (observed(sums_WF) != run.observed_WK).any(-1)
    if differs_W.any():
        first = in_words(run.windows[int(differs_W.argmax())])
        raise UserError(
            f"{run.folder / WINDOWS_NAME} is damaged: {forecast} and {MODEL} differ in what was observed at {first}; {AGAIN}"
        )
    if (sums_WF < 0).any():
        raise UserError(f"{run.folder / WINDOWS_NAME} is damaged: {forecast} has an error below 0; {AGAIN}")


def _other(run: Evaluated, what: str) -> UserError:
    return UserError(
        f"{run.folder / WINDOWS_NAME} does not add up to {SCORES_NAME} beside it ({what}): they are of two evaluations; {AGAIN}"
    )


def in_words(window: WindowId) -> str:
    """A window, for a message."""
    return f"{printable(window[0], 100)} ({iso(window[1])})"
