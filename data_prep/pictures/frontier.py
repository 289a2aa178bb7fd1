"""What is gained against what it costs: a point per attempt, those that no other beats at both joined by a line."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_prep.files import write_atomically
from data_prep.pictures import canvas
from data_prep.pictures.axes import plain
from data_prep.pictures.colours import INK, LINES, SOFT_INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_IN, _HEIGHT_IN = 6.8, 4.6
_FRONT, _BEYOND = LINES[0][0], LINES[1][0]


class Point(NamedTuple):
    """An attempt."""

    name: str
    cost: float
    gain: float
    kind: str  # of the legend
    counts: bool  # whether it may be on the front


class Labels(NamedTuple):
    """The words of a chart."""

    title: str
    caption: str
    cost: str
    gain: str
    limit: str


def front(points: Sequence[Point]) -> list[Point]:
    """Those that count of which no other that counts gains as much for less, or more for as much; by cost."""
    best, found = -math.inf, []
    for point in sorted((p for p in points if p.counts), key=lambda p: (p.cost, -p.gain)):
        if point.gain > best:
            best = point.gain
            found.append(point)
    return found


def frontier_chart(
    path: Path,
    points: Sequence[Point],
    labels: Labels,
    *,
    limit: float | None,
    failed: Sequence[str],
) -> None:
    """Writes a PNG. limit: of the cost, drawn where it is near. failed: lines below.

    Raises UserError where matplotlib is not installed.
    """
    lines = [line for text in (labels.caption, *failed) for line in textwrap.wrap(text, 100)]
    height_in = _HEIGHT_IN + 0.17 * len(lines)
    figure = canvas.blank(_WIDTH_IN, height_in)
    bottom, top = 0.62 + 0.17 * len(lines), 0.42
    axes = figure.add_axes((0.1, bottom / height_in, 0.86, (height_in - bottom - top) / height_in))
    _draw(axes, points, labels, limit)
    figure.text(0.1, 1 - 0.12 / height_in, labels.title, fontsize=11, weight="bold", color=INK, va="top")
    for i, line in enumerate(lines):
        place = (0.12 + 0.17 * (len(lines) - 1 - i)) / height_in
        figure.text(0.1, place, line, fontsize=8, color=SOFT_INK, parse_math=False)
    write_atomically(path, canvas.png(figure))


def _draw(axes: Axes, points: Sequence[Point], labels: Labels, limit: float | None) -> None:
    best = front(points)
    axes.step([p.cost for p in best], [p.gain for p in best], where="post", color=_FRONT, linewidth=1.2, zorder=1)
    kinds = list(dict.fromkeys(point.kind for point in points))
    for number, kind in enumerate(kinds):
        colour, _, marker = LINES[number % len(LINES)]
        mine = [point for point in points if point.kind == kind]
        axes.plot(
            [p.cost for p in mine], [p.gain for p in mine], marker, color=colour, markersize=5, label=kind, zorder=3
        )  # fmt: skip
    axes.set_ylim(0.0, 1.08 * max((point.gain for point in points), default=0.0) or 1.0)  # a name fits above
    axes.margins(x=0.12)
    right = max((point.cost for point in points), default=1.0)
    if limit is not None and limit < 1.5 * right:
        axes.axvline(limit, color=_BEYOND, linewidth=1.0, linestyle="--", label=labels.limit)
    for point in points:
        if point.name:
            axes.annotate(
                point.name, (point.cost, point.gain), (5, 5), textcoords="offset points", fontsize=8, color=INK
            )  # fmt: skip
    axes.set_xlabel(labels.cost, fontsize=9, color=INK)
    axes.set_ylabel(labels.gain, fontsize=9, color=INK)
    plain(axes)
    axes.legend(fontsize=8, facecolor="white", edgecolor="none", framealpha=0.9, loc="lower right")
