"""The colours in which the radar community reads rain rate, reflectivity and VIL: data only, no plotting library."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from data_prep.encoding import Unit, vil_of_code

INK, SOFT_INK, FORECAST_INK = "#1f2328", "#5c636b", "#0a4f9e"  # of what is written: plain, by the way, of the future
RULE = "#dfe2e6"  # of lines behind a chart
DRY: dict[str, Any] = {"facecolor": "white", "edgecolor": INK}
NO_DATA: dict[str, Any] = {"facecolor": "#e9ebed", "edgecolor": "#b3b8be", "hatch": "/////"}
COAST: dict[str, Any] = {"color": "#3c434a", "linewidth": 0.55, "alpha": 0.75, "zorder": 2.2}
BORDER: dict[str, Any] = {"color": "#3c434a", "linewidth": 0.4, "alpha": 0.6, "zorder": 2.1, "dashes": (5.0, 2.0)}
GRATICULE: dict[str, Any] = {"color": "#7d858d", "linewidth": 0.35, "alpha": 0.55, "zorder": 2.0}
LINES = (  # colour (Okabe and Ito 2008: told apart by the colour-blind), dash and marker of each line of a chart
    ("#0072b2", "-", "o"),
    ("#d55e00", "--", "s"),
    ("#009e73", "-.", "^"),
    ("#cc79a7", ":", "D"),
    ("#e69f00", "-", "v"),
    ("#56b4e9", "--", "P"),
    ("#000000", "-.", "X"),
)
TRUTH = (INK, "-", "")  # colour, dash and marker of what was observed, in any chart


class ColourScale(NamedTuple):
    """Steps of colour. `colours[i]` is for bounds[i] <= value < bounds[i + 1], the last for all above.

    bounds: ascending, in the unit. colours: as many, "#rrggbb". label: what the colour bar says. below: the colour under
    the first bound; white is dry.
    """

    bounds: tuple[float, ...]
    colours: tuple[str, ...]
    label: str
    below: str = "white"


# The steps of the SEVIR tutorial (Veillette et al. 2020) below 255, the code for no data. As float32, the type of a
# decoded field, so that a pixel of just that code reaches its step.
_VIL_CODES = (16, 31, 59, 74, 100, 133, 160, 181, 219)
_VIL_BOUNDS = tuple(float(value) for value in vil_of_code(_VIL_CODES).astype(np.float32))

_RAIN = {
    0.1: "#cde5f7",
    0.2: "#93c6ee",
    0.5: "#4a98dc",
    1.0: "#1b5fb4",
    2.0: "#23995a",
    5.0: "#8fd14a",
    10.0: "#ffe14a",
    20.0: "#ff9326",
    50.0: "#df2020",
    100.0: "#9a1b8e",
}
_DBZ = {
    5.0: "#c9e9ee",
    10.0: "#7fd0e4",
    15.0: "#2f9fe0",
    20.0: "#1656c8",
    25.0: "#52d64f",
    30.0: "#1fa33a",
    35.0: "#0d6b28",
    40.0: "#fff04a",
    45.0: "#e8b820",
    50.0: "#ff8a1e",
    55.0: "#f0281e",
    60.0: "#b01016",
    65.0: "#e043d8",
    70.0: "#7a3fb8",
}
_VIL = ("#a9afb8", "#86d67a", "#37a84a", "#136b34", "#ffee58", "#ffc02e", "#fb7a1e", "#d92020", "#86219c")

_SCALES: dict[Unit, ColourScale] = {
    "mm/h": ColourScale(tuple(_RAIN), tuple(_RAIN.values()), "rain rate (mm/h)"),
    "dBZ": ColourScale(tuple(_DBZ), tuple(_DBZ.values()), "reflectivity (dBZ)"),
    "kg/m2": ColourScale(_VIL_BOUNDS, _VIL, "vertically integrated liquid (kg/m²)"),
}


def colour_scale(unit: Unit) -> ColourScale:
    """The colour scale of a field in `unit`."""
    return _SCALES[unit]


# Too little is brown, too much is blue-green (as precipitation anomalies are drawn; told apart by the colour-blind)
_TOO_LITTLE = ("#4a2c06", "#7a4a0c", "#a9712a", "#d0a468", "#ead0a4", "#f6ead4")
_TOO_MUCH = ("#d6eeea", "#a2d8d0", "#5fb8ad", "#238f86", "#02665f", "#003d38")
_DIFFERENCES: dict[Unit, tuple[float, ...]] = {
    "mm/h": (0.5, 1.0, 2.0, 5.0, 10.0, 20.0),
    "dBZ": (2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    "kg/m2": (0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
}


def difference_scale(unit: Unit) -> ColourScale:
    """The colour scale of forecast minus observation; white where they agree but for the smallest step."""
    steps = _DIFFERENCES[unit]
    bounds = (*(-step for step in reversed(steps)), *steps)
    label = f"forecast minus observed ({unit.replace('m2', 'm²')})"
    return ColourScale(bounds, (*_TOO_LITTLE[1:], "#ffffff", *_TOO_MUCH), label, _TOO_LITTLE[0])
