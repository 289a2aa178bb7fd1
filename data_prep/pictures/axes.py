"""What an axis of a chart counts, and where its marks are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from data_prep.pictures.colours import RULE, SOFT_INK
from data_prep.pictures.page import round_marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Axis(NamedTuple):
    """What an axis counts: its label with the unit, whether it is logarithmic, its ends (None: as the data have it).

    words: what stands at 0, 1, 2 ... in place of numbers. backwards: large values first.
    """

    label: str = ""
    log: bool = False
    limits: tuple[float | None, float | None] = (None, None)
    words: Sequence[str] = ()
    backwards: bool = False


def plain(axes: Axes) -> None:
    """A faint grid behind what is drawn, two spines, small marks."""
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8, color=SOFT_INK, labelcolor=SOFT_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT_INK)


def set_axis(axes: Axes, axis: Axis, side: Any) -> None:
    """Scale, ends and marks of one side (`axes.xaxis` or `axes.yaxis`), after the lines are drawn."""
    letter = "x" if side is axes.xaxis else "y"
    if axis.log:
        axes.set(**{f"{letter}scale": "log"})
    if axis.words:
        axes.set(**{f"{letter}ticks": range(len(axis.words)), f"{letter}ticklabels": axis.words})
    axes.set(**{f"{letter}lim": axis.limits})
    if axis.log:
        marks = _log_marks(*side.get_view_interval())
        side.set_ticks([], minor=True)
        side.set_ticks(marks, labels=[_in_digits(mark) for mark in marks])
    if axis.backwards:
        side.set_inverted(True)


def _log_marks(low: float, high: float, most: int = 7) -> list[float]:
    """At most `most` round numbers between two: 1, 2 and 5, or powers of ten alone, or every second one ...

    Where they are so near that hardly one of these lies between, evenly apart.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [digit * 10.0**power for power in powers for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]
    coarse = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(fine) < 3:
        return round_marks(low, high, most)
    return fine if len(fine) <= most else coarse[:: math.ceil(len(coarse) / most)]


def _in_digits(value: float) -> str:
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    digits, _, power = f"{value:.0e}".partition("e")
    return ("" if digits == "1" else f"{digits}·") + "10" + str(int(power)).translate(_SUPERSCRIPT)
