"""A comparison for people: scores, differences to the first run, skill."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from data_prep.console import wide_console
from ds_nowcast.comparing.bootstrap import Estimate
from ds_nowcast.comparing.comparison import Comparison
from ds_nowcast.comparing.evaluated import Floats
from ds_nowcast.comparing.scores import Score

_BETWEEN = 2  # characters between columns
_DIGITS = {"mse": 5, "mae": 5}  # of scores; of CSI 3, of its differences 4, of skill 3
EXCLUDES = "*"  # behind what is signed and of which the interval excludes 0


class _Part(NamedTuple):
    """One table: rows (place among the forecasts, name), and whether numbers are differences, skill or plain."""

    title: str
    estimates: Estimate
    rows: Sequence[tuple[int, str]]
    kind: Literal["score", "difference", "skill"]


def show(found: Comparison, *, quiet: bool = False) -> None:
    """Prints it. quiet: without what was scored and how."""
    console = wide_console()
    if not quiet:
        says = f"{found.title}; {found.method}; MSE and MAE in model space [0, 1]; {EXCLUDES} the interval excludes 0"
        console.print(says, markup=False, soft_wrap=True)
    for part in _parts(found):
        for table in _tables(part, found.columns, console.width):
            console.print(table)
    for note in found.notes:
        console.print(f"beware: {note}", markup=False, soft_wrap=True)


def _parts(found: Comparison) -> Iterator[_Part]:
    everyone = list(enumerate(found.names))
    yield _Part("Scores", found.scores_SM, everyone, "score")
    if len(everyone) > 1:
        yield _Part(f"Difference to {found.names[0]}, paired", found.difference_SM, everyone[1:], "difference")
    for reference, estimates in found.skill_SM.items():
        better = found.names[: len(found.matched.runs)]
        better += ["extrapolation"] if reference == "persistence" else []
        rows = [(i, name) for i, name in everyone if name in better]
        yield _Part(f"Skill against {reference} (1 is perfect, 0 no better)", estimates, rows, "skill")


def _tables(part: _Part, columns: Sequence[Score], width: int) -> Iterator[Table]:
    """As many, below each other, as the columns need."""
    cells = [[_cell(part, i, place, column) for place, column in enumerate(columns)] for i, _ in part.rows]
    names = min(max(len(name) for _, name in part.rows), width // 3)
    for group in _groups(columns, cells, width - names - _BETWEEN - 1):
        title = Text(part.title) if 0 in group else None
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left", title_style="bold")
        table.add_column("", overflow="fold", width=names)
        for place in group:
            table.add_column(Text(columns[place].label), justify="right", no_wrap=True)
        for (_, name), row in zip(part.rows, cells, strict=True):
            table.add_row(Text(name), *(Text(row[place]) for place in group))
        yield table


def _groups(columns: Sequence[Score], cells: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Columns that fit beside each other."""
    groups, left = [[0]], width
    for place, column in enumerate(columns):
        lines = [column.label, *(line for row in cells for line in row[place].split("\n"))]
        needs = max(map(len, lines)) + _BETWEEN
        if needs > left and place > 0:
            groups.append([])
            left = width
        if place > 0:
            groups[-1].append(place)
        left -= needs
    return groups


def _cell(part: _Part, i: int, place: int, column: Score) -> str:
    """A number, its interval below it: "-" where undefined, and where there is no interval."""
    digits = 3 if part.kind == "skill" else _DIGITS.get(column.name, 4 if part.kind == "difference" else 3)
    sign = "" if part.kind == "score" else "+"

    def number(of: Floats) -> str:
        return "-" if math.isnan(of[i, place]) else f"{of[i, place]:{sign}.{digits}f}"

    found = part.estimates
    mark = EXCLUDES if sign and found.excludes_0[i, place] else ""
    interval = "-" if math.isnan(found.low[i, place]) else f"{number(found.low)} to {number(found.high)}"
    return f"{number(found.value)}{mark}\n{interval}"
