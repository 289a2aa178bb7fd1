"""What an archive holds: products, times and gaps from its headers, values and places from a few frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from data_prep.building.left_out import LeftOuts
from data_prep.building.sequences import Gap, complete, find_runs, in_order
from data_prep.console import progress
from data_prep.encoding import encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Grid
from data_prep.inspection.formats import find_format
from data_prep.inspection.places import Places, places_of
from data_prep.inspection.samples import FRAMES_OF_EVENT, Look, evenly_chosen, look_at, sum_of
from data_prep.readers import LeftOut, Product, Reader, Recording, Scan, reader_named
from data_prep.shards.statistics import Statistics, statistics_of
from data_prep.shards.tally import CodeTally
from data_prep.workers import Pool

PICTURES = 15  # frames of which small pictures are kept


@dataclass(frozen=True)
class ProductView:
    """One product of an archive.

    frames, files, first, last: of what a build would take by itself. runs: their numbers of frames, without a gap, the
    longest first. gaps: between them. looks: a few recordings that were read, in order of time
    (of those that a build leaves out, where there are no others).
    """

    product: Product
    cadence_s: int
    frames: int
    files: int
    first: datetime | None
    last: datetime | None
    events: int
    runs: list[int]
    gaps: list[Gap]
    left_out: LeftOuts
    looks: list[Look]

    @property
    def tally(self) -> CodeTally:
        """Of the frames that were looked at."""
        return sum_of(look.tally for look in self.looks)

    @property
    def statistics(self) -> Statistics:
        """Of the frames that were looked at, through the product's default encoding."""
        return statistics_of(self.tally, encoding_named(self.product.encoding))

    @property
    def looked_at(self) -> int:
        """Frames."""
        return sum(len(look.times) for look in self.looks)

    @property
    def grids(self) -> list[Grid]:
        """Distinct ones of the frames that were looked at, the commonest first."""
        return [grid for grid, _ in Counter(look.grid for look in self.looks).most_common()]

    @property
    def places(self) -> Places:
        """Where they are."""
        return places_of(self.grids)


@dataclass(frozen=True)
class ArchiveView:
    """products: the one with the most frames first. tried: whether the format was found out by trying."""

    format: str
    tried: bool
    products: list[ProductView]


def look_at_archive(
    sources: Sequence[str], format_name: str | None, product: str | None, sample: int, pool: Pool, quiet: bool = True
) -> ArchiveView:
    """What is in the files of `sources`.

    sample: about so many frames of each product are read. Raises UserError where the format cannot be told, or nothing can
    be read as it is.
    """
    name = format_name or find_format(sources, pool.each)
    reader = reader_named(name)
    views = [_view(name, scan, sample, pool, quiet) for scan in _scans(reader, sources, product, pool, quiet)]
    return ArchiveView(name, format_name is None, sorted(views, key=lambda view: -view.frames))


def _scans(reader: Reader, sources: Sequence[str], product: str | None, pool: Pool, quiet: bool) -> Iterator[Scan]:
    """Of the product that is asked for, or of each there is; files are opened once."""
    once = _Once(pool, quiet)
    try:
        yield reader.scan(sources, product, once)
    except UserError:
        products = once.products() if product is None else []
        if len(products) < 2:
            raise
        yield from (reader.scan(sources, name, once) for name in products)


class _Once:
    """An `Each` that keeps what files answered for who asks again."""

    def __init__(self, pool: Pool, quiet: bool) -> None:
        self._pool, self._quiet = pool, quiet
        self._items: list[Any] | None = None
        self._answers: list[Any] = []

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        if self._items != list(items):
            self._items, self._answers = list(items), []
            with progress("files", len(items), quiet=self._quiet) as advance:
                for answer in self._pool.each(function, items):
                    self._answers.append(answer)
                    advance(1)
        return iter(self._answers)

    def products(self) -> list[str]:
        """The names of what the files hold."""
        listed = [answer for answer in self._answers if not isinstance(answer, RadarFileError)]
        return list(dict.fromkeys(entry.product.name for one in listed for _, entry in one.entries))


def _view(name: str, scan: Scan, sample: int, pool: Pool, quiet: bool) -> ProductView:
    usable, left_out = complete(in_order(scan.recordings), "build takes it with --max-missing F")
    runs, gaps, repeated = find_runs(usable, scan.cadence_s)
    times = [time for run in runs for time in (run.times[:1] + run.times[-1:])]
    looks, unreadable = _looks(name, scan.product, usable or scan.recordings, sample, pool, quiet)
    return ProductView(
        product=scan.product,
        cadence_s=scan.cadence_s,
        frames=sum(len(run.times) for run in runs),
        files=len({recording.label for recording in usable}),
        first=min(times, default=None),
        last=max(times, default=None),
        events=len({recording.event for recording in usable if recording.event}),
        runs=sorted((len(run.times) for run in runs if run.times), reverse=True),
        gaps=gaps,
        left_out=LeftOuts.of([*scan.left_out, *left_out, *repeated, *unreadable]),
        looks=looks,
    )


def _looks(
    name: str, product: Product, recordings: list[Recording], sample: int, pool: Pool, quiet: bool
) -> tuple[list[Look], list[LeftOut]]:
    of_each = min(len(recordings[0].times), FRAMES_OF_EVENT) if recordings else 1
    chosen = [recordings[number] for number in evenly_chosen(len(recordings), -(-sample // of_each))]
    drawn = evenly_chosen(len(chosen), PICTURES // of_each)
    looks, unreadable = list[Look](), list[LeftOut]()
    with progress("frames", len(chosen) * of_each, quiet=quiet) as advance:
        for found in look_at(reader_named(name), chosen, product.encoding, drawn, pool):
            looks.append(found) if isinstance(found, Look) else unreadable.append(found)
            advance(of_each)
    return looks, unreadable
