"""Views as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_prep.building.account import show_gaps, show_left_out, show_splits
from data_prep.building.left_out import LeftOuts
from data_prep.encoding import Encoding, encoding_named
from data_prep.errors import counted
from data_prep.frames import pixel_in_words
from data_prep.inspection.archive import ArchiveView, ProductView
from data_prep.inspection.folder import FolderView, SplitView
from data_prep.inspection.places import Places
from data_prep.shards.statistics import Statistics
from data_prep.stats import statistics_table
from data_prep.times import iso

_BARS = " ▁▂▃▄▅▆▇█"
_BAR_WIDTH = 32
_HOLES = 3


def show_archive(console: Console, view: ArchiveView) -> None:
    """Each product: times, place, values, then gaps and what is left out."""
    how = " (found out by trying; --format says it)" if view.tried else ""
    for number, product in enumerate(view.products):
        if number:
            console.print()
        _print(console, [("archive", f"{view.format}{how}"), *_about_product(product)])
        show_gaps(console, product.gaps)
        show_left_out(console, product.left_out)


def _about_product(view: ProductView) -> list[tuple[str, str]]:
    lines = [("product", f"{view.product.name}, {view.product.unit}, every {view.cadence_s} s")]
    if view.first is None or view.last is None:
        lines.append(("frames", "none that a build would take"))
    else:
        events = f" of {counted(view.events, 'event')}" if view.events else ""
        lines += [
            (
                "frames",
                f"{counted(view.frames, 'frame')}{events} in {counted(view.files, 'file')}, {iso(view.first)} to {iso(view.last)}",
            ),
            ("runs", f"{len(view.runs)} without a gap, the longest of {counted(view.runs[0], 'frame')}"),
        ]
    if not view.looks:
        return lines
    grids = view.grids
    rows, columns = grids[0].shape
    shapes = len({(grid.shape, grid.pixel, grid.proj) for grid in grids})
    lines += [
        ("grid", f"{rows} x {columns} pixels of {pixel_in_words(grids[0].pixel, grids[0].unit)}"),
        *([("", f"the commonest of {shapes} in {counted(view.looked_at, 'frame')}")] if shapes > 1 else []),
        ("projection", grids[0].proj),
        *_about_places(view.places),
        ("looked at", f"{counted(view.looked_at, 'frame')}, as {view.product.encoding} codes"),
        *_about_values(
            view.statistics, view.product.unit, encoding_named(view.product.encoding), view.tally.code_counts
        ),
    ]
    return lines


def _about_values(found: Statistics, unit: str, encoding: Encoding, counts: Sequence[int]) -> list[tuple[str, str]]:
    lines = [("pixels", f"{found.missing_share:.2%} without data, of the others {found.wet_share:.2%} wet")]
    if values := found.values.get(unit):
        quantiles = ", ".join(f"{share}: {value:.4g}" for share, value in values.quantiles.items())
        lines.append((unit, f"mean {values.mean:.4g}, quantiles {quantiles}, max {values.max:.4g}"))
    return [*lines, ("codes", f"{code_bar(counts, encoding)}  low to high, logarithmic")]


def _about_places(places: Places) -> list[tuple[str, str]]:
    if places.unknown:
        return [("where", f"is not known: {places.unknown}")]
    if places.distinct == 1:
        corners = [
            f"{name} {'off the earth' if at is None else f'{at[0]:.3f} {at[1]:.3f}'}"
            for name, at in places.corners.items()
        ]
        return [("corners", f"{', '.join(corners)} (longitude, latitude)")]
    if places.box is None:
        return [("where", f"{places.distinct} places off the earth")]
    box = places.box
    span = f"longitude {box.west:.2f} to {box.east:.2f}, latitude {box.south:.2f} to {box.north:.2f}"
    return [("where", f"{places.distinct} places, {span}")]


def show_folder(console: Console, view: FolderView) -> None:
    """The archive in general, then a line for each split in several tables."""
    index = view.shards.index
    rows, columns = index.shape
    form = f"{counted(index.frames, 'frame')} of {rows} x {columns} pixels of {pixel_in_words(index.pixel, index.pixel_unit)}"
    builds, runs = len(index.builds), sum(len(note.spans) for note in index.builds)
    of = f", of {counted(runs, 'run')} without a gap" if runs else ""
    lines = [
        ("archive", f"{index.archive}, {index.unit}, every {index.cadence_s} s"),
        ("sequence", form),
        ("codes", f"{index.encoding}, {index.codec}, {index.frames_per_chunk} frames a chunk"),
        ("builds", f"{builds}{of}"),
        ("guard", f"{index.guard_s / 3600:g} hours between splits"),
        *_about_places(view.places),
    ]
    _print(console, lines)
    show_splits(console, index.splits)
    console.print(_time_table(view))
    console.print(_code_table(view))
    console.print(statistics_table(index, index.unit))
    for name, split in view.splits.items():
        _show_holes(console, name, split, index.splits[name].samples)
    if index.importance:
        _show_probabilities(console, view)
    show_left_out(console, LeftOuts(counts=dict(index.left_out)))


def _print(console: Console, lines: list[tuple[str, str]]) -> None:
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for what, text in lines:
        table.add_row(what, Text(text))
    console.print(table)


def _time_table(view: FolderView) -> Table:
    table = Table(box=None)
    for column in ("split", "first frame", "last frame"):
        table.add_column(column, no_wrap=True)
    for name, split in view.shards.index.splits.items():
        table.add_row(name, split.first_time[:16], split.last_time[:16])
    return table


def _code_table(view: FolderView) -> Table:
    table = Table(box=None)
    for column in ("split", "how often each code, low to high"):
        table.add_column(column, no_wrap=True)
    for name, split in view.shards.index.splits.items():
        table.add_row(name, code_bar(split.code_counts, view.shards.index.codes))
    return table


def _show_holes(console: Console, name: str, view: SplitView, samples: int) -> None:
    if not view.holes:
        return
    of = f"its {samples}" if view.all_seen else f"{len(view.samples)} of its {samples}"
    longest = "; ".join(f"{hole.length} after {iso(hole.after)}" for hole in view.holes[:_HOLES])
    console.print(
        Text(f"{name}: {counted(len(view.holes), 'gap')} between {of} sequences, the longest: {longest}"),
        soft_wrap=True,
    )


def _show_probabilities(console: Console, view: FolderView) -> None:
    for name, split in view.splits.items():
        kept = [sample.probability for sample in split.samples]
        if kept:
            words = (
                f"{name}: kept with a probability of {sum(kept) / len(kept):.3g} in the mean, {min(kept):.3g} at least"
            )
            console.print(Text(f"{words} ({counted(len(kept), 'sequence')} looked at)"), soft_wrap=True)


def code_bar(counts: Sequence[int], encoding: Encoding) -> str:
    """A line of blocks, the frequency of seen codes from low to high; an eighth of height is a factor of ten.

    The scale is logarithmic because nearly all pixels of most archives are dry.
    """
    seen = np.array(counts[: encoding.missing if encoding.dtype == np.uint8 else 255], np.float64)
    binned = np.array([part.sum() for part in np.array_split(seen, _BAR_WIDTH)])
    highest = len(_BARS) - 1
    with np.errstate(divide="ignore"):
        heights = np.clip(np.ceil(highest + np.log10(binned / max(binned.max(), 1.0))), 0, highest)
    return "".join(_BARS[int(height)] for height in np.where(binned > 0, np.maximum(heights, 1), 0))
