"""SEVIR's vertically integrated liquid (VIL): events of 384 x 384 km and 49 frames, 5 minutes apart.

`CATALOG.csv` beside the folder `data`; its rows with img_type "vil" name an HDF5 file below `data` and an event in it.
A file holds `id` (N,) text and `vil` (N, rows, columns, frames) uint8: time last, row 0 in the south, codes 0..254
for kg/m2 and 255 for no data (Veillette et al. 2020, NeurIPS; tutorial of MIT-AI-Accelerator/eie-sevir).
"""

from __future__ import annotations

import csv
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import ENCODINGS
from data_prep.errors import RadarFileError, UserError
from data_prep.files import is_inside
from data_prep.frames import Grid, RadarFrame, metric_proj
from data_prep.projection import ProjectionError, corner_of
from data_prep.readers import Each, LeftOut, Product, Reader, Recording, Scan, in_turn
from data_prep.readers.files import matches
from data_prep.readers.hdf5 import as_text, dataset, open_hdf5, require_h5py

VIL, CADENCE_S = Product("vil", "kg/m2"), 300
CATALOG = "CATALOG.csv"
COLUMNS = (
    "id", "file_name", "file_index", "img_type", "time_utc", "minute_offsets", "llcrnrlat", "llcrnrlon", "proj",
    "size_x", "size_y", "height_m", "width_m", "pct_missing",
)  # fmt: skip
EXPECTED = f"give a folder with {CATALOG} and data/, that {CATALOG}, or .h5 files below its data/"
_LEVELS_UP = 4  # <root>/data/vil/<year>/<file>.h5
_SPREADSHEET_TIME = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")
_Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class SevirRecording(Recording):
    """One event, with the grid that its catalog row gives (row 0 in the north)."""

    grid: Grid


class SevirReader:
    """SEVIR's VIL events in the archive's own layout."""

    name = "sevir"
    split_dates: tuple[str, str] | None = ("2019-01-01", "2019-06-01")  # of the published VIL benchmarks

    def scan(self, sources: Sequence[str], product: str | None = None, each: Each = in_turn) -> Scan:
        """Lists the events of the catalogs that `sources` name or belong to; opens no picture.

        Left out are ids that occur more than once, absent files and unusable rows; pct_missing above 0 is noted.
        Raises UserError where a source, a catalog, a column or any VIL row is missing, or a spreadsheet damaged it.
        """
        require_h5py()
        if product not in (None, VIL.name):
            raise UserError(f"format sevir has no product {product!r}; it has {VIL.name}")
        scan = Scan(VIL, CADENCE_S, [])
        for catalog, chosen in _catalogs(sources).items():
            for found in _events(catalog, chosen):
                scan.left_out.append(found) if isinstance(found, LeftOut) else scan.recordings.append(found)
        return scan

    def read(self, recording: Recording) -> list[RadarFrame]:
        """The event's frames, its codes bit for bit. Raises RadarFileError where file and catalog do not agree."""
        assert isinstance(recording, SevirRecording)
        codes_THW = _codes(recording)
        vil255 = ENCODINGS[VIL.encoding]
        return [
            RadarFrame(codes, VIL.unit, time, recording.grid, vil255)
            for codes, time in zip(codes_THW, recording.times, strict=True)
        ]


def _catalogs(sources: Sequence[str]) -> dict[Path, set[Path] | None]:
    """The catalogs, each with the files that were asked for (resolved), or None for all of them."""
    found: dict[Path, set[Path] | None] = {}
    for path in (path.absolute() for source in sources for path in matches(source)):
        if path.is_dir():
            catalog = path / CATALOG
        elif path.suffix == ".csv":
            catalog = path
        else:
            catalog = _catalog_above(path)
            chosen = found.setdefault(catalog, set())
            if chosen is not None:
                chosen.add(path.resolve())
            continue
        if not catalog.is_file():
            raise UserError(f"--source {path} is a folder without {CATALOG}; {EXPECTED}")
        found[catalog] = None
    return found


def _catalog_above(path: Path) -> Path:
    for folder in path.parents[:_LEVELS_UP]:
        if (folder / CATALOG).is_file():
            return folder / CATALOG
    raise UserError(f"--source {path} has no {CATALOG} in its folder or the {_LEVELS_UP - 1} above; {EXPECTED}")


def _events(catalog: Path, chosen: set[Path] | None) -> Iterable[SevirRecording | LeftOut]:
    rows, data = _vil_rows(catalog), catalog.parent / "data"
    if not data.is_dir():
        raise UserError(f"{catalog.parent} has {CATALOG} but no folder data beside it; {EXPECTED}")
    repeated = {event for event, times in Counter(row["id"] for row in rows).items() if times > 1}
    refusals = {name: _refusal(data, name) for name in {row["file_name"] for row in rows}}
    if chosen is not None:
        refusals = {name: why for name, why in refusals.items() if not why and (data / name).resolve() in chosen}
        if not refusals:
            raise UserError(f"no VIL row of {catalog} names any of the {len(chosen)} files given; {EXPECTED}")
        named = {(data / name).resolve() for name in refusals}
        yield from (LeftOut(str(path), "file is not in the catalog") for path in sorted(chosen - named))
    for row in rows:
        if row["file_name"] in refusals:
            if row["id"] in repeated:
                yield LeftOut(row["id"], "id occurs more than once")
            elif refusals[row["file_name"]]:
                yield LeftOut(row["id"], refusals[row["file_name"]], row["file_name"])
            else:
                yield _event(row, data)


