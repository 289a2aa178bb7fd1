"""Where fields are: a map in longitude and latitude with their outlines."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import UserError
from data_prep.files import write_atomically
from data_prep.frames import Grid
from data_prep.pictures import canvas
from data_prep.pictures.colours import FORECAST_INK, INK, LINES
from data_prep.pictures.maps import edges_of, joined, region_around
from data_prep.pictures.page import Page, extent_of, field_size
from data_prep.pictures.panels import draw_map, mark_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_SHADED = 400  # outlines; shading more costs time and shows nothing


def domain_map(path: Path, domains: Mapping[str, Sequence[Grid]], *, title: str) -> None:
    """Writes a PNG "where": the outlines of all grids on a map with coastlines, borders and a graticule.

    domains: grids by what they are, such as a split's name; each name has its colour. Equal grids are drawn once, and
    where many overlap their shade is deeper. Raises UserError where matplotlib is not installed, or pyproj, or where no
    grid lies on the earth.
    """
    grids = [grid for group in domains.values() for grid in group]
    region = region_around(grids)
    if region is None:
        raise UserError("a map needs at least one grid on the earth; give grids with a place")
    page = Page(field_size((1, 1), region), 1, (False,), title)
    figure = canvas.blank(page.width_in, page.height_in)
    distinct = {name: list(dict.fromkeys(group)) for name, group in domains.items()}
    places = sum(map(len, distinct.values()))
    canvas.write_title(figure, page, "one place" if places == 1 else f"{places} places")
    axes = figure.add_axes(page.panel(0, 0))
    draw_map(axes, region, labels=False)
    for number, group in enumerate(distinct.values()):
        _outline(axes, region, group, LINES[number % len(LINES)][0], shaded=True)
    mark_axes(axes, extent_of((1, 1), region), left=True, bottom=True)
    if len(distinct) > 1:
        _write_key(figure, page, {name: len(group) for name, group in distinct.items()})
    write_atomically(path, canvas.png(figure))


def draw_where(axes: Axes, grid: Grid, around: Sequence[Grid], height_per_width: float) -> None:
    """A small map in a panel: all of `around` thinly, `grid` boldly. Raises UserError where pyproj is not installed."""
    region = region_around([grid, *around], height_per_width)
    if region is None:
        return
    draw_map(axes, region, labels=True)
    _outline(axes, region, [other for other in around if other != grid], FORECAST_INK)
    _outline(axes, region, [grid], FORECAST_INK, shaded=True)
    extent = extent_of((1, 1), region)
    mark_axes(axes, extent, left=False, bottom=False)
    axes.tick_params(length=0.0)


def _outline(axes: Axes, region: Grid, grids: Sequence[Grid], colour: str, shaded: bool = False) -> None:
    edges = edges_of(grids, region.west + region.shape[1] * region.pixel[1] / 2)
    axes.plot(*joined(edges).T, color=colour, linewidth=0.9 if shaded else 0.4, alpha=1.0 if shaded else 0.6, zorder=3)
    for edge in edges[:_MOST_SHADED] if shaded else ():
        axes.fill(*edge.T, color=colour, alpha=0.12, linewidth=0.0, zorder=1.5)


def _write_key(figure: Figure, page: Page, counts: Mapping[str, int]) -> None:
    """Right of the map: each group's colour, name and number of places."""
    left, bottom, width, height = page.colour_bar()
    line = 0.17 / page.height_in
    top = bottom + height
    for number, (name, count) in enumerate(counts.items()):
        colour = LINES[number % len(LINES)][0]
        figure.text(left, top, "■", fontsize=9, color=colour, va="top")
        words = textwrap.wrap(f"{name} ({count})", 12) or [""]
        for part in words:
            figure.text(left + 1.1 * width, top, part, fontsize=8, color=INK, va="top")
            top -= line
