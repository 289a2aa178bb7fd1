"""A study and a projection for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from data_prep.console import wide_console
from ds_nowcast.projecting.collectives import Link
from ds_nowcast.projecting.outlook import Outlook
from ds_nowcast.projecting.outlook import split as split_of
from ds_nowcast.projecting.points import PARTS, bottleneck
from ds_nowcast.projecting.report import Report

_MODES = {
    "weak": "weak scaling: each rank's part of a step stays, the step grows",
    "strong": "strong scaling: the samples of a step stay",
}


def show(report: Report) -> None:
    """Prints it."""
    console = wide_console()
    if report.points:
        console.print(_measured(report))
    if report.rates:
        console.print(_rates(report))
    for line in _told(report):
        console.print(line, markup=False, soft_wrap=True)
    for mode in dict.fromkeys(one.mode for one in report.outlooks):
        console.print(_projected([one for one in report.outlooks if one.mode == mode]))
    for line in report.notes:
        console.print(line, markup=False, soft_wrap=True)


def _table(title: str, left: Sequence[str], right: Sequence[str], last: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    for name in last:
        table.add_column(name, no_wrap=True)
    return table


def _measured(report: Report) -> Table:
    parts = [part.replace("_", " ") for part in PARTS]
    table = _table(
        "measured: milliseconds of a step, mean of the ranks",
        ["scaling"],
        ["ranks", "samples", "samples/s", "efficiency", "step", *parts],
        ["held back by"],
    )
    for point in sorted(report.points, key=lambda point: (point.mode == "strong", point.ranks)):
        table.add_row(
            point.mode,
            str(point.ranks),
            str(point.total),
            rate(point.samples_per_s),
            f"{point.efficiency(report.first(point)):.0%}",
            ms(point.step_s),
            *(ms(point.split_s[part]) for part in PARTS),
            bottleneck(point.split_s, report.rates_at(point.ranks))[0],
        )
    return table


def _rates(report: Report) -> Table:
    table = _table(
        "measured: samples/s of each part alone (weak scaling)",
        [],
        ["ranks", "stream only", "synthetic data", "full"],
        ["held back by", "because"],
    )
    split_s = {point.ranks: point.split_s for point in report.points if point.mode == "weak"}
    for rates in report.rates:
        known = (rates.stream, rates.synthetic, rates.full)
        reason = bottleneck(split_s[rates.ranks], rates) if rates.ranks in split_s else ("-", "not measured")
        table.add_row(str(rates.ranks), *("-" if one is None else rate(one) for one in known), *reason)
    return table


def _told(report: Report) -> Iterator[str]:
    for what, why in report.failed.items():
        yield f"not measured: {what}: {why}"
    figures = report.figures
    if figures is None:
        return
    if report.link is not None:
        timed = f"{report.link.samples} timed collectives, {report.link.error:.0%} off"
        yield f"link          {_link(report.link.link)}, fitted to {timed}"
    if report.link is None or report.link.link != figures.link:
        yield f"projected to  {_link(figures.link)}"
    if report.sent_bytes:
        yield (
            f"collectives   {report.sent_bytes / 1e6:.3g} MB a step were seen, ZeRO {figures.traffic.stage} says "
            f"{report.expected_bytes / 1e6:.3g} MB"
        )
    if report.points:
        yield (
            f"exposed       {figures.exposed:.0%} of the collectives' predicted time is seen in a step, and {ms(figures.waiting_s)} ms in "
            "which ranks wait for each other"
        )
    for one in report.checked:
        ranks = ", ".join(map(str, one.fitted_to))
        yield (
            f"held back     {one.mode} scaling at {one.ranks} ranks, from {ranks}: {rate(one.predicted)} samples/s predicted, "
            f"{rate(one.measured)} measured, {one.error:+.1%}"
        )


def _link(link: Link) -> str:
    speed = "any number of" if math.isinf(link.bytes_per_s) else f"{link.bytes_per_s / 1e9:.3g}"
    return f"{speed} GB/s, {link.latency_s * 1e6:.3g} us"


def _projected(outlooks: Sequence[Outlook]) -> Table:
    table = _table(
        f"projected, not measured: {_MODES[outlooks[0].mode]}",
        [],
        [
            "ranks",
            "samples",
            "steps",
            "samples/s",
            "effic.",
            "hours",
            "best",
            "worst",
            "step ms",
            "comm.",
            "data",
            "shards",
        ],
        ["limit"],
    )
    for one in outlooks:
        table.add_row(*_row(one))
    return table


def _row(one: Outlook) -> list[str]:
    if one.likely is None:
        return [f"{one.ranks:,}", f"{one.task.total:,}", *["-"] * 10, "batch (ranks > samples)"]
    parts = split_of(one.likely)
    return [
        f"{one.ranks:,}",
        f"{one.likely.samples:,.0f}",
        f"{one.task.samples / one.likely.samples:,.0f}",
        rate(one.likely.samples_per_s),
        f"{one.efficiency:.0%}",
        *(hours(one.hours(of)) for of in (one.likely, one.best, one.worst)),
        ms(one.likely.seconds),
        ms(parts["communication"]),
        ms(parts["data_wait"]),
        "-" if one.shards is None else f"{one.shards:,}",
        "batch (step > epoch)" if one.limit == "batch" else one.limit,
    ]


def rate(value: float) -> str:
    """Of samples a second."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ms(seconds: float) -> str:
    """Seconds in milliseconds."""
    return f"{1e3 * seconds:,.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"


def hours(value: float | None) -> str:
    """Hours, of whatever size."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.01 else "<0.01"
