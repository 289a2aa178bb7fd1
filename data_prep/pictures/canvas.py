"""Blank pages and what is drawn on them with matplotlib; the one door to it (extra `pictures`)."""

from __future__ import annotations

import io
import math
import re
import textwrap
from typing import TYPE_CHECKING, Literal

import numpy as np

from data_prep.errors import not_installed
from data_prep.pictures.colours import DRY, INK, LINES, NO_DATA, RULE, SOFT_INK, ColourScale
from data_prep.pictures.indexed import indexed_png
from data_prep.pictures.page import Page

if TYPE_CHECKING:
    from matplotlib.colors import BoundaryNorm, Colormap
    from matplotlib.figure import Figure

DPI = 150
_VARIABLES = {INK: "--ink", SOFT_INK: "--soft", RULE: "--rule"} | {
    colour: f"--line-{i}" for i, (colour, _, _) in enumerate(LINES)
}


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


def small_png(figure: Figure) -> bytes:
    """The page in 256 colours: a third of the bytes, for a page with several."""
    pixels = io.BytesIO()
    figure.savefig(pixels, format="rgba")
    wide, high = figure.canvas.get_width_height()
    return indexed_png(np.frombuffer(pixels.getvalue(), np.uint8).reshape(high, wide, 4)[..., :3])


def svg(figure: Figure, name: str) -> str:
    """The page as an `<svg>` element to stand in HTML: as wide as there is room, no ground, words as text.

    Our inks and lines are CSS variables (`--ink`, `--soft`, `--rule`, `--line-0` ... of `colours.LINES`) with their
    colours on paper as defaults, so that a page can follow a dark theme. name: told apart from the page's other charts.
    """
    from matplotlib import rc_context

    picture = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(picture, format="svg", transparent=True, metadata=nothing)
    text = picture.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for length in ("width", "height"):
        text = re.sub(rf'(<svg[^>]*?) {length}="[^"]*"', r"\1", text, count=1)
    named = set(re.findall(r'#([^")]+)"?\)?', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in named else "", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(f": {colour}", f": var({variable}, {colour})")
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def write_title(figure: Figure, page: Page, period: str) -> None:
    """The title, and below it what time it is about."""
    for i, line in enumerate(page.title_lines):
        figure.text(*page.line(i), line, fontsize=11, weight="bold", color=INK, va="top", parse_math=False)
    figure.text(*page.line(len(page.title_lines)), period, fontsize=8.5, color=SOFT_INK, va="top")


def draw_colour_bar(figure: Figure, page: Page, scale: ColourScale, rows: slice = slice(None)) -> None:
    """On the right of those rows of panels, with keys for dry and no data below them all."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Rectangle

    place = page.colour_bar(rows)
    axes = figure.add_axes(place)
    extend = "max" if scale.below == "white" else "both"
    bar = figure.colorbar(ScalarMappable(*norm_and_colours(scale)), cax=axes, extend=extend)
    height_in = place[3] * page.height_in
    labelled = scale.bounds[:: math.ceil(len(scale.bounds) * 0.15 / height_in)]
    bar.set_ticks(labelled, labels=[f"{bound:.3g}" for bound in labelled])
    axes.tick_params(labelsize=7.5, length=2.0, color=SOFT_INK, labelcolor=INK)
    bar.set_label(textwrap.fill(scale.label, max(int(height_in / 0.068), 14)), fontsize=8.5, color=INK, labelpad=6.0)
    if scale.below != "white":
        return
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
        colours.with_extremes(under=scale.below, over=scale.colours[-1], bad=clear),
    )
