"""Building shards, from the listing to the index, against reading the same frames with their format's own library alone.

Simulated storms always; with NOWCAST_RADAR_DATA also the real archives there. Each pair takes turns on one core.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import own_libraries
from benchmarks.archive import DATA, SIMULATED, SPLIT, simulate
from benchmarks.command import EVENTS, EVENTS_QUICK, SIZE, SIZE_QUICK, Setting, main
from benchmarks.own_libraries import Library
from benchmarks.report import Goal, Report
from benchmarks.timing import Contender, Rates, in_turns
from data_prep.build import build
from data_prep.building.layout import WHOLE_FRAMES, Cutting
from data_prep.building.options import Options
from data_prep.building.plan import make_plan

AT_LEAST = 0.5  # of the library's frames per second
FRAMES_QUICK = 3


@dataclass(frozen=True)
class Case:
    """An archive. files: a glob below its folder. frames: of a sequence; None as its events have.

    libraries: the goal is for the fastest of them. less: what does not give a field, for comparison.
    """

    name: str
    format: str
    files: str
    frames: int | None
    libraries: tuple[Library, ...]
    cutting: Cutting = WHOLE_FRAMES
    less: tuple[Library, ...] = ()


_ODIM = Library("h5py", "h5py", own_libraries.odim)
_ECCODES = Library("eccodes", "eccodes", own_libraries.grib)
_RADOLAN = (
    Library("wradlib", "wradlib", own_libraries.radolan),
    Library("numpy", "numpy", own_libraries.radolan_by_numpy),
)
SEVIR = Case(
    "SEVIR", "sevir", "**/*.h5", None,
    libraries=(Library("h5py", "h5py", own_libraries.sevir),),
    less=(Library("h5py, codes", "h5py", own_libraries.sevir_codes),),
)  # fmt: skip
REAL = (
    Case("KNMI", "knmi", "knmi/*.h5", 23, (Library("h5py", "h5py", own_libraries.knmi),)),
    Case("OPERA dBZ", "odim", "opera/CIRRUS/*.hdf", 4, (_ODIM,)),
    Case("OPERA mm/h", "odim", "opera/NIMBUS/*.hdf", 3, (_ODIM,)),
    Case("FMI PGM", "fmi", "fmi/pgm/**/*.pgm.gz", 20, (Library("numpy", "numpy", own_libraries.pgm),)),
    Case("FMI GeoTIFF", "fmi", "fmi/geotiff/**/*.tif", 3, (Library("rasterio", "rasterio", own_libraries.geotiff),)),
    Case("MRMS, tiles of 384", "mrms", "mrms/PrecipRate*.grib2", 12, (_ECCODES,), Cutting(tile=384)),
    Case("MRMS, crop of 384", "mrms", "mrms/PrecipRate*.grib2", 12, (_ECCODES,), Cutting(crop=384)),
    Case("RADOLAN RY", "radolan", "dwd/radolan_ry/*.gz", 13, _RADOLAN),
    Case("RADOLAN YW", "radolan", "dwd/radolan_yw/*.gz", 12, _RADOLAN),
    Case("CF netCDF", "netcdf", "derived/*_cf.nc", 12, (Library("netCDF4", "netCDF4", own_libraries.netcdf),)),
    Case("MeteoNet", "meteonet", "meteonet/rainfall_NW*.npz", 3, (Library("numpy", "numpy", own_libraries.meteonet),)),
)


def run(setting: Setting) -> Report:
    """Measures all that there are."""
    what = (
        "whole archives on one core, from the listing to the index; MB/s of float32 fields and of the archive's files"
    )
    report = Report("build", what, "frames/s", {}, [])
    with tempfile.TemporaryDirectory() as folder:
        for case, paths in cases(setting, Path(folder)):
            measure(case, paths, setting.rounds, report)
    return report


def cases(setting: Setting, folder: Path) -> Iterator[tuple[Case, list[Path]]]:
    """What is measured, and its files."""
    simulated = setting.archive.folder
    if setting.archive.what != SIMULATED:
        yield replace(SEVIR, name="SEVIR, real rain"), setting.archive.files
        simulated = folder / "simulated"
        simulate(simulated, *((EVENTS_QUICK, SIZE_QUICK) if setting.quick else (EVENTS, SIZE)))
    yield replace(SEVIR, name="SEVIR, simulated"), sorted(simulated.glob(SEVIR.files))
    for case in REAL if DATA in os.environ else ():
        paths = sorted(Path(os.environ[DATA]).glob(case.files))
        yield (replace(case, frames=FRAMES_QUICK), paths[:FRAMES_QUICK]) if setting.quick else (case, paths)


def measure(case: Case, paths: list[Path], rounds: int, report: Report) -> None:
    """Adds an archive's rates, goal and notes to the report."""
    all_ = {f"{case.name}: {library.name} alone": library for library in (*case.libraries, *case.less)}
    there = {name: library for name, library in all_.items() if library.installed}
    report.absent.update({name: f"pip install {all_[name].module}" for name in all_.keys() - there.keys()})
    against = [name for name, library in there.items() if library in case.libraries]
    if not against:
        return
    ours = f"{case.name}: build"
    report.goals.append(Goal(ours, against, AT_LEAST))
    contenders: dict[str, Contender] = {name: partial(read, library, paths) for name, library in there.items()}
    with on_one_core(), tempfile.TemporaryDirectory() as folder:  # which is emptied when all is measured
        rates = in_turns(contenders | {ours: partial(rebuild, case, paths, folder)}, rounds)
    report.rates.update(rates)
    report.notes.update(megabytes(rates, there[against[0]], paths))


def megabytes(rates: Rates, library: Library, paths: list[Path]) -> dict[str, str]:
    """The rates in words, as bytes of float32 fields and of the archive's files."""
    sizes = [field.size * 4 for field in library.read(paths)]
    per_frame = (sum(sizes) / len(sizes) / 1e6, sum(path.stat().st_size for path in paths) / len(sizes) / 1e6)
    per_second = {name: [each * median(found) for each in per_frame] for name, found in rates.items()}
    return {
        name: f"{fields:,.0f} MB/s of fields, {files:,.3g} of files" for name, (fields, files) in per_second.items()
    }


def read(library: Library, paths: list[Path]) -> float:
    """All frames, one after the other."""
    return sum(1 for _ in library.read(paths))


def rebuild(case: Case, paths: list[Path], folder: str) -> float:
    """The same frames, from the listing to the index, in a new folder below that one."""
    options = Options(
        format=case.format, sources=tuple(map(str, paths)), frames=case.frames, cutting=case.cutting, split=SPLIT,
        max_missing=1.0,
    )  # fmt: skip
    out = Path(tempfile.mkdtemp(dir=folder)) / "shards"
    plan = make_plan(options, out, strict=True)
    built = build(plan, out)
    assert built is not None and built.index is not None and not built.left_out.of_reason("unreadable")
    return sum(len(sequence.times) for task in plan.tasks for sequence in task.sequences)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keeps this process on one of the cores that it may use."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


if __name__ == "__main__":
    sys.exit(main("benchmarks.build", {"build": run}))