def _vil_rows(catalog: Path) -> list[_Row]:
    try:
        with open(catalog, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, restval="")
            absent = [column for column in COLUMNS if column not in (table.fieldnames or ())]
            if absent:
                raise UserError(f"{catalog} lacks the columns {', '.join(absent)}; give SEVIR's original {CATALOG}")
            rows = [row for row in table if row["img_type"] == "vil"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{catalog} cannot be read as CSV ({error}); give SEVIR's original {CATALOG}") from error
    damaged = sum(row["proj"].startswith("#") or bool(_SPREADSHEET_TIME.match(row["time_utc"])) for row in rows)
    if damaged:
        raise UserError(
            f"{catalog} was saved by a spreadsheet program, which damaged proj or time_utc in {damaged} of its "
            f"{len(rows)} VIL rows; give SEVIR's original {CATALOG}"
        )
    if not rows:
        raise UserError(f"{catalog} has no row with img_type vil; give the catalog of a SEVIR archive with VIL events")
    return rows


def _refusal(data: Path, name: str) -> str:
    if not is_inside(name):
        return "file lies outside the data folder"
    return "" if os.path.isfile(data / name) else "file is missing"


def _event(row: _Row, data: Path) -> SevirRecording | LeftOut:
    event = row["id"]
    try:
        incomplete = "" if float(row["pct_missing"]) <= 0.0 else "pct_missing above 0"
        item, centre, grid = int(row["file_index"]), _utc(row["time_utc"]), _grid(row)
        if item < 0 or not event:
            raise ValueError(f"id {event!r}, file_index {item}")
    except (ValueError, OverflowError, ProjectionError) as error:
        return LeftOut(event, "catalog row unusable", str(error))
    try:
        times = tuple(centre + offset for offset in _offsets(row["minute_offsets"]))
    except (ValueError, OverflowError) as error:
        return LeftOut(event, "minute_offsets unusable", str(error))
    return SevirRecording(
        data / row["file_name"], item, times, VIL, event=event, event_time=centre, incomplete=incomplete, grid=grid
    )


def _utc(iso: str) -> datetime:
    time = datetime.fromisoformat(iso.strip())
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


@lru_cache(maxsize=1024)  # a few jitters occur in thousands of rows
def _offsets(minute_offsets: str) -> tuple[timedelta, ...]:
    minutes = [int(minute) for minute in minute_offsets.split(":")]
    if any(later <= earlier for earlier, later in itertools.pairwise(minutes)):
        raise ValueError("not ascending")
    return tuple(timedelta(minutes=minute) for minute in minutes)


def _grid(row: _Row) -> Grid:
    rows, columns = int(row["size_y"]), int(row["size_x"])
    height_m, width_m = float(row["height_m"]), float(row["width_m"])
    if min(rows, columns) < 1 or not (0 < height_m < math.inf and 0 < width_m < math.inf):
        raise ValueError(f"{rows} x {columns} pixels over {height_m} x {width_m} m")
    proj = metric_proj(row["proj"])
    west_m, south_m = corner_of(proj, float(row["llcrnrlon"]), float(row["llcrnrlat"]))
    return Grid((rows, columns), proj, (height_m / rows, width_m / columns), west_m, south_m + height_m)


def _codes(recording: SevirRecording) -> NDArray[np.uint8]:
    """The event's codes (T, H, W), row 0 in the north."""
    path, item, frames = recording.path, recording.item, len(recording.times)
    with open_hdf5(path) as file:
        vil = dataset(file, "vil", (None, *recording.grid.shape, frames), np.uint8)
        ids = dataset(file, "id", (None,), None)
        events = min(len(vil), len(ids))
        if item >= events:
            what = f"the catalog's row of {recording.event} points at nothing: file_index {item} of {events} events"
            raise RadarFileError(path, what)
        if as_text(ids[item]) != recording.event:
            what = f"event {item} is {as_text(ids[item])}, but the catalog says {recording.event}"
            raise RadarFileError(path, what)
        codes_THW = np.empty((frames, *recording.grid.shape), np.uint8)
        step = vil.chunks[3] if vil.chunks else frames  # each of the file's chunks is decompressed once
        for start in range(0, frames, step):
            part_HWT = vil[item, :, :, start : start + step]
            codes_THW[start : start + step] = part_HWT[::-1].transpose(2, 0, 1)
    return codes_THW


READER: Reader = SevirReader()
