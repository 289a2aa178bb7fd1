"""Tables: of rich on a terminal; elsewhere a line a row, to be searched and cut by other tools."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_prep.errors import printable

_WIDER_THAN_ANY = 100_000  # columns: nothing is broken


def show(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; a column whose name begins with > is flush right."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_table(columns, rows, box.SIMPLE_HEAD))
        return
    drawn = Console(file=io.StringIO(), width=_WIDER_THAN_ANY, highlight=False, color_system=None)
    drawn.print(_table(columns, rows, None))
    assert isinstance(drawn.file, io.StringIO)
    sys.stdout.writelines(line.rstrip() + "\n" for line in drawn.file.getvalue().splitlines())


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], frame: box.Box | None) -> Table:
    table = Table(box=frame, pad_edge=False, padding=(0, 2, 0, 0) if frame is None else (0, 1))
    for name in columns:
        table.add_column(
            Text(name.removeprefix(">")), justify="right" if name.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def shown(value: Any) -> str:
    """A value as in the file, in one line that a terminal can be sent."""
    return printable(json.dumps(value, ensure_ascii=False))
