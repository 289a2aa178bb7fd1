"""Blank pages and what is drawn on them with matplotlib; the one door to it (extra `pictures`)."""

from __future__ import annotations

import io
import math
import textwrap
from typing import TYPE_CHECKING, Literal

from data_prep.errors import not_installed
from data_prep.pictures.colours import DRY, INK, NO_DATA, SOFT_INK, ColourScale
from data_prep.pictures.page import Page

if TYPE_CHECKING:
    from matplotlib.colors import BoundaryNorm, Colormap
    from matplotlib.figure import Figure

DPI = 150


def blank(width_in: float, height_in: float, layout: Literal["constrained"] | None = None) -> Figure:
    """An empty page. Raises UserError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise not_installed("a picture", missing.name or "matplotlib", "pictures") from missing
    return Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white", layout=layout)


def png(figure: Figure) -> bytes:
    """The page as it stands."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def write_title(figure: Figure, page: Page, period: str) -> None:
    """The title, and below it what time it is about."""
    for i, line in enumerate(page.title_lines):
        figure.text(*page.line(i), line, fontsize=11, weight="bold", color=INK, va="top")
    figure.text(*page.line(len(page.title_lines)), period, fontsize=8.5, color=SOFT_INK, va="top")


def draw_colour_bar(figure: Figure, page: Page, scale: ColourScale) -> None:
    """On the right of the panels, with keys for dry and no data below it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Rectangle

    axes = figure.add_axes(page.colour_bar())
    bar = figure.colorbar(ScalarMappable(*norm_and_colours(scale)), cax=axes, extend="max")
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


def norm_and_colours(scale: ColourScale) -> tuple[BoundaryNorm, Colormap]:
    """A colour scale as matplotlib takes it; NaN is clear."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = ListedColormap(scale.colours[:-1])
    clear = (1.0, 1.0, 1.0, 0.0)
    return (
        BoundaryNorm(scale.bounds, len(scale.bounds) - 1),
        colours.with_extremes(under="white", over=scale.colours[-1], bad=clear),
    )
