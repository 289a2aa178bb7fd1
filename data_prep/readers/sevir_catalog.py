"""SEVIR's catalog: which events an archive has, and in which files they lie, in the layouts that are found on disks.

`CATALOG.csv` has a row per event and image type; those with img_type "vil" name a file relative to the folder `data`
beside it, `vil/<year>/<file>`. Copies keep the files without the folder `data`, the year, or the type; catalogs that
pandas wrote again have a column of numbers more, and whole numbers like "12.0". Nothing else is assumed: an event's id is
compared with that in its file when it is read.
"""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath

from data_prep.errors import UserError
from data_prep.files import is_inside
from data_prep.frames import Grid
from data_prep.projection import ProjectionError, corner_of, metric_proj
from data_prep.readers import LeftOut, Product, Recording
from data_prep.readers.files import matches
from data_prep.times import utc

VIL = Product("vil", "kg/m2")
CATALOG = "CATALOG.csv"
COLUMNS = (
    "id", "file_name", "file_index", "img_type", "time_utc", "minute_offsets", "llcrnrlat", "llcrnrlon", "proj",
    "size_x", "size_y", "height_m", "width_m", "pct_missing",
)  # fmt: skip
EXPECTED = f"give a folder with {CATALOG} and data/, that {CATALOG}, or folders or .h5 files below its data/"
_LEVELS_UP = 4  # <root>/data/vil/<year>/<file>.h5
_SPREADSHEET_TIME = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")
_Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class SevirRecording(Recording):
    """One event, with the grid that its catalog row gives (row 0 in the north). has_id: whether its file names events."""

    grid: Grid
    has_id: bool = True


def catalogs(sources: Sequence[str]) -> dict[Path, set[Path] | None]:
    """The catalogs, each with the files and folders that were asked for (resolved), or None for all. Raises UserError."""
    found: dict[Path, set[Path] | None] = {}
    for path in (path.absolute() for source in sources for path in matches(source)):
        catalog = path / CATALOG if path.is_dir() else path if path.suffix == ".csv" else None
        if catalog and catalog.is_file():
            found[catalog] = None
            continue
        chosen = found.setdefault(_catalog_above(path), set())
        if chosen is not None:
            chosen.add(path.resolve())
    return found


def _catalog_above(path: Path) -> Path:
    for folder in path.parents[: _LEVELS_UP - path.is_dir()]:
        if (folder / CATALOG).is_file():
            return folder / CATALOG
    what = f"no {CATALOG} in {'it' if path.is_dir() else 'its folder'} or the {_LEVELS_UP - 1} folders above"
    raise UserError(f"--source {path} has {what}; {EXPECTED}")


def events(catalog: Path, chosen: set[Path] | None) -> Iterator[SevirRecording | LeftOut]:
    """The catalog's events of the files and folders chosen (None: all), or why one is left out. Raises UserError."""
    rows = _vil_rows(catalog)
    repeated = {event for event, times in Counter(row["id"] for row in rows).items() if times > 1}
    files = {name: _file(catalog.parent, name) for name in {row["file_name"] for row in rows}}
    if chosen is None and not any(isinstance(file, Path) for file in files.values()):
        raise UserError(f"none of the {len(files)} files that {catalog} names lies in its folder or data/; {EXPECTED}")
    if chosen is not None:
        files = {name: file for name, file in files.items() if isinstance(file, Path) and _is_chosen(file, chosen)}
        if not files:
            raise UserError(f"no VIL row of {catalog} names any of the {len(chosen)} files given; {EXPECTED}")
        named = {file.resolve() for file in files.values() if isinstance(file, Path)}
        strays = sorted(path for path in chosen - named if not path.is_dir())
        yield from (LeftOut(str(path), "file is not in the catalog") for path in strays)
    for row in rows:
        file = files.get(row["file_name"])
        if file is None:
            continue
        if row["id"] in repeated:
            yield LeftOut(row["id"], "id occurs more than once")
        elif isinstance(file, str):
            yield LeftOut(row["id"], file, row["file_name"])
        else:
            yield _event(row, file)


def _is_chosen(file: Path, chosen: set[Path]) -> bool:
    return any(path in chosen for path in (file.resolve(), *file.resolve().parents))


def _file(root: Path, name: str) -> Path | str:
    """Where the file of that name in the catalog lies, compressed or not, or why it cannot be used."""
    if not is_inside(name):
        return "file lies outside the data folder"
    *folders, last = PurePosixPath(name).parts
    for tail in dict.fromkeys([(*folders, last), (*folders[:1], last), (*folders[1:], last), (last,)]):
        for base, packed in itertools.product((root / "data", root), ("", ".gz", ".bz2")):
            with suppress(OSError):  # a name that is too long for any file
                if (path := base.joinpath(*tail[:-1], tail[-1] + packed)).is_file():
                    return path
    return "file is missing"


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


def _event(row: _Row, file: Path) -> SevirRecording | LeftOut:
    event = row["id"]
    try:
        incomplete = "" if float(row["pct_missing"]) <= 0.0 else "pct_missing above 0"
        item, centre, grid = _whole(row["file_index"]), _utc(row["time_utc"]), _grid(row)
        if item < 0 or not event:
            raise ValueError(f"id {event!r}, file_index {item}")
    except (ValueError, OverflowError, ProjectionError) as error:
        return LeftOut(event, "catalog row unusable", str(error))
    try:
        times = tuple(centre + offset for offset in _offsets(row["minute_offsets"]))
    except (ValueError, OverflowError) as error:
        return LeftOut(event, "minute_offsets unusable", str(error))
    return SevirRecording(file, item, times, VIL, event=event, event_time=centre, incomplete=incomplete, grid=grid)


def _whole(text: str) -> int:
    """Of "12", or of "12.0": so pandas writes a column in which other rows lack the number. Raises ValueError."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(f"{text!r} is no whole number")
    return int(number)


def _utc(iso: str) -> datetime:
    return utc(datetime.fromisoformat(iso.strip()))


@lru_cache(maxsize=1024)  # a few jitters occur in thousands of rows
def _offsets(minute_offsets: str) -> tuple[timedelta, ...]:
    minutes = [int(minute) for minute in minute_offsets.split(":")]
    if any(later <= earlier for earlier, later in itertools.pairwise(minutes)):
        raise ValueError("not ascending")
    return tuple(timedelta(minutes=minute) for minute in minutes)


def _grid(row: _Row) -> Grid:
    rows, columns = _whole(row["size_y"]), _whole(row["size_x"])
    height_m, width_m = float(row["height_m"]), float(row["width_m"])
    if min(rows, columns) < 1 or not (0 < height_m < math.inf and 0 < width_m < math.inf):
        raise ValueError(f"{rows} x {columns} pixels over {height_m} x {width_m} m")
    proj = metric_proj(row["proj"])
    west_m, south_m = corner_of(proj, float(row["llcrnrlon"]), float(row["llcrnrlat"]))
    return Grid((rows, columns), proj, (height_m / rows, width_m / columns), west_m, south_m + height_m)


def once(found: Iterable[SevirRecording | LeftOut]) -> Iterator[SevirRecording | LeftOut]:
    """The same without events that an earlier catalog has listed already."""
    seen = set[tuple[Path, int, str | None]]()
    for one in found:
        if isinstance(one, SevirRecording):
            place = (one.path.resolve(), one.item, one.event)
            if place in seen:
                yield LeftOut(one.event or "", "event is in more than one catalog")
                continue
            seen.add(place)
        yield one
