"""Charts of scores.

Names of lines are told apart by colour, dash and marker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from data_prep.files import write_atomically
from data_prep.pictures import canvas
from data_prep.pictures.colours import INK, LINES, SOFT_INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Panel(NamedTuple):
    """One chart of several: its title and, by name, the x and y of each line (a NaN in y leaves a gap)."""

    title: str
    series: Mapping[str, tuple[ArrayLike, ArrayLike]]


def line_chart(
    path: Path,
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    x_label: str,
    y_label: str,
    title: str,
    from_zero: bool = False,
    log: bool = False,
) -> None:
    """Writes a PNG of lines; see `line_charts`."""
    line_charts(path, [Panel("", series)], x_label=x_label, y_label=y_label, title=title, from_zero=from_zero, log=log)


def line_charts(
    path: Path,
    panels: Sequence[Panel],
    *,
    x_label: str,
    y_label: str,
    title: str,
    from_zero: bool = False,
    log: bool = False,
) -> None:
    """Writes a PNG with a chart per panel and one legend; a name has the same line everywhere.

    from_zero: y begins at 0, as it should for a score. log: both axes are logarithmic, as for spectra. Raises
    UserError where matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    across = 2 if len(panels) == 4 else min(len(panels), 3)
    down = math.ceil(len(panels) / across)
    figure = canvas.blank(
        3.1 * across + (0.4 if across > 1 else 3.3), 2.4 * down + (0.8 if down > 1 else 1.4), "constrained"
    )
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(down, across, i + 1)
        _draw_lines(axes, panel, names, log)
        axes.set_xlabel(x_label if i + across >= len(panels) else "", fontsize=9, color=INK)
        axes.set_ylabel(y_label if i % across == 0 else "", fontsize=9, color=INK)
        if from_zero:
            axes.set_ylim(bottom=0.0)
    _write_legend(figure, names, title)
    write_atomically(path, canvas.png(figure))


def _draw_lines(axes: Axes, panel: Panel, names: Sequence[str], log: bool) -> None:
    for name, (x, y) in panel.series.items():
        place = names.index(name)
        colour, dash, marker = LINES[place % len(LINES)]
        axes.plot(np.asarray(x), np.asarray(y), dash, marker=marker, color=colour, label=name, markersize=4.0)
    if log:
        axes.set(xscale="log", yscale="log")
    axes.set_title(panel.title, fontsize=9.5, color=INK, loc="left")
    axes.grid(color="#dfe2e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, color=SOFT_INK, labelcolor=SOFT_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT_INK)


def _write_legend(figure: Figure, names: Sequence[str], title: str) -> None:
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    legend = figure.legend(
        [lines[name] for name in names],
        names,
        loc="outside upper left",
        ncols=4,
        fontsize=9,
        frameon=False,
        title=title,
    )
    legend.get_title().set(fontsize=11, weight="bold", color=INK)
    legend.set_alignment("left")
