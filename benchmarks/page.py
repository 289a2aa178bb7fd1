"""docs/performance.md's measured tables: each lies between two marks and is replaced by what its benchmark found last."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from benchmarks.machine import stamp
from data_prep.errors import UserError
from data_prep.files import write_atomically

ENDING = ".table.json"


@dataclass(frozen=True)
class Measured:
    """A table as a benchmark leaves it for the page."""

    name: str
    what: str  # the work and its size
    columns: list[str]
    rows: list[list[str]]


def leave(folder: Path, name: str, what: str, table: Table) -> None:
    """Writes a printed table's content to `folder`, in the form that `collected` reads."""
    columns = [_plain(column.header) for column in table.columns]
    rows = [[_plain(cell) for cell in row] for row in zip(*(column.cells for column in table.columns), strict=True)]
    content = json.dumps(asdict(Measured(name, what, columns, rows)), indent=1) + "\n"
    write_atomically(folder / f"{name}{ENDING}", content.encode())


def collected(folder: Path) -> list[Measured]:
    """The tables that were left in `folder`."""
    return [Measured(**json.loads(path.read_text())) for path in sorted(folder.glob(f"*{ENDING}"))]


def put(page: Path, tables: Sequence[Measured], command: str) -> list[str]:
    """Replaces the tables that have a place on the page. Returns the names of those that have none; raises UserError."""
    try:
        text = page.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{page} cannot be read ({error}); give the page with the tables' marks") from None
    homeless = []
    for table in tables:
        begin, end = _marks(table.name)
        places = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if places.search(text) is None:
            homeless.append(table.name)
            continue
        whole = f"{begin}\n{markdown(table, command)}\n{end}"
        text = places.sub(lambda _, whole=whole: whole, text)  # type: ignore[misc]
    write_atomically(page, text.encode())
    return homeless


def markdown(table: Measured, command: str) -> str:
    """What it is, where and when it was measured, and the table."""
    lines = [
        f"{table.what}. `{command}`; {stamp()}:",
        "",
        _row(table.columns),
        _row("---" for _ in table.columns),
        *(_row(cells) for cells in table.rows),
    ]
    return "\n".join(lines)


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- measured: {name} -->", f"<!-- end of {name} -->"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(cell: object) -> str:
    """Without rich's markup."""
    return (cell if isinstance(cell, Text) else Text.from_markup(str(cell))).plain.strip()
