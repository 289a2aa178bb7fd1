"""What readers share whose archive is a heap of files, each of which holds one frame or several.

A format derives from `FileReader` and says what a file holds (`contents`) and gives a frame (`frame`). Everything else
is done here: files in folders, globs, gzip and tars, products, frames that occur twice, the cadence, damaged files.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from data_prep.errors import RadarFileError, UserError, in_words, not_installed, printable
from data_prep.frames import RadarFrame
from data_prep.projection import ProjectionError
from data_prep.readers import Each, LeftOut, Product, Recording, Scan, in_turn
from data_prep.readers.files import RadarFile, archive_files, check_ordinary, fits
from data_prep.readers.stamps import YEARS
from data_prep.readers.tars import is_tar, tar_members
from data_prep.workers import reading

_SAME_TIME_S = 1.0
_MOST_NAME = 100
_LOOKED_THROUGH = 1000  # frames of other kinds in a file, before the first that is wanted


@dataclass(frozen=True)
class Entry:
    """One frame that a file holds.

    time: UTC, end of the interval. item: the reader's own number for it in its file. interval_s: that a sum or mean
    covers; the cadence where an archive has a single frame.
    """

    time: datetime
    product: Product
    item: int = 0
    interval_s: int | None = None


class _Listed(NamedTuple):
    """What one path holds; (file in a tar or "", entry)."""

    entries: list[tuple[str, Entry]]
    left_out: list[LeftOut]


class FileReader(ABC):
    """A format of files that are read one by one.

    patterns: of the names of its files, lower case, as fnmatch takes them, without .gz. cadence_s: of an archive that does
    not tell its own (a single file). modules: those that must be importable, with the extra that brings them.
    """

    name: str
    patterns: tuple[str, ...]
    cadence_s: int = 300
    split_dates: tuple[str, str] | None = None
    modules: tuple[tuple[str, str], ...] = ()

    @abstractmethod
    def contents(self, file: RadarFile) -> Iterable[Entry | LeftOut]:
        """The frames of a file, from its headers; no picture is read.

        LeftOut stands for one that is not to be used. May raise anything where the file is damaged; better a RadarFileError
        that says what is wrong.
        """

    @abstractmethod
    def frame(self, file: RadarFile, entry: Entry) -> RadarFrame:
        """The frame of one of the entries that `contents` gave. May raise as it does."""

    def frames(self, source: Path | str | BinaryIO, name: str = "", product: str | None = None) -> list[RadarFrame]:
        """All frames of one file: a path, gzipped or not, or an open binary file. Raises RadarFileError.

        name: the file's, where it is not `source`'s own and the format keeps something in it.
        """
        self.require_modules()
        file = RadarFile(Path(source) if isinstance(source, str) else source, name=name)
        with self._guarded(file):
            entries = [_checked(file, entry) for entry in self.contents(file) if isinstance(entry, Entry)]
            frames = [self.frame(file, entry) for entry in entries if product in (None, entry.product.name)]
            for frame in frames:
                _check_place(file, frame)
            return frames

    def scan(self, sources: Sequence[str], product: str | None = None, each: Each = in_turn) -> Scan:
        """As `Reader.scan`. Left out are unreadable files and frames whose time occurs more than once (but for the first)."""
        self.require_modules()
        paths = self.files(sources)
        left_out: list[LeftOut] = []
        found: list[tuple[Path, str, Entry]] = []
        for path, listed in zip(paths, each(self.listed, paths), strict=True):
            if isinstance(listed, RadarFileError):
                left_out.append(LeftOut(listed.path, "unreadable", listed.reason))
                continue
            left_out += listed.left_out
            found += [(path, member, entry) for member, entry in listed.entries]
        if not found:
            why = (
                f", {printable(left_out[0].what)} because: {left_out[0].detail or left_out[0].reason}"
                if left_out
                else ""
            )
            raise UserError(
                f"no file of {len(paths)} can be used as {self.name}{why}; mend that, or give --format with theirs"
            )
        chosen = _one_product([entry for _, _, entry in found], product)
        recordings = list(_recordings((one for one in found if one[2].product == chosen), left_out))
        entries = [entry for _, _, entry in found if entry.product == chosen]
        cadence_s = usual_step_s([recording.times[0] for recording in recordings])
        return Scan(chosen, cadence_s or entries[0].interval_s or self.cadence_s, recordings, left_out)

    def files(self, sources: Sequence[str]) -> list[Path]:
        """The paths that `sources` stand for, sorted. Raises UserError where there are none."""
        return archive_files(sources, self.patterns)

    def recognise(self, path: Path) -> None:
        """Raises RadarFileError where a file, or of a tar the first that fits, does not hold a frame of this format."""
        member = next((name for name in tar_members(path) if fits(name, self.patterns)), None) if is_tar(path) else ""
        if member is None:
            raise RadarFileError(path, f"is a tar without a file like {' or '.join(self.patterns)}")
        file, left_out = RadarFile(path, member), None
        with self._guarded(file):
            for one in islice(self.contents(file), _LOOKED_THROUGH):
                if isinstance(one, Entry):
                    return
                left_out = left_out or one
        raise RadarFileError(file.name, left_out.reason if left_out else f"holds no frame that {self.name} can give")

    def listed(self, path: Path) -> _Listed:
        """What a path holds: a file, or all files of a tar that fit. Raises RadarFileError."""
        with reading(str(path)), self._guarded(RadarFile(path)):
            check_ordinary(path)
            return self._listed(path)

    def _listed(self, path: Path) -> _Listed:
        if not is_tar(path):
            return self._held_by(RadarFile(path), "")
        listed = _Listed([], [])
        for member in (name for name in tar_members(path) if fits(name, self.patterns)):
            file = RadarFile(path, member)
            try:
                with reading(file.name), self._guarded(file):
                    held = self._held_by(file, member)
            except RadarFileError as error:
                held = _Listed([], [LeftOut(file.name, "unreadable", error.reason)])
            listed.entries.extend(held.entries)
            listed.left_out.extend(held.left_out)
        if not any(listed):
            raise RadarFileError(path, f"is a tar without a file like {' or '.join(self.patterns)}")
        return listed

    def _held_by(self, file: RadarFile, member: str) -> _Listed:
        listed = _Listed([], [])
        for one in self.contents(file):
            if isinstance(one, LeftOut):
                listed.left_out.append(one)
                continue
            try:
                listed.entries.append((member, _checked(file, one)))
            except RadarFileError as error:  # of this frame: others may be sound
                listed.left_out.append(LeftOut(file.name, "unreadable", error.reason))
        return listed

    def read(self, recording: Recording) -> list[RadarFrame]:
        """The one frame. Raises RadarFileError, also where the frame's time is no longer the one listed."""
        file = RadarFile(recording.path, recording.member)
        with self._guarded(file):
            frame = self.frame(file, Entry(recording.times[0], recording.product, recording.item))
        if abs((frame.time - recording.times[0]).total_seconds()) > _SAME_TIME_S:
            raise RadarFileError(file.name, f"is now of {frame.time:%Y-%m-%d %H:%M} UTC, not as it was listed")
        if frame.unit != recording.product.unit:
            raise RadarFileError(file.name, f"is now in {frame.unit}, not as it was listed")
        _check_place(file, frame)
        return [frame]

    @contextmanager
    def _guarded(self, file: RadarFile) -> Iterator[None]:
        """Whatever a damaged file makes a parser raise becomes one RadarFileError."""
        try:
            yield
        except ProjectionError as error:
            raise RadarFileError(file.name, str(error)) from error
        except UserError:
            raise
        except Exception as error:
            what = f"cannot be read as {self.name} ({in_words(error)})"
            raise RadarFileError(file.name, what) from error

    def require_modules(self) -> None:
        """Raises UserError naming the extra that brings what is not installed."""
        from importlib.util import find_spec

        for module, extra in self.modules:
            if find_spec(module) is None:
                raise not_installed(f"format {self.name}", module, extra)


