"""The command line that every benchmark has."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.archive import Archive, make_archive, open_archive
from benchmarks.report import Report, publish
from data_prep.console import ends_politely, positive, wide_console

EVENTS, SIZE = 16, 384  # as SEVIR's
EVENTS_QUICK, SIZE_QUICK = 3, 128
Benchmark = Callable[["Setting"], Report]


@dataclass(frozen=True)
class Setting:
    """What a benchmark works on and how long."""

    archive: Archive
    rounds: int
    quick: bool


def main(name: str, benchmarks: Mapping[str, Benchmark], argv: Sequence[str] | None = None) -> int:
    """Runs benchmarks one after the other over the same archive; returns the exit code.

    benchmarks: by the names that --only takes.
    """
    parser = argparse.ArgumentParser(f"python -m {name}", description="Speed as ratios measured in one run.")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for the JSON files (default: a new one, printed)")
    about_source = "a small archive in SEVIR's layout (default: real rain from NOWCAST_RADAR_DATA, or simulated storms)"
    parser.add_argument("--source", type=Path, metavar="DIR", help=about_source)
    parser.add_argument("--repeats", type=positive, metavar="N", help="rounds (default 7; with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="less work a round: to see that it runs")
    known = list(benchmarks)
    parser.add_argument(
        "--only", nargs="+", choices=known, default=known, metavar="NAME", help=f"of {', '.join(known)}"
    )
    args = parser.parse_args(argv)
    return ends_politely(lambda: _run([benchmarks[only] for only in args.only], args))


def _run(benchmarks: Sequence[Benchmark], args: argparse.Namespace) -> int:
    out = args.out or Path(tempfile.mkdtemp(prefix="nowcast-benchmarks-"))
    out.mkdir(parents=True, exist_ok=True)
    console = wide_console()
    with tempfile.TemporaryDirectory(prefix="nowcast-") as folder:
        tempfile.tempdir = folder  # litdata's workers leave folders behind
        size = (EVENTS_QUICK, SIZE_QUICK) if args.quick else (EVENTS, SIZE)
        archive = open_archive(args.source, Path(folder)) if args.source else make_archive(Path(folder), *size)
        setting = Setting(archive, args.repeats or (3 if args.quick else 7), args.quick)
        for benchmark in benchmarks:
            publish(benchmark(setting), out, console)
    tempfile.tempdir = None
    console.print(f"wrote {out}", soft_wrap=True, highlight=False)
    return 0
