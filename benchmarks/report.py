"""What a benchmark found: a table for the reader, and JSON for whoever compares runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from platform import python_version
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.machine import accelerator, cores, package_version
from benchmarks.page import leave
from benchmarks.timing import Rates, Spread, fastest, ratio, spread

PACKAGES = (
    "torch", "deepspeed", "webdataset", "numpy", "h5py", "cramjam", "lz4", "zstandard", "litdata", "rasterio", "eccodes",
    "wradlib",
)  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """A ratio to reach: `ours` over the fastest of `against`."""

    ours: str
    against: list[str]
    at_least: float


@dataclass(frozen=True)
class Report:
    """Rates of all contenders, and the goals they are measured for."""

    name: str
    what: str  # the work and its size, a sentence
    unit: str
    rates: Rates
    goals: list[Goal]
    notes: dict[str, str] = field(default_factory=dict)  # by contender: what stands beside its rate
    absent: dict[str, str] = field(default_factory=dict)  # contenders that are not installed: how to install them

    def ratios(self) -> list[tuple[Goal, str, Spread]]:
        """Each goal, whom it was measured against, and the ratio."""
        chosen = [(goal, fastest(self.rates, goal.against)) for goal in self.goals]
        return [(goal, other, ratio(self.rates, goal.ours, other)) for goal, other in chosen]

    def to_dict(self) -> dict[str, Any]:
        """What goes into the JSON, date, versions and machine included."""
        return {
            "benchmark": self.name,
            "what": self.what,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"python": python_version(), **{package: package_version(package) for package in PACKAGES}},
            "machine": {"cores": cores(), "accelerator": accelerator()},
            "unit": self.unit,
            "rates": {name: {**asdict(spread(rounds)), "rounds": rounds} for name, rounds in self.rates.items()},
            "notes": self.notes,
            "absent": self.absent,
            "ratios": [
                {"ours": goal.ours, "against": other, **asdict(found), "to_reach": goal.at_least,
                 "reached": found.median >= goal.at_least}
                for goal, other, found in self.ratios()
            ],
        }  # fmt: skip


def publish(report: Report, folder: Path, console: Console) -> None:
    """Prints the table and writes `<folder>/<name>.json`, and the table for the page."""
    (folder / f"{report.name}.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    rounds = len(next(iter(report.rates.values())))
    heading = f"{report.what}; {cores()} cores, accelerator: {accelerator()}; median of {rounds} rounds (min - max)"
    console.print(Text(f"{report.name}: {heading}", "italic"))
    table = table_of(report)
    console.print(table)
    leave(folder, report.name, f"{report.what}; median of {rounds} rounds (min - max)", table)


def table_of(report: Report) -> Table:
    """Rates and ratios, a row each."""
    table = Table()
    for column, justify in (("", "left"), (report.unit, "right"), ("to reach", "right"), ("", "left")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for name, rates in report.rates.items():
        found = spread(rates)
        rate = f"{_short(found.median)} ({_short(found.least)} - {_short(found.most)})"
        table.add_row(Text(name), rate, "", report.notes.get(name, ""))
    for name, how in report.absent.items():
        table.add_row(Text(name), "absent", "", Text(how))
    table.add_section()
    for goal, other, found in report.ratios():
        table.add_row(
            Text(f"{goal.ours} / {other}"),
            f"{found.median:.2f} ({found.least:.2f} - {found.most:.2f})",
            f">= {goal.at_least:g}",
            "reached" if found.median >= goal.at_least else "[bold red]missed[/]",
        )
    return table


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
