"""What a build did, in two tables: each split, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_prep.readers import LeftOut
from data_prep.shards.index import Split

_DETAILS = 3


def in_bytes(number: int) -> str:
    """1.5 GB, in powers of 1000."""
    size, units = float(number), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"


def count_reasons(left_out: Iterable[LeftOut]) -> dict[str, int]:
    """How many were left out by each reason, the commonest first."""
    counts = Counter(item.reason for item in left_out)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def show_splits(console: Console, splits: dict[str, Split]) -> None:
    """A line for each split."""
    table = Table(box=None)
    table.add_column("split")
    for column in ("sequences", "shards", "size", "missing", "wet"):
        table.add_column(column, justify="right")
    for name, split in splits.items():
        size = in_bytes(sum(shard.bytes for shard in split.shards))
        shares = f"{split.missing_share:.2%}", f"{split.wet_share:.2%}"
        table.add_row(name, str(split.samples), str(len(split.shards)), size, *shares)
    console.print(table)


def show_left_out(console: Console, left_out: list[LeftOut]) -> None:
    """A line for each reason, with how often and the first few that it met; nothing where nothing was left out."""
    for reason, count in count_reasons(left_out).items():
        console.print(Text(f"left out {count}: {reason}"), soft_wrap=True)
        alike = [item for item in left_out if item.reason == reason]
        for item in alike[:_DETAILS]:
            console.print(Text(f"  {item.what}{': ' if item.detail else ''}{item.detail}"), soft_wrap=True)
        if count > _DETAILS:
            console.print(Text(f"  and {count - _DETAILS} more"))
