"""What stands in a panel: a field, the lines of a map over it, and its axes.

Axes of arrays: H rows (north first), W columns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.frames import Grid
from data_prep.pictures.canvas import norm_and_colours
from data_prep.pictures.colours import BORDER, COAST, GRATICULE, NO_DATA, SOFT_INK, ColourScale
from data_prep.pictures.maps import map_lines
from data_prep.pictures.page import Extent, degree_marks, lat_label, lon_label, round_marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABEL_WIDTH, _LABEL_HEIGHT = 70.0, 30.0  # room for the words at a mark, in pixels of the picture
_SHARP = 2  # pixels of a field for each of the picture, more are passed over
_PLATE = {"facecolor": "white", "alpha": 0.65, "linewidth": 0.0, "pad": 0.6}  # below words that lie on a field


def draw_field(axes: Axes, field_HW: NDArray[np.float32], scale: ColourScale, extent: Extent) -> None:
    """Steps of colour; white where dry; where there is no data the field is clear and the hatched ground shows.

    Of a field with many more pixels than the panel every second (third...) is drawn, so that a continent costs no more.
    """
    axes.patch.set(linewidth=0.0, **NO_DATA)
    norm, colours = norm_and_colours(scale)
    box = axes.get_window_extent()
    step = max(1, min(int(field_HW.shape[0] / (box.height * _SHARP)), int(field_HW.shape[1] / (box.width * _SHARP))))
    rows, columns = (np.arange(0, length, step) for length in field_HW.shape)
    right, low = len(columns) * step / field_HW.shape[1], 1.0 - len(rows) * step / field_HW.shape[0]
    [[left, bottom], [right, top]] = extent.at(np.array([[0.0, low], [right, 1.0]]))
    rows, columns = (
        np.minimum(at + step // 2, length - 1) for at, length in zip((rows, columns), field_HW.shape, strict=True)
    )
    shown_HW = field_HW[np.ix_(rows, columns)] if step > 1 else field_HW
    axes.imshow(
        np.clip(shown_HW, scale.bounds[0] - 1.0, 2.0 * scale.bounds[-1]),  # matplotlib takes -inf dBZ for no data
        norm=norm,
        cmap=colours,
        extent=(left, right, bottom, top),
        aspect="auto",  # the panel has the field's shape on the ground
        interpolation_stage="rgba",  # a shrunken picture mixes colours: it must not invent values between NaN and rain
    )


def draw_map(axes: Axes, grid: Grid | None, *, labels: bool) -> None:
    """Coastlines, borders and a graticule over a field, as far as they can be worked out. labels: of the graticule."""
    lines = map_lines(grid) if grid is not None else None
    if lines is None:
        return
    for line, look in ((lines.graticule, GRATICULE), (lines.borders, BORDER), (lines.coasts, COAST)):
        axes.plot(*line.T, transform=axes.transAxes, scalex=False, scaley=False, **look)
    for words, edge, place in lines.labels if labels else ():
        across, up = (place, 0.015) if edge == "bottom" else (0.012, place)
        axes.text(
            across, up, words, transform=axes.transAxes, fontsize=5.5, color=SOFT_INK, bbox=_PLATE,
            ha="center" if edge == "bottom" else "left", va="bottom" if edge == "bottom" else "center",
        )  # fmt: skip


def mark_axes(axes: Axes, extent: Extent, *, left: bool, bottom: bool) -> None:
    """Limits and ticks, with words where `left` and `bottom` say so."""
    in_degrees, box = extent.unit == "degree", axes.get_window_extent()
    across = _marks(extent.left, extent.right, extent.unit, box.width / _LABEL_WIDTH)
    up = _marks(extent.bottom, extent.top, extent.unit, box.height / _LABEL_HEIGHT)
    axes.set_xticks(across, labels=[lon_label(mark) if in_degrees else f"{mark:g}" for mark in across])
    axes.set_yticks(up, labels=[lat_label(mark) if in_degrees else f"{mark:g}" for mark in up])
    axes.tick_params(labelsize=7.5, length=2.5, color=SOFT_INK, labelcolor=SOFT_INK, labelleft=left, labelbottom=bottom)
    axes.set(xlim=(extent.left, extent.right), ylim=(extent.bottom, extent.top))
    unit = "" if in_degrees else extent.unit
    axes.set_ylabel(unit if left else "", fontsize=7.5, color=SOFT_INK, labelpad=1.0)
    axes.set_xlabel(unit if bottom else "", fontsize=7.5, color=SOFT_INK, labelpad=1.0)
    for spine in axes.spines.values():
        spine.set(color=SOFT_INK, linewidth=0.6)


def _marks(low: float, high: float, unit: str, room_for: float) -> list[float]:
    """Round numbers, in degrees those of the graticule, none so near an end that its words meet the next panel's."""
    if unit != "degree":
        return [mark for mark in round_marks(low, high, 5) if mark <= high - 0.07 * (high - low)]
    marks = [mark for mark in degree_marks(low, high) if 0.07 <= (mark - low) / (high - low) <= 0.93]
    return marks[:: math.ceil(len(marks) / max(room_for, 1.0)) or 1]
