"""Whether runs can be compared at all: one task, the same windows, the same observations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_prep.errors import UserError, counted
from data_prep.frames import pixel_in_words, same_pixels
from ds_nowcast.baselines import BASELINES
from ds_nowcast.comparing.evaluated import Evaluated, Floats, WindowId, in_words
from ds_nowcast.comparing.files import MODEL, SCORES_NAME, Task

SAME = "evaluate both on the same shards and split, with the same thresholds"
_ALIKE = 1e-4  # relative difference of sums up to which two evaluations of a baseline are called the same


class Matched(NamedTuple):
    """Runs, then baselines, over the same windows. `sums_WSF`: S forecasts in the order of `names`."""

    runs: list[Evaluated]
    baselines: list[str]
    sums_WSF: Floats
    notes: list[str]  # what a reader should know

    @property
    def windows(self) -> list[WindowId]:
        """Of all of them."""
        return self.runs[0].windows

    @property
    def names(self) -> list[str]:
        """Of all forecasts."""
        return [*(run.name for run in self.runs), *self.baselines]


def matched(runs: Sequence[Evaluated]) -> Matched:
    """The runs in the first one's order of windows. Raises UserError naming the two that differ, and in what."""
    first, aligned = runs[0], [runs[0]]
    for run in runs[1:]:
        _check_task(first, run)
        _check_windows(first, run)
        aligned.append(_in_order_of(first, run))
        _check_observations(first, aligned[-1])
    owners = {name: run for name in BASELINES for run in reversed(aligned) if name in run.sums_WF}
    baselines = [owner.sums_WF[name] for name, owner in owners.items()]
    sums_WSF = np.stack([*(run.sums_WF[MODEL] for run in aligned), *baselines], 1)
    return Matched(aligned, list(owners), sums_WSF, [*_about_data(aligned), *_about_baselines(aligned, owners)])


def _check_task(first: Evaluated, run: Evaluated) -> None:
    a, b = first.task, run.task
    if same_pixels(a.pixel, a.pixel_unit, b.pixel, b.pixel_unit):
        b = b.model_copy(update={"pixel": a.pixel})
    ours, theirs = _compared(a), _compared(b)
    differing = [
        f"{name} {theirs[name]} where the first has {ours[name]}" for name in ours if ours[name] != theirs[name]
    ]
    if differing:
        paths = f"{run.folder / SCORES_NAME} is of another task than {first.folder / SCORES_NAME}"
        raise UserError(f"{paths}: {'; '.join(differing)}; {SAME}")


def _compared(task: Task) -> dict[str, str]:
    thresholds = task.thresholds
    return {
        "split": task.split,
        "shards (index_hash)": task.index_hash[:12],
        "thresholds": f"{', '.join(f'{value:g}' for value in thresholds.values)} {thresholds.unit}",
        "unit": task.unit,
        "lead times": str(task.leads),
        "cadence": f"{task.cadence_s} s",
        "pixel size": pixel_in_words(task.pixel, task.pixel_unit),
        "windows": str(task.windows),
    }


def _check_windows(first: Evaluated, run: Evaluated) -> None:
    ours, theirs = set(first.windows), set(run.windows)
    if ours == theirs:
        return
    only_first, only_run = sorted(ours - theirs), sorted(theirs - ours)
    raise UserError(
        f"{run.folder} and {first.folder} were scored on different windows: {counted(len(only_first), 'window')} "
        f"of the first {'is' if len(only_first) == 1 else 'are'} missing in {run.folder} (such as {in_words(only_first[0])}), "
        f"which has {counted(len(only_run), 'other')} (such as {in_words(only_run[0])}); "
        "evaluate both on the same split, with the same input frames and window stride"
    )


def _in_order_of(first: Evaluated, run: Evaluated) -> Evaluated:
    rows = {window: row for row, window in enumerate(run.windows)}
    order = [rows[window] for window in first.windows]
    sums = {name: sums_WF[order] for name, sums_WF in run.sums_WF.items()}
    return dataclasses.replace(run, windows=first.windows, sums_WF=sums)


def _check_observations(first: Evaluated, run: Evaluated) -> None:
    """Raises UserError where the two counted different pixels, or saw different events in them."""
    pixels_W = run.sums_WF[MODEL][:, -1] != first.sums_WF[MODEL][:, -1]
    events_W = (run.observed_WK != first.observed_WK).any(-1)
    for what, differs_W in (("scored pixels", pixels_W), ("observed events", events_W)):
        if differs_W.any():
            window = in_words(first.windows[int(differs_W.argmax())])
            raise UserError(
                f"{run.folder} and {first.folder} differ in the {what} of {counted(int(differs_W.sum()), 'window')} (the "
                f"first: {window}); evaluate both with one version, on the same shards"
            )


def _about_data(runs: Sequence[Evaluated]) -> list[str]:
    return [f"{run.name}: its windows are {run.task.data}" for run in runs if run.task.data != "held out"]


def _about_baselines(runs: Sequence[Evaluated], owners: dict[str, Evaluated]) -> list[str]:
    """Baselines do not depend on the run, unless versions differ: then a reader should know whose is shown."""
    notes = []
    for name, owner in owners.items():
        own_F = owner.sums_WF[name].sum(0)
        for run in runs:
            if name in run.sums_WF and not np.allclose(run.sums_WF[name].sum(0), own_F, _ALIKE, 0.0, equal_nan=True):
                notes.append(f"{name}: {run.name} was evaluated against another one than {owner.name}, whose is shown")
    return notes
