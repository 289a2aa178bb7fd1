"""Pictures of radar fields: film strips, forecasts, animations (extra `pictures`).

Axes of arrays: T frames, H rows (north first), W columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import Unit
from data_prep.files import write_atomically
from data_prep.frames import Grid
from data_prep.pictures import canvas
from data_prep.pictures.colours import FORECAST_INK, INK, ColourScale, colour_scale
from data_prep.pictures.gif import endless_gif
from data_prep.pictures.page import (
    Page,
    evenly,
    extent_of,
    field_size,
    is_forecast,
    lead_label,
    period_label,
    time_label,
)
from data_prep.pictures.panels import draw_field, draw_map, mark_axes
from data_prep.pictures.where import draw_where

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Strip(NamedTuple):
    """A row of pictures.

    label: what it shows. values: float32 (T, H, W) in the picture's unit, NaN where there is no data. times: T, UTC.
    grid: where this row is; None where it is that of the whole picture. scale: its colours, where they are not those of
    a field in the picture's unit.
    """

    label: str
    values: NDArray[np.float32]
    times: Sequence[datetime]
    grid: Grid | None = None
    scale: ColourScale | None = None


def film_strip(
    path: Path,
    rows: Sequence[Strip],
    *,
    unit: Unit,
    grid: Grid | None,
    title: str,
    columns: int = 6,
    lead_from: datetime | None = None,
    around: Sequence[Grid] = (),
    small: bool = False,
) -> None:
    """Writes a PNG with a row of at most `columns` frames per strip, evenly chosen, the first and the last among them.

    grid: gives the axes, in km from the south-west corner or in degrees, and coastlines and a graticule where pyproj is
    installed; None means pixels. Rows that say their own grids have axes in km. lead_from: the time of the last
    observation; frames after it are headed by their lead time. around: of all that the rows are samples of the grids;
    where given, a map at the end of each row shows where it is among them. small: in 256 colours, a third of the bytes.
    Rows of one scale that follow each other share a colour bar. Raises UserError where matplotlib is not installed
    (with `around`, also pyproj).
    """
    assert rows
    assert columns > 0
    assert all(len(row.times) == len(row.values) > 0 for row in rows)
    chosen = [evenly(len(row.times), columns) for row in rows]
    shown = [[row.times[frame] for frame in frames] for row, frames in zip(rows, chosen, strict=True)]
    page = Page(
        size=field_size(rows[0].values.shape[1:], rows[0].grid or grid),
        columns=max(map(len, shown)) + bool(around),
        headed=tuple(i == 0 or times != shown[i - 1] for i, times in enumerate(shown)),
        title=title,
    )
    several_places = len({row.grid or grid for row in rows}) > 1
    figure = canvas.blank(page.width_in, page.height_in)
    canvas.write_title(figure, page, period_label([time for times in shown for time in times], lead_from))
    _draw_colour_bars(figure, page, [row.scale or colour_scale(unit) for row in rows])
    for i, row in enumerate(rows):
        _write_row_label(figure, page, i, row.label)
        place = row.grid or grid
        below = len(chosen[i + 1]) if i + 1 < len(rows) else 0
        panels = [figure.add_axes(page.panel(i, j)) for j in range(len(chosen[i]))]
        _draw_row(panels, row, chosen[i], place, unit, below=below, in_km=several_places)
        if page.headed[i]:
            for axes, frame in zip(panels, chosen[i], strict=True):
                _write_time(axes, row.times[frame], lead_from)
        if around and place is not None:
            last = figure.add_axes(page.panel(i, page.columns - 1))
            draw_where(last, place, around, page.size[0] / page.size[1])
    write_atomically(path, canvas.small_png(figure) if small else canvas.png(figure))


def _draw_colour_bars(figure: Figure, page: Page, scales: list[ColourScale]) -> None:
    first = 0
    for scale, same in groupby(scales):
        end = first + len(list(same))
        canvas.draw_colour_bar(figure, page, scale, slice(first, end))
        first = end


def _draw_row(
    panels: list[Axes], row: Strip, frames: list[int], place: Grid | None, unit: Unit, *, below: int, in_km: bool
) -> None:
    """The fields of a row of panels, `below` of which have another panel under them."""
    extent = extent_of(row.values.shape[1:], place, in_km=in_km)
    for j, (axes, frame) in enumerate(zip(panels, frames, strict=True)):
        draw_field(axes, row.values[frame], row.scale or colour_scale(unit), extent)
        draw_map(axes, place, labels=j == 0 and extent.unit == "km")
        mark_axes(axes, extent, left=j == 0, bottom=j >= below)


def forecast_picture(path: Path, past: Strip, forecast: Strip, *, unit: Unit, grid: Grid | None, title: str) -> None:
    """Writes a PNG: the last observed frames above, the forecast by lead time below. Raises as `film_strip`."""
    length = len(forecast.times)
    last = Strip(past.label, past.values[-length:], past.times[-length:], past.grid)
    film_strip(path, [last, forecast], unit=unit, grid=grid, title=title, lead_from=past.times[-1])


def forecast_gif(path: Path, past: Strip, forecast: Strip, *, unit: Unit, grid: Grid | None, title: str) -> None:
    """Writes a GIF without end of `film_pages`, resting on the last. Raises as `film_strip`."""
    write_atomically(path, endless_gif(film_pages(past, forecast, unit=unit, grid=grid, title=title)))


def film_pages(past: Strip, forecast: Strip, *, unit: Unit, grid: Grid | None, title: str) -> list[bytes]:
    """PNGs of one size, the pages of an animation: the observed frames, then the forecast. Raises as `film_strip`."""
    issued = past.times[-1]
    page = Page(field_size(past.values.shape[1:], grid), 1, (True,), title)
    figure = canvas.blank(page.width_in, page.height_in)
    canvas.write_title(figure, page, period_label(past.times, issued))
    canvas.draw_colour_bar(figure, page, colour_scale(unit))
    axes = figure.add_axes(page.panel(0, 0))
    extent = extent_of(past.values.shape[1:], grid)
    draw_map(axes, grid, labels=extent.unit == "km")
    mark_axes(axes, extent, left=True, bottom=True)
    pages = []
    for strip in (past, forecast):
        for field_HW, time in zip(strip.values, strip.times, strict=True):
            for earlier in list(axes.images):
                earlier.remove()
            draw_field(axes, field_HW, colour_scale(unit), extent)
            _write_time(axes, time, issued, kind=True)
            pages.append(canvas.png(figure))
    return pages


def _write_row_label(figure: Figure, page: Page, row: int, label: str) -> None:
    _, bottom, _, height = page.panel(row, 0)
    text = textwrap.fill(label, max(int(page.panel_in[0] / 0.085), 8))
    where = (0.22 / page.width_in, bottom + height / 2)
    figure.text(*where, text, rotation=90, fontsize=9.5, weight="bold", color=INK, ha="center", va="center")


def _write_time(axes: Axes, time: datetime, lead_from: datetime | None, kind: bool = False) -> None:
    words, colour = f"{'observed ' if kind else ''}{time_label(time)}", INK
    if lead_from is not None and is_forecast(time, lead_from):
        words, colour = f"{'forecast ' if kind else ''}{lead_label(time, lead_from)} ({time_label(time)})", FORECAST_INK
    axes.set_title(words, fontsize=10.5 if kind else 8.5, weight="bold" if kind else "normal", color=colour, pad=4)