def _checked(file: RadarFile, entry: Entry) -> Entry:
    """Raises RadarFileError where a damaged file gives what a build of all others would fail at."""
    if entry.time.year not in YEARS:
        what = f"its time is {entry.time:%Y-%m-%d %H:%M}, expected one from {YEARS[0]} to {YEARS[-1]}"
        raise RadarFileError(file.name, what)
    if entry.interval_s is not None and entry.interval_s <= 0:
        raise RadarFileError(file.name, f"its frame covers {entry.interval_s} s, expected more than 0")
    name = entry.product.name
    if not name.isprintable() or len(name) > _MOST_NAME:
        raise RadarFileError(file.name, f"its product's name is {name!r}, expected a short text")
    return entry


def _check_place(file: RadarFile, frame: RadarFrame) -> None:
    grid, shape = frame.grid, frame.stored.shape
    if shape != grid.shape:
        raise RadarFileError(file.name, f"has {shape} pixels on a grid of {grid.shape}")
    if not (all(map(math.isfinite, (*grid.pixel, grid.west, grid.north))) and min(grid.pixel) > 0.0):
        what = f"its pixels of {grid.pixel} begin at {grid.west}, {grid.north}, expected finite numbers"
        raise RadarFileError(file.name, what)


def _one_product(entries: list[Entry], name: str | None) -> Product:
    counts = Counter(entry.product for entry in entries)
    names = ", ".join(f"{product.name} ({product.unit}, {count} frames)" for product, count in counts.most_common())
    if name is None and len(counts) > 1:
        raise UserError(f"the files hold several products: {names}; choose one with --product NAME")
    chosen = [product for product in counts if name in (None, product.name)]
    if not chosen:
        raise UserError(f"the files hold no product {name!r}; they hold {names}: give one of those")
    if len(chosen) > 1:
        raise UserError(f"product {name!r} is there in several units: {names}; give the files of one")
    return chosen[0]


def _recordings(found: Iterable[tuple[Path, str, Entry]], left_out: list[LeftOut]) -> Iterator[Recording]:
    seen = set[datetime]()
    for path, member, entry in found:
        time = entry.time.astimezone(UTC)
        recording = Recording(path, entry.item, (time,), entry.product, member=member)
        if time in seen:
            left_out.append(LeftOut(recording.label, "time occurs more than once", time.isoformat()))
            continue
        seen.add(time)
        yield recording


def usual_step_s(times: Iterable[datetime]) -> int | None:
    """The commonest time between neighbours, seconds; None where there are none.

    From a minute on, whole minutes count, and below whole seconds: some archives' stamps are a few seconds early or late.
    """
    steps_s = [(later - earlier).total_seconds() for earlier, later in pairwise(sorted(set(times)))]
    rounded = [round(step / 60) * 60 if step >= 45 else max(round(step), 1) for step in steps_s]
    if not rounded:
        return None
    counts = Counter(rounded)
    return max(counts, key=lambda step: (counts[step], -step))
