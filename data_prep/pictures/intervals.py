"""Scores as points with intervals: a row per name, a panel per score, so that intervals lie below each other."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_prep.files import write_atomically
from data_prep.pictures import canvas
from data_prep.pictures.colours import INK, LINES, SOFT_INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_IN, _ROW_IN, _CHARACTER_IN = 2.15, 0.27, 0.085
_AROUND_IN = 0.8  # a panel's title, axis, and what it says
_LONGEST = 28  # characters of a name before it is cut in its middle
_FIRST, _OTHERS, _BAND = LINES[0][0], SOFT_INK, "#e3eef7"


class Dot(NamedTuple):
    """A value and the ends of its interval; NaN where there is none."""

    value: float
    low: float
    high: float
    filled: bool


class Dots(NamedTuple):
    """One panel: its title, what its axis says, and a dot for each name."""

    title: str
    x_label: str
    dots: Sequence[Dot]


def interval_chart(
    path: Path, names: Sequence[str], panels: Sequence[Dots], *, others: int, title: str, caption: Sequence[str]
) -> None:
    """Writes a PNG. The first name's interval is a band behind all; from row `others` on names are drawn in grey.

    caption: lines below the title. Raises UserError where matplotlib is not installed.
    """
    across = min((4, 3) if len(panels) > 4 else (len(panels),), key=lambda columns: -len(panels) % columns)
    shown = [_cut(name) for name in names]
    left_in = 0.35 + _CHARACTER_IN * max(map(len, shown))
    width_in = max(left_in + across * _PANEL_IN, 6.5)
    lines = [line for text in caption for line in textwrap.wrap(text, int(width_in / 0.066))]
    head_in, panel_in = 0.5 + 0.17 * len(lines), _ROW_IN * len(names) + 0.25
    height_in = head_in + math.ceil(len(panels) / across) * (panel_in + _AROUND_IN)
    figure, step_in = canvas.blank(width_in, height_in), (width_in - left_in) / across
    for i, panel in enumerate(panels):
        row, column = divmod(i, across)
        left, bottom = left_in + column * step_in, height_in - head_in - 0.28 - row * (panel_in + _AROUND_IN) - panel_in
        place = left / width_in, bottom / height_in, (step_in - 0.3) / width_in, panel_in / height_in
        _draw(figure.add_axes(place), panel, shown if column == 0 else None, others)
    _write_head(figure, title, lines, height_in, width_in)
    write_atomically(path, canvas.png(figure))


def _cut(name: str) -> str:
    half = _LONGEST // 2 - 1
    return name if len(name) <= _LONGEST else f"{name[:half]}...{name[-half:]}"


def _draw(axes: Axes, panel: Dots, names: Sequence[str] | None, others: int) -> None:
    first = panel.dots[0]
    if not math.isnan(first.low):
        axes.axvspan(first.low, first.high, color=_BAND, linewidth=0, zorder=0)
    if not math.isnan(first.value):
        axes.axvline(first.value, color=_FIRST, linewidth=0.7, alpha=0.6, zorder=1)
    for row, dot in enumerate(panel.dots):
        colour = _FIRST if row == 0 else INK if row < others else _OTHERS
        _draw_dot(axes, row, dot, colour, "o" if row < others else "s")
    axes.set_ylim(len(panel.dots) - 0.4, -0.6)
    axes.set_yticks(range(len(panel.dots)), names if names else [""] * len(panel.dots))
    axes.locator_params(axis="x", nbins=4)
    axes.margins(x=0.08)
    axes.set_title(panel.title, fontsize=9.5, color=INK, loc="left")
    axes.set_xlabel(panel.x_label, fontsize=7.5, color=SOFT_INK)
    axes.grid(axis="x", color="#dfe2e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=7.5, color=SOFT_INK, labelcolor=SOFT_INK)
    axes.tick_params(axis="y", labelsize=8.5, length=0.0, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT_INK)


def _draw_dot(axes: Axes, row: int, dot: Dot, colour: str, marker: str) -> None:
    if math.isnan(dot.value):
        axes.text(
            0.02, row, "undefined", transform=axes.get_yaxis_transform(), fontsize=7.5, color=SOFT_INK, va="center"
        )
        return
    if not math.isnan(dot.low):
        axes.plot([dot.low, dot.high], [row, row], "-|", color=colour, linewidth=1.4, markersize=7.0, zorder=2)
    face = colour if dot.filled else "white"
    axes.plot([dot.value], [row], marker, color=colour, markerfacecolor=face, markersize=4.2, zorder=3)


def _write_head(figure: Figure, title: str, lines: Sequence[str], height_in: float, width_in: float) -> None:
    left = 0.15 / width_in
    figure.text(left, 1.0 - 0.12 / height_in, title, fontsize=11, weight="bold", color=INK, va="top")
    for i, line in enumerate(lines):
        figure.text(left, 1.0 - (0.38 + 0.17 * i) / height_in, line, fontsize=8, color=SOFT_INK, va="top")
