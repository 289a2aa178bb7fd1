"""Single forecasts to look at: the model's best, median and worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import Unit
from data_prep.errors import printable
from data_prep.frames import Grid
from data_prep.pictures import Strip, film_strip
from data_prep.pictures.colours import colour_scale, difference_scale

_LONGEST_KEY = 80  # characters of a title


@dataclass(frozen=True)
class Case:
    """One window.

    name: "best", "median" or "worst". key: of its sequence. times: of the input and then the output frames, UTC.
    past_THW (input frames), observed_THW, forecast_THW and the baselines' fields by name (output frames): float32 in
    `unit`, NaN where there is no data. errors: by forecast its mean squared error in model space, where that is known.
    """

    name: str
    key: str
    times: Sequence[datetime]
    unit: Unit
    grid: Grid | None
    past_THW: NDArray[np.float32]
    observed_THW: NDArray[np.float32]
    forecast_THW: NDArray[np.float32]
    baselines: Mapping[str, NDArray[np.float32]]
    errors: Mapping[str, float] = field(default_factory=dict)


def chosen_cases(errors: dict[int, tuple[float, float]]) -> dict[str, int]:
    """Windows with the model's best, median and worst error relative to persistence's.

    errors: by window, of the model and of persistence. Only among the half where persistence errs most: a dry or still
    window shows nothing.
    """
    eventful = sorted(errors, key=lambda window: (-errors[window][1], window))[: max(1, (len(errors) + 1) // 2)]
    ranked = sorted(eventful, key=lambda window: (errors[window][0] / max(errors[window][1], 1e-12), window))
    return {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}


def write_case(path: Path, case: Case, split: str) -> None:
    """Writes the PNG of a case: past, observed, forecast, baselines, and forecast minus observed.

    Raises UserError where matplotlib is not installed.
    """
    issued = len(case.past_THW)
    past, ahead = case.times[:issued], case.times[issued:]
    rows = [
        Strip("Past", case.past_THW, past),
        Strip("Observed", case.observed_THW, ahead),
        Strip("Forecast", case.forecast_THW, ahead),
        *(Strip(name.capitalize(), field_THW, ahead) for name, field_THW in case.baselines.items()),
        Strip("Difference", difference(case), ahead, scale=difference_scale(case.unit)),
    ]
    title = f"{case.name.capitalize()} case: {printable(case.key, _LONGEST_KEY)}, split {printable(split, 30)}"
    film_strip(path, rows, unit=case.unit, grid=case.grid, title=title, lead_from=past[-1], small=True)


def difference(case: Case) -> NDArray[np.float32]:
    """Forecast minus observed, NaN where either has no data; of reflectivity from the lowest that is drawn on.

    Below that nothing is seen: between no echo and a faint one lie decibels, but no rain.
    """
    if case.unit != "dBZ":
        return case.forecast_THW - case.observed_THW
    least = np.float32(colour_scale(case.unit).bounds[0])
    found: NDArray[np.float32] = np.maximum(case.forecast_THW, least) - np.maximum(case.observed_THW, least)
    return found
