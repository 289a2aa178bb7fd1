"""What lies behind the lines of a chart, for comparison.

That of a performance diagram is for POD against success ratio SR, 1 - FAR (Roebber 2009, Weather and Forecasting 24,
601-608). Where both are known, so are CSI and bias: 1 / CSI = 1 / SR + 1 / POD - 1, bias = POD / SR.
Lines of equal CSI are curves, lines of equal bias are rays from the origin; a perfect forecast is in the upper right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.pictures.colours import SOFT_INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTTED: dict[str, Any] = {"color": SOFT_INK, "linewidth": 1.0, "linestyle": (0, (1.0, 2.0)), "zorder": 1.5}
_CSI = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_BIAS = (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)


def pod_of(csi: float, success_ratio: float) -> float:
    """The POD of a CSI at a success ratio, both over 0 and success_ratio > csi."""
    return 1.0 / (1.0 / csi - 1.0 / success_ratio + 1.0)


def draw_performance(axes: Axes) -> None:
    """CSI as curves, bias as dashed rays, both with their numbers, and equal axes from 0 to 1."""
    thin: dict[str, Any] = {"color": SOFT_INK, "linewidth": 0.55, "zorder": 1.0, "alpha": 0.75}
    for csi in _CSI:
        ratios = np.linspace(csi, 1.0, 60)
        axes.plot(ratios, [pod_of(csi, ratio) if ratio > csi else 1.0 for ratio in ratios], "-", **thin)
        # on the curve, below the diagonal, where forecasts of rain seldom lie
        axes.text(0.985, pod_of(csi, 0.985), f"{csi:g}", fontsize=6.5, color=SOFT_INK, ha="right", va="bottom")
    for bias in _BIAS:
        end = (1.0, bias) if bias <= 1.0 else (1.0 / bias, 1.0)
        axes.plot((0.0, end[0]), (0.0, end[1]), dashes=(4.0, 3.0), **thin)
        at = (1.015, bias) if bias <= 1.0 else (1.0 / bias, 1.015)
        side: dict[str, Any] = {"ha": "left", "va": "center"} if bias <= 1.0 else {"ha": "center", "va": "bottom"}
        axes.text(*at, f"bias {bias:g}", fontsize=6.5, color=SOFT_INK, **side)
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), aspect="equal")
    axes.grid(visible=False)


def draw_level(axes: Axes, value: float) -> None:
    """A dotted line at a number of y."""
    axes.axhline(value, **_DOTTED)


def draw_diagonal(axes: Axes) -> None:
    """A dotted line where y equals x, and axes of the same ends."""
    ends = [*axes.get_xlim(), *axes.get_ylim()]
    low, high = min(ends), max(ends)
    axes.plot((low, high), (low, high), **_DOTTED)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
