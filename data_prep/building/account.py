"""What a build will do or did, in tables: each split, gaps, and what was left out and why."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_prep.building.left_out import LeftOuts
from data_prep.building.plan import Plan
from data_prep.building.sequences import Gap
from data_prep.errors import counted
from data_prep.frames import pixel_in_words
from data_prep.shards.index import Split
from data_prep.times import iso

_GAPS = 5


def in_bytes(number: float) -> str:
    """1.5 GB, in powers of 1000."""
    size, units = float(number), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"


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


def show_gaps(console: Console, gaps: Sequence[Gap]) -> None:
    """How many gaps there are, and the longest of them; nothing where there is none."""
    if not gaps:
        return
    missing = sum(gap.frames for gap in gaps)
    console.print(f"{counted(len(gaps), 'gap')} in time, {counted(missing, 'frame')} missing")
    for gap in sorted(gaps, key=lambda gap: (-gap.frames, gap.after))[:_GAPS]:
        event = f"{gap.event}, " if gap.event else ""
        console.print(
            Text(f"  {event}{counted(gap.frames, 'frame')} between {iso(gap.after)} and {iso(gap.before)}"),
            soft_wrap=True,
        )
    if len(gaps) > _GAPS:
        console.print(f"  and {len(gaps) - _GAPS} that are not longer")


def show_left_out(console: Console, left_out: LeftOuts) -> None:
    """A line for each reason, with how often and the first few that it met; nothing where nothing was left out."""
    for reason, count in left_out.by_count().items():
        console.print(Text(f"left out {count}: {reason}"), soft_wrap=True)
        examples = left_out.of_reason(reason)
        for item in examples:
            console.print(Text(f"  {item.what}{': ' if item.detail else ''}{item.detail}"), soft_wrap=True)
        if count > len(examples) > 0:
            console.print(Text(f"  and {count - len(examples)} more"))


def show_plan(console: Console, plan: Plan) -> None:
    """What a build would write."""
    table = Table(box=None)
    table.add_column("split")
    guess = plan.estimate
    columns = ["sequences", "samples at most", "raw size"] + (["samples about", "size about"] if guess else [])
    for column in columns:
        table.add_column(column, justify="right")
    for split in dict.fromkeys(task.split for task in plan.tasks):
        sequences = sum(len(task.sequences) for task in plan.tasks if task.split == split)
        most = plan.samples(split)
        cells = [split, str(sequences), str(most), in_bytes(most * plan.raw_bytes_per_sample)]
        if guess:
            about = sequences * guess.kept_per_sequence
            cells += [f"{about:.3g}" if about < 1000 else f"{about:.0f}", in_bytes(about * guess.bytes_per_sample)]
        table.add_row(*cells)
    console.print(table)
    rows, columns_ = plan.layout.shape
    pixel = pixel_in_words(plan.layout.pixel, plan.layout.pixel_unit)
    each = f"{counted(plan.frames, 'frame')} of {rows} x {columns_} pixels of {pixel} each as {plan.layout.encoding}"
    console.print(f"{each}, every {plan.cadence_s} s; nothing written")
    if guess:
        console.print(f"samples and sizes that are about so were estimated from {counted(guess.frames, 'frame')}")
    show_gaps(console, plan.gaps)
    show_left_out(console, plan.left_out)
