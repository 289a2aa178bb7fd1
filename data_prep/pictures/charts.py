"""Charts of numbers: lines by name, as a PNG of several panels or as SVG, a panel each, to stand in HTML.

Names of lines are told apart by colour, dash and marker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from data_prep.files import write_atomically
from data_prep.pictures import canvas
from data_prep.pictures.axes import Axis, plain, set_axis
from data_prep.pictures.colours import INK, LINES, SOFT_INK, TRUTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OBSERVED = "observed"  # the name of a line that is the truth, not one of several forecasts
_FRAME = (0.19, 0.19, 0.78, 0.77)  # left, bottom, width, height of the axes as shares of an SVG


class Panel(NamedTuple):
    """One chart of several: its title and, by name, the x and y of each line (a NaN in y leaves a gap).

    y, x: where they differ from the chart's. ground: draws what lies behind the lines, after the axes have their ends.
    notes: by the name of a line, words beside its points.
    """

    title: str
    series: Mapping[str, tuple[ArrayLike, ArrayLike]]
    y: Axis | None = None
    x: Axis | None = None
    ground: Callable[[Axes], None] | None = None
    notes: Mapping[str, Sequence[str]] = {}


@dataclass(frozen=True)
class Chart:
    """Panels of one meaning.

    names: of all lines in the order of their looks; empty: as they come. plain: those drawn as ink without markers, such
    as what was observed among forecasts. square: x and y are of one kind and have equal scales.
    """

    title: str
    panels: Sequence[Panel]
    x: Axis
    y: Axis
    names: Sequence[str] = ()
    plain: Sequence[str] = (OBSERVED,)
    square: bool = False

    def shown(self) -> list[str]:
        """Names that a legend needs, in the order of their looks: a panel's only line is named by its title and axis."""
        several = [panel for panel in self.panels if len(panel.series) > 1] or self.panels
        there = dict.fromkeys(name for panel in several for name in panel.series)
        return [name for name in self.names if name in there] or list(there)

    def look(self, name: str) -> tuple[str, str, str]:
        """Colour, dash and marker of a line: the same in every panel, and in every chart with the same names."""
        if name in self.plain:
            return TRUTH
        names = self.names or list(dict.fromkeys(name for panel in self.panels for name in panel.series))
        return LINES[list(names).index(name) % len(LINES)]


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
    write_chart(
        path, Chart(title, panels, Axis(x_label, log), Axis(y_label, log, (0.0 if from_zero else None, None)))
    )  # fmt: skip


def write_chart(path: Path, chart: Chart) -> None:
    """Writes a PNG with all panels and one legend. Raises UserError where matplotlib is not installed."""
    across = 2 if len(chart.panels) == 4 else min(len(chart.panels), 3)
    down = math.ceil(len(chart.panels) / across)
    width_in = 3.1 * across + (0.4 if across > 1 else 3.3)
    height_in = 6.0 if chart.square else 2.4 * down + (0.8 if down > 1 else 1.4)
    figure = canvas.blank(width_in, height_in, "constrained")
    for i, panel in enumerate(chart.panels):
        axes = figure.add_subplot(down, across, i + 1)
        x, y = panel.x or chart.x, panel.y or chart.y
        _draw(axes, chart, panel)
        below = panel.x or i + across >= len(chart.panels)
        _label(axes, x.label if below else "", y.label if panel.y or i % across == 0 else "")
    _write_legend(figure, chart)
    write_atomically(path, canvas.png(figure))


def chart_svgs(chart: Chart, name: str) -> list[str]:
    """The panels as `<svg>` elements (`canvas.svg`) without title and legend; see `keys.line_key` for that.

    name: told apart from the page's other charts. Raises UserError where matplotlib is not installed.
    """
    pictures = []
    for i, panel in enumerate(chart.panels):
        # the same frame in every panel, so that they stand in line, unless it must have equal sides
        figure = canvas.blank(3.6, 3.6 if chart.square else 2.5, "constrained" if chart.square else None)
        axes = figure.add_subplot() if chart.square else figure.add_axes(_FRAME)
        _draw(axes, chart, panel._replace(title=""))
        _label(axes, (panel.x or chart.x).label, (panel.y or chart.y).label)
        pictures.append(canvas.svg(figure, f"{name}-{i}"))
    return pictures


def _label(axes: Axes, x: str, y: str) -> None:
    for set_label, words in ((axes.set_xlabel, x), (axes.set_ylabel, y)):
        set_label(words, fontsize=9, color=INK, parse_math=False)


def _draw(axes: Axes, chart: Chart, panel: Panel) -> None:
    for name, (x, y) in panel.series.items():
        colour, dash, marker = chart.look(name)
        xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
        often = 1 if len(xs) <= 30 else math.ceil(len(xs) / 15)  # markers on each other hide the line
        cut = (panel.y or chart.y).log  # otherwise a marker at 0 or 1 is whole, though it reaches beyond the axes
        look: dict[str, Any] = {
            "marker": marker,
            "color": colour,
            "markersize": 4.0,
            "markevery": often,
            "clip_on": cut,
        }
        axes.plot(xs, ys, dash, label=name, **look)
        for at, word in enumerate(panel.notes.get(name, ())):
            if np.isfinite([xs[at], ys[at]]).all():
                axes.annotate(word, (xs[at], ys[at]), (5, 3), textcoords="offset points", fontsize=7, color=SOFT_INK)
    for axis, side in ((panel.x or chart.x, axes.xaxis), (panel.y or chart.y, axes.yaxis)):
        set_axis(axes, axis, side)
    axes.set_title(panel.title, fontsize=9.5, color=INK, loc="left", parse_math=False)
    plain(axes)
    if panel.ground is not None:
        panel.ground(axes)


def _write_legend(figure: Figure, chart: Chart) -> None:
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    names = [name for name in chart.shown() if name in lines]
    legend = figure.legend(
        [lines[name] for name in names],
        names,
        loc="outside upper left",
        ncols=4,
        fontsize=9,
        frameon=False,
        title=chart.title,
    )
    legend.get_title().set(fontsize=11, weight="bold", color=INK, parse_math=False)
    legend.set_alignment("left")
