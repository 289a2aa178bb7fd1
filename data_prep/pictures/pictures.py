"""Pictures of radar fields and of scores; the one door to matplotlib (extra `pictures`).

Axes of arrays: T frames, H rows (north first), W columns.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.encoding import Unit
from data_prep.errors import UserError
from data_prep.files import write_atomically
from data_prep.frames import Grid
from data_prep.pictures.colours import DRY, FORECAST_INK, INK, LINES, NO_DATA, SOFT_INK, ColourScale, colour_scale
from data_prep.pictures.gif import endless_gif
from data_prep.pictures.page import Page, evenly, field_size, is_forecast, lead_label, period_label, time_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import BoundaryNorm, Colormap
    from matplotlib.figure import Figure


class Strip(NamedTuple):
    """A row of pictures.

    label: what it shows. values: float32 (T, H, W) in the picture's unit, NaN where there is no data. times: T, UTC.
    """

    label: str
    values: NDArray[np.float32]
    times: Sequence[datetime]


class Panel(NamedTuple):
    """One chart of several: its title and, by name, the x and y of each line (a NaN in y leaves a gap)."""

    title: str
    series: Mapping[str, tuple[ArrayLike, ArrayLike]]


def film_strip(
    path: Path,
    rows: Sequence[Strip],
    *,
    unit: Unit,
    grid: Grid | None,
    title: str,
    columns: int = 6,
    lead_from: datetime | None = None,
) -> None:
    """Writes a PNG with a row of at most `columns` frames per strip, evenly chosen, the first and the last among them.

    grid: gives the axes in km from the south-west corner; None means pixels. lead_from: the time of the last
    observation; frames after it are headed by their lead time. Raises UserError where matplotlib is not installed.
    """
    assert rows
    assert columns > 0
    assert all(len(row.times) == len(row.values) > 0 for row in rows)
    chosen = [evenly(len(row.times), columns) for row in rows]
    shown = [[row.times[frame] for frame in frames] for row, frames in zip(rows, chosen, strict=True)]
    page = Page(
        size=field_size(rows[0].values.shape[1:], grid),
        columns=max(map(len, shown)),
        headed=tuple(i == 0 or times != shown[i - 1] for i, times in enumerate(shown)),
        title=title,
    )
    figure = _figure(page.width_in, page.height_in)
    _write_title(figure, page, period_label([time for times in shown for time in times], lead_from))
    _draw_colour_bar(figure, page, colour_scale(unit))
    for i, row in enumerate(rows):
        _write_row_label(figure, page, i, row.label)
        for j, frame in enumerate(chosen[i]):
            axes = figure.add_axes(page.panel(i, j))
            _draw_field(axes, row.values[frame], colour_scale(unit), page.size)
            lowest = i + 1 == len(rows) or j >= len(chosen[i + 1])
            _mark_distances(axes, page.size, "km" if grid else "pixels", left=j == 0, bottom=lowest)
            if page.headed[i]:
                _write_time(axes, row.times[frame], lead_from)
    write_atomically(path, _png(figure))


def forecast_picture(path: Path, past: Strip, forecast: Strip, *, unit: Unit, grid: Grid | None, title: str) -> None:
    """Writes a PNG: the last observed frames above, the forecast by lead time below. Raises as `film_strip`."""
    length = len(forecast.times)
    last = Strip(past.label, past.values[-length:], past.times[-length:])
    film_strip(path, [last, forecast], unit=unit, grid=grid, title=title, lead_from=past.times[-1])


def forecast_gif(path: Path, past: Strip, forecast: Strip, *, unit: Unit, grid: Grid | None, title: str) -> None:
    """Writes a GIF without end: the observed frames, then the forecast, resting on its last. Raises as `film_strip`."""
    issued = past.times[-1]
    page = Page(field_size(past.values.shape[1:], grid), 1, (True,), title)
    figure = _figure(page.width_in, page.height_in)
    _write_title(figure, page, period_label(past.times, issued))
    _draw_colour_bar(figure, page, colour_scale(unit))
    axes = figure.add_axes(page.panel(0, 0))
    _mark_distances(axes, page.size, "km" if grid else "pixels", left=True, bottom=True)
    pages = []
    for strip in (past, forecast):
        for field_HW, time in zip(strip.values, strip.times, strict=True):
            for earlier in list(axes.images):
                earlier.remove()
            _draw_field(axes, field_HW, colour_scale(unit), page.size)
            _write_time(axes, time, issued, kind=True)
            pages.append(_png(figure))
    write_atomically(path, endless_gif(pages))


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
    figure = _figure(
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
    write_atomically(path, _png(figure))


def _figure(width_in: float, height_in: float, layout: Literal["constrained"] | None = None) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise UserError(
            f"pictures need {missing.name}, which is not installed; install DS-Nowcast with its extra [pictures]"
        ) from missing
    return Figure(figsize=(width_in, height_in), dpi=150, facecolor="white", layout=layout)


def _write_title(figure: Figure, page: Page, period: str) -> None:
    for i, line in enumerate(page.title_lines):
        figure.text(*page.line(i), line, fontsize=11, weight="bold", color=INK, va="top")
    figure.text(*page.line(len(page.title_lines)), period, fontsize=8.5, color=SOFT_INK, va="top")


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


def _draw_field(axes: Axes, field_HW: NDArray[np.float32], scale: ColourScale, size: tuple[float, float]) -> None:
    """Steps of colour; white where dry; where there is no data the field is clear and the hatched ground shows."""
    axes.patch.set(linewidth=0.0, **NO_DATA)
    norm, colours = _norm_and_colours(scale)
    axes.imshow(
        np.clip(field_HW, scale.bounds[0] - 1.0, 2.0 * scale.bounds[-1]),  # matplotlib takes -inf dBZ for no data
        norm=norm,
        cmap=colours,
        extent=(0.0, size[1], 0.0, size[0]),
        interpolation_stage="rgba",  # a shrunken picture mixes colours: it must not invent values between NaN and rain
    )


def _mark_distances(axes: Axes, size: tuple[float, float], unit: str, *, left: bool, bottom: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    marks = [MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(0.0, length) for length in size]
    axes.set_yticks([mark for mark in marks[0] if 0 <= mark <= 0.93 * size[0]])
    axes.set_xticks([mark for mark in marks[1] if 0 <= mark <= 0.93 * size[1]])
    axes.tick_params(labelsize=7.5, length=2.5, color=SOFT_INK, labelcolor=SOFT_INK, labelleft=left, labelbottom=bottom)
    axes.set(xlim=(0.0, size[1]), ylim=(0.0, size[0]))
    axes.set_ylabel(unit if left else "", fontsize=7.5, color=SOFT_INK, labelpad=1.0)
    axes.set_xlabel(unit if bottom else "", fontsize=7.5, color=SOFT_INK, labelpad=1.0)
    for spine in axes.spines.values():
        spine.set(color=SOFT_INK, linewidth=0.6)


def _draw_colour_bar(figure: Figure, page: Page, scale: ColourScale) -> None:
    """On the right of the panels, with keys for dry and no data below it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Rectangle

    axes = figure.add_axes(page.colour_bar())
    bar = figure.colorbar(ScalarMappable(*_norm_and_colours(scale)), cax=axes, extend="max")
    height_in = page.colour_bar()[3] * page.height_in
    labelled = scale.bounds[:: math.ceil(len(scale.bounds) * 0.15 / height_in)]
    bar.set_ticks(labelled, labels=[f"{bound:.3g}" for bound in labelled])
    axes.tick_params(labelsize=7.5, length=2.0, color=SOFT_INK, labelcolor=INK)
    bar.set_label(textwrap.fill(scale.label, max(int(height_in / 0.068), 14)), fontsize=8.5, color=INK, labelpad=6.0)
    for i, (label, look) in enumerate((("dry", DRY), ("no data", NO_DATA))):
        left, bottom, width, height = page.key(i)
        corner, where = (left, bottom), figure.transFigure
        figure.add_artist(Rectangle(corner, width, height, transform=where, linewidth=0.5, **look))
        figure.text(left + 1.5 * width, bottom + height / 2, label, fontsize=7.5, color=INK, va="center")


def _norm_and_colours(scale: ColourScale) -> tuple[BoundaryNorm, Colormap]:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = ListedColormap(scale.colours[:-1])
    clear = (1.0, 1.0, 1.0, 0.0)
    return (
        BoundaryNorm(scale.bounds, len(scale.bounds) - 1),
        colours.with_extremes(under="white", over=scale.colours[-1], bad=clear),
    )


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


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
