"""A chart of scores with a sentence on how to read it, and what all such charts have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_prep.pictures import Axis, Chart
from data_prep.pictures.charts import OBSERVED
from data_prep.pictures.grounds import draw_level
from ds_nowcast.scoring.report.numbers import FORECASTS, minutes, scored, value_at

LEAD = Axis("lead time (min)")
FROM_ZERO, SHARE = (0.0, None), (0.0, 1.0)  # ends of axes
NAMES = (*FORECASTS, OBSERVED)
Series = dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class Told:
    """A chart, the name of its file, and how to read it."""

    file: str
    chart: Chart
    words: str


def told(file: str, chart: Chart, words: str) -> Told | None:
    """With the panels and lines that have anything to show; None where none has."""
    drawn = [
        panel._replace(
            series={
                name: line for name, line in panel.series.items() if np.isfinite(np.asarray(line[1], np.float64)).any()
            }
        )
        for panel in chart.panels
    ]
    panels = [panel for panel in drawn if panel.series]
    return Told(file, replace(chart, panels=panels), words) if panels else None


def by_lead(scores: dict[str, Any], *path: str) -> Series:
    """Minutes and a score of each forecast; NaN where it is undefined."""
    times = minutes(scores)
    return {
        name: (times, [or_nan(value_at(scores, name, "by_lead", lead, *path)) for lead in range(len(times))])
        for name in scored(scores)
    }


def or_nan(value: float | None) -> float:
    """What a chart takes for undefined: a gap."""
    return math.nan if value is None else value


def level(value: float) -> Callable[[Any], None]:
    """The ground with a dotted line at that y."""
    return lambda axes: draw_level(axes, value)
