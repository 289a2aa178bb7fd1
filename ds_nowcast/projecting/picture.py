"""A study and its projection as a picture: what was measured is solid, what is projected dashed in a band, or hatched."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.files import write_atomically, writing
from data_prep.pictures import canvas
from data_prep.pictures.axes import Axis, plain, set_axis
from data_prep.pictures.colours import INK, LINES, SOFT_INK
from ds_nowcast.projecting.outlook import Outlook, outlook, split
from ds_nowcast.projecting.points import PARTS, Point, of_mode
from ds_nowcast.projecting.projection import Mode
from ds_nowcast.projecting.report import Report
from ds_nowcast.projecting.table import ms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MODES: dict[Mode, tuple[str, str]] = {"weak": (LINES[0][0], "o"), "strong": (LINES[1][0], "s")}  # colour, marker
_PARTS = dict(zip(PARTS, ("#0072b2", "#d55e00", "#e69f00", "#009e73", "#b3b8be"), strict=True))
_RATES = {"stream": ("stream only", LINES[2]), "synthetic": ("synthetic data", LINES[3]), "full": ("full", LINES[0])}
_MANY = 14  # bars; with more of them the labels touch
_ROOM = 40.0  # times the largest number of ranks, for the words beside it


def check() -> None:
    """Raises UserError where no picture can be made, before hours are measured for it."""
    canvas.blank(1.0, 1.0)


def draw(path: Path, report: Report, samples: float) -> None:
    """Writes a PNG. samples: of the whole training, which turn rates into hours."""
    figure = canvas.blank(11.0, 7.6)
    figure.text(0.04, 0.985, textwrap.shorten(report.title, 120), fontsize=11.5, weight="bold", color=INK, va="top")
    figure.text(0.04, 0.953, _about(report), fontsize=8.5, color=SOFT_INK, va="top")
    places = ((0.07, 0.54), (0.56, 0.54), (0.07, 0.07), (0.56, 0.07))
    top_left, top_right, low_left, low_right = (figure.add_axes((x, y, 0.4, 0.325)) for x, y in places)
    curves = _curves(report)
    _rate(top_left, report, curves)
    _hours(top_right, report, curves, samples)
    _split(low_left, report)
    if report.rates:
        _alone(low_right, report)
    else:
        _efficiency(low_right, curves)
    _keys(figure, report)
    with writing(path):
        write_atomically(path, canvas.small_png(figure))


def _about(report: Report) -> str:
    if not report.points:
        return "projected from figures, not measured; the band is between their best and their worst"
    if not report.outlooks:
        return "measured; nothing could be projected"
    if not report.checked:
        return "the band lies between all communication hidden and none; no measured points were held back"
    held = "; ".join(f"{one.mode} at {one.ranks} {one.error:+.0%}" for one in report.checked)
    return f"the band lies between all communication hidden and none, and is as much wider as held-back points were missed: {held}"


def _curves(report: Report) -> dict[Mode, list[Outlook]]:
    """Projections of each mode at powers of two beside the numbers of ranks that were asked for."""
    found: dict[Mode, list[Outlook]] = {}
    for mode in dict.fromkeys(one.mode for one in report.outlooks):
        mine = [one for one in report.outlooks if one.mode == mode]
        most = max(one.ranks for one in mine)
        numbers = sorted({2**n for n in range(most.bit_length())} | {one.ranks for one in mine})
        dense = [outlook(mode, number, mine[0].task, mine[0].band) for number in numbers]
        found[mode] = [one for one in dense if one.likely is not None]
    return found


def _rate(axes: Axes, report: Report, curves: dict[Mode, list[Outlook]]) -> None:
    for mode, ones in curves.items():
        _projected(axes, mode, ones, [[s.samples_per_s for s in (o.likely, o.worst, o.best) if s] for o in ones])
    for mode in _MODES:
        _measured(axes, mode, [(point.ranks, point.samples_per_s) for point in of_mode(report.points, mode)])
    first = next(iter(of_mode(report.points, "weak")), None)
    start = _start(first, curves)
    if start is not None:
        ranks, rate, most = start
        axes.plot([ranks, most], [rate, rate * most / ranks], "-", color="#b3b8be", linewidth=0.9, zorder=0.5)
        axes.text(most, rate * most / ranks, "ideal ", fontsize=7, color=SOFT_INK, ha="right", va="bottom")
    _finish(axes, "Samples a second", Axis("ranks (GPUs)", True), Axis("samples / s", True))


def _start(first: Point | None, curves: dict[Mode, list[Outlook]]) -> tuple[float, float, float] | None:
    """Where ideal scaling begins (ranks, rate) and up to how many ranks it is drawn."""
    weak = curves.get("weak")
    if weak:
        return 1, weak[0].alone.samples_per_s, weak[-1].ranks
    return None if first is None else (first.ranks, first.samples_per_s, first.ranks * 2)


def _hours(axes: Axes, report: Report, curves: dict[Mode, list[Outlook]], samples: float) -> None:
    for mode, ones in curves.items():
        rows = [[h for h in map(one.hours, (one.likely, one.best, one.worst)) if h is not None] for one in ones]
        _projected(axes, mode, ones, rows)
    for mode in _MODES:
        points = [(point.ranks, samples / point.samples_per_s / 3600.0) for point in of_mode(report.points, mode)]
        _measured(axes, mode, points)
    asked = [one for one in report.outlooks if one.mode == "weak" and one.likely is not None]
    for number, one in enumerate(asked):
        hours = one.hours(one.likely)
        assert hours is not None
        axes.plot([one.ranks], [hours], "o", markersize=4.5, markerfacecolor="white", color=_MODES["weak"][0])
        above = number % 2 == 0  # in turns, so that neighbours on a flat line do not write over each other
        axes.annotate(
            f"{hours:.3g} h, {one.limit}", (one.ranks, hours), (7, 4) if above else (-7, -11),
            textcoords="offset points", fontsize=7.5, color=INK, ha="left" if above else "right",
        )  # fmt: skip
    right = max((one.ranks for one in asked), default=1) * _ROOM if asked else None
    _finish(
        axes, "Hours to train, and what limits them", Axis("ranks (GPUs)", True, (0.25, right)), Axis("hours", True)
    )


def _efficiency(axes: Axes, curves: dict[Mode, list[Outlook]]) -> None:
    for mode, ones in curves.items():
        alone = ones[0].alone.samples_per_s
        rows = [[s.samples_per_s / one.ranks / alone for s in (one.likely, one.worst, one.best) if s] for one in ones]
        _projected(axes, mode, ones, rows)
    _finish(
        axes, "Efficiency", Axis("ranks (GPUs)", True), Axis("samples/s a rank, against one alone", limits=(0.0, 1.05))
    )


def _projected(axes: Axes, mode: Mode, ones: Sequence[Outlook], rows: Sequence[Sequence[float]]) -> None:
    """A dashed line in its band. rows: likely, one end, other end."""
    if not ones:
        return
    ranks, colour = [one.ranks for one in ones], _MODES[mode][0]
    likely, low, high = ([row[i] for row in rows] for i in range(3))
    axes.fill_between(ranks, low, high, color=colour, alpha=0.13, linewidth=0.0)
    axes.plot(ranks, likely, "--", color=colour, linewidth=1.3)


def _measured(axes: Axes, mode: Mode, points: Sequence[tuple[int, float]]) -> None:
    if points:
        colour, marker = _MODES[mode]
        x, y = zip(*points, strict=True)
        axes.plot(x, y, f"-{marker}", color=colour, linewidth=1.8, markersize=5.0, zorder=3)


def _split(axes: Axes, report: Report) -> None:
    """Bars of a step of weak scaling: plain where measured, hatched where projected."""
    bars = [(str(p.ranks), dict(p.split_s), False) for p in of_mode(report.points, "weak")]
    bars += [
        (f"{one.ranks:,}", split(one.likely), True)
        for one in report.outlooks
        if one.mode == "weak" and one.likely is not None
    ]
    for place, (_, parts, projected) in enumerate(bars[:_MANY]):
        below, whole = 0.0, sum(parts.values())
        for part in PARTS:
            look: dict[str, Any] = {"hatch": "////", "edgecolor": "white", "alpha": 0.75} if projected else {}
            axes.bar(place, parts[part] / whole, 0.62, below, color=_PARTS[part], linewidth=0.0, **look)
            below += parts[part] / whole
        axes.text(place, 1.01, f"{ms(whole)} ms", fontsize=7.5, color=INK, ha="center", va="bottom")
    names = [name for name, _, _ in bars[:_MANY]]
    _finish(
        axes, "A step of weak scaling", Axis("ranks (hatched: projected)", words=names), Axis("share", limits=(0, 1.08))
    )


def _alone(axes: Axes, report: Report) -> None:
    """The three rates."""
    for name, (_, (colour, dash, marker)) in _RATES.items():
        points = [(i, getattr(rate, name)) for i, rate in enumerate(report.rates) if getattr(rate, name) is not None]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, dash + marker, color=colour, markersize=5.0)
    words = [str(rate.ranks) for rate in report.rates]
    axes.margins(x=0.15)
    _finish(axes, "Each part alone, measured", Axis("ranks", words=words), Axis("samples / s", True))


def _finish(axes: Axes, title: str, x: Axis, y: Axis) -> None:
    set_axis(axes, x, axes.xaxis)
    set_axis(axes, y, axes.yaxis)
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=20)
    axes.set_xlabel(x.label, fontsize=8.5, color=INK)
    axes.set_ylabel(y.label, fontsize=8.5, color=INK)
    plain(axes)


def _keys(figure: Figure, report: Report) -> None:
    """What colours and dashes mean, below each title."""
    modes = [
        (
            f"{mode}, {what}",
            {"color": _MODES[mode][0], "linestyle": dash, "marker": _MODES[mode][1] if dash == "-" else ""},
        )
        for mode in _MODES
        for what, dash in (("measured", "-"), ("projected", "--"))
        if (report.points if dash == "-" else report.outlooks)
    ]
    rates: list[tuple[str, dict[str, Any]]] = [
        (label, {"color": c, "linestyle": d, "marker": m}) for label, (c, d, m) in _RATES.values()
    ]
    parts: list[tuple[str, dict[str, Any]]] = [
        (part.replace("_", " "), {"color": _PARTS[part], "linewidth": 6.0}) for part in PARTS
    ]
    keys = (modes, modes, parts, rates if report.rates else modes)
    for axes, entries in zip(figure.axes, keys, strict=True):
        lines = [axes.plot([], [], label=label, **look)[0] for label, look in entries]
        axes.legend(
            handles=lines, loc="lower left", bbox_to_anchor=(-0.02, 0.985), ncols=5, fontsize=7, frameon=False,
            handlelength=1.9, columnspacing=0.9, labelcolor=INK,
        )  # fmt: skip
