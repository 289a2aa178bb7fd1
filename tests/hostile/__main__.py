"""A campaign against the readers: `python -m tests.hostile --minutes 20 [--format knmi] [--seed 0]`.

Mutants of real files (NOWCAST_RADAR_DATA) and of made ones go through guarded workers, as in a build. What no reader may
do is printed and kept in --keep: another exception than RadarFileError, an error that does not name its file, a frame that
is none; what is allowed and counted: workers that died. At the end, by format: counts, the slowest and the largest.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from data_prep.errors import RadarFileError
from data_prep.workers import Limits, WorkerDiedError, Workers
from tests.hostile.bombs import MARK, bombs
from tests.hostile.look import Looked, look
from tests.hostile.mutations import mutant
from tests.hostile.specimens import Specimen, made, real

LIMITS = Limits(memory_bytes=1 << 30, read_s=20.0)
BATCH = 64


class Tally:
    """What was seen, by format."""

    def __init__(self, keep: Path) -> None:
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.slowest: dict[str, tuple[float, str]] = defaultdict(lambda: (0.0, ""))
        self.largest: dict[str, tuple[float, str]] = defaultdict(lambda: (0.0, ""))
        self.faults: Counter[str] = Counter()
        self.keep = keep

    def note(
        self, specimen: Specimen, label: str, content: bytes, got: Looked | RadarFileError | WorkerDiedError[object]
    ) -> None:
        """Counts an outcome; keeps the file where it is a fault or a death."""
        name = specimen.format
        if isinstance(got, Looked):
            self.outcomes[name][got.outcome if "reader died" not in got.says else "died"] += 1
            self.slowest[name] = max(self.slowest[name], (got.seconds, label))
            self.largest[name] = max(self.largest[name], (got.memory_mb, label))
            if got.outcome == "fault" or "reader died" in got.says:
                self._tell(specimen, label, content, got.says.strip())
        else:
            outside = isinstance(got, WorkerDiedError)
            self.outcomes[name]["died outside" if outside else "died"] += 1
            self._tell(specimen, label, content, f"{'OUTSIDE ' if outside else ''}{got}")

    def _tell(self, specimen: Specimen, label: str, content: bytes, says: str) -> None:
        last = says.splitlines()[-1] if "Traceback" in says else says
        key = f"{specimen.format}: {re.sub(r'/[^ ]*/', '', last)[:80]}"
        self.faults[key] += 1
        if self.faults[key] <= 2:
            print(f"--- {specimen.format} {label}\n{says[-1500:]}", flush=True)
            self.keep.mkdir(parents=True, exist_ok=True)
            replace(specimen, name=Path(specimen.name).name).write(
                self.keep / f"{specimen.format}-{label.replace('/', '_')[:100]}", content
            )

    def show(self) -> None:
        """A line per format, and the kinds of faults."""
        for name, counts in sorted(self.outcomes.items()):
            (seconds, slow), (megabytes, large) = self.slowest[name], self.largest[name]
            said = ", ".join(f"{count} {what}" for what, count in counts.most_common())
            print(
                f"{name:9} {sum(counts.values()):6}: {said}; slowest {seconds:.2f} s ({slow}); largest {megabytes:.0f} MB ({large})"
            )
        for key, count in self.faults.most_common():
            print(f"{count:5} x {key}")


def run(batch: list[tuple[Specimen, str, bytes]], pool: Workers, tally: Tally, folder: Path) -> None:
    """A batch of files through the workers."""
    tasks = []
    for number, (specimen, _, content) in enumerate(batch):
        inside = folder / str(number)
        path = specimen.write(inside, content)
        tasks.append((specimen.format, str(inside), path))
    try:
        for got, (specimen, label, content) in zip(pool.each(look, tasks), batch, strict=True):
            tally.note(specimen, label, content, got)
    except WorkerDiedError as died:
        at = next((i for i, task in enumerate(tasks) if task in getattr(died.task, "items", ())), 0)
        tally.note(batch[at][0], batch[at][1], batch[at][2], died)


def mutants(chosen: list[Specimen], seed: int, until: float) -> Iterator[tuple[Specimen, str, bytes]]:
    """Until the time is over; each format gets as many."""
    by_format: dict[str, list[Specimen]] = defaultdict(list)
    for specimen in chosen:
        by_format[specimen.format].append(specimen)
    rng = random.Random(seed)
    while time.monotonic() < until:
        for some in by_format.values():
            # small ones are as good at finding faults, and much faster
            specimen = rng.choices(some, [1.0 / (1 + len(one.content) / 500_000) for one in some])[0]
            number = rng.getrandbits(40)
            if specimen.beside and number % 8 == 0:
                [(name, content)] = rng.sample(sorted(specimen.beside.items()), 1)
                what, content = mutant(content, number)
                other = replace(specimen, beside={**specimen.beside, name: content})
                yield other, f"{Path(specimen.name).name}-{name}-{number}-{what}", specimen.content
                continue
            what, content = mutant(specimen.content, number)
            yield specimen, f"{Path(specimen.name).name}-{number}-{what}", content


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--format", action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("hostile-found"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bombs", action="store_true", help="only files made to do harm")
    args = parser.parse_args()
    chosen = made()
    if data := os.environ.get("NOWCAST_RADAR_DATA"):
        chosen += real(Path(data))
    chosen = [one for one in chosen if not args.format or one.format in args.format]
    tally = Tally(args.keep)
    source = (
        ((one, Path(one.name).name, one.content) for one in bombs() if not args.format or one.format in args.format)
        if args.bombs
        else mutants(chosen, args.seed, time.monotonic() + 60 * args.minutes)
    )
    batch = []
    with Workers(args.workers, LIMITS) as pool:
        while True:
            with tempfile.TemporaryDirectory() as folder:
                batch = [one for _, one in zip(range(1 if args.bombs else BATCH), source, strict=False)]
                if not batch:
                    break
                run(batch, pool, tally, Path(folder))
                pool._refused.clear()  # the next batch has other files of the same names
    tally.show()
    if Path(MARK).exists():
        print(f"CODE OF A FILE WAS RUN: {MARK} is there")
    return 1 if any(key for key in tally.faults if "reader died" not in key) or Path(MARK).exists() else 0


if __name__ == "__main__":
    sys.exit(main())
