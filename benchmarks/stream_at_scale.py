"""The stream at internet scale: a million shards, 4,096 ranks, thousands of resumes, with the trainer's own order and batches.

    python -m benchmarks.stream_at_scale --out DIR

1. Coverage: every item of a whole epoch is counted in an array of a byte an item, while launches of random numbers of
   ranks stop and go on; each must be seen once. And several epochs of a smaller order, with other groups of shards.
2. A rank: in a process of its own it opens the index of a million shards and begins in the middle of an epoch. Every
   shard has the bytes of one real shard of simulated storms, which are read and decoded for true, and counted.
3. What readers without random access would read at the same resume, by arithmetic from the same shard's size.

Takes some five minutes of one core, most of it counting; `--quick` half a minute.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.archive import simulate
from benchmarks.coverage import Coverage, covered, launches
from benchmarks.page import leave
from benchmarks.running import run_python
from data_prep.console import ends_politely, wide_console
from data_prep.errors import UserError
from data_prep.files import write_atomically
from ds_nowcast.stream.order import SampleOrder

FRAMES, STARTS = 49, [0, 12, 24]  # of SEVIR's events, windows of 25 frames
KEPT = "shard.json"  # what the index says of the real shard


@dataclass(frozen=True)
class Count:
    """A coverage to be counted."""

    shards: int
    samples: tuple[int, int]  # least and most sequences of a shard
    batch: int
    ranks: int  # most
    launches: int
    group: int | None
    epochs: int = 1


@dataclass(frozen=True)
class Rank:
    """A rank to be started."""

    shards: int
    batch: int
    ranks: int
    steps: int
    group: int | None


@dataclass(frozen=True)
class Scale:
    """What is simulated."""

    counts: list[Count]
    ranks: list[Rank]
    events: int  # of the real shard
    size: int  # pixels


FULL = Scale(
    counts=[
        *(Count(1_000_000, (16, 48), 12_288, 4096, 3000, group) for group in (None, 64)),
        *(Count(2000, (1, 15), 96, 96, 1400, group, 3) for group in (None, 1, 7, 64)),
    ],
    ranks=[
        Rank(100_000, 12_288, 4096, 100, None), *(Rank(1_000_000, 12_288, 4096, 100, group) for group in (None, 64)),
        Rank(1_000_000, 64, 8, 100, 64),
    ],
    events=32,
    size=384,
)  # fmt: skip
QUICK = Scale([Count(300, (1, 5), 24, 24, 100, group, 2) for group in (None, 7)], [Rank(1000, 24, 8, 10, 7)], 8, 64)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.stream_at_scale", description="The stream at internet scale."
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the real shard and the figures")
    parser.add_argument("--quick", action="store_true", help="a small one: to see that it runs")
    args = parser.parse_args(argv)
    return ends_politely(lambda: run(args.out, QUICK if args.quick else FULL))


def run(out: Path, scale: Scale) -> int:
    """Returns 0; raises UserError where an item was missed or repeated."""
    out.mkdir(parents=True, exist_ok=True)
    console = wide_console()
    ranks = [(rank, _started(out, scale, rank)) for rank in scale.ranks]
    reading = _reading_table(ranks, _real_shard(out, scale))
    console.print(_rank_table(ranks), reading, sep="\n")
    leave(out, "stream_reading", "Bytes read over bytes needed, a rank", reading)
    counts = []
    for count in scale.counts:
        began = time.process_time()
        counts.append((count, counted(count), time.process_time() - began))
    coverage = _count_table(counts)
    console.print(coverage)
    leave(out, "stream_coverage", "Each item of whole epochs, counted through stops and resumes", coverage)
    figures = {
        "coverage": [asdict(count) | asdict(found) | {"cpu_s": seconds} for count, found, seconds in counts],
        "ranks": [asdict(rank) | found for rank, found in ranks],
        "shard": _real_shard(out, scale),
    }
    write_atomically(out / "stream_at_scale.json", (json.dumps(figures, indent=1) + "\n").encode())
    if not all(found.exact for _, found, _ in counts):
        raise UserError("not every item was seen exactly once; see the table above")
    return 0


def counted(count: Count, seed: int = 0) -> Coverage:
    """Shards of random lengths, launches of random lengths and numbers of ranks, counted item by item."""
    rng = np.random.default_rng(seed)
    samples = rng.integers(count.samples[0], count.samples[1] + 1, count.shards)
    order = SampleOrder(samples.tolist(), STARTS, seed=seed, shuffle_shards=count.group)
    steps = -(-count.epochs * order.length // count.batch)
    made, refused = launches(count.batch, count.ranks, steps, count.launches, rng)
    return covered(order, samples, STARTS, made, epochs=count.epochs, refused=refused)


def _started(out: Path, scale: Scale, rank: Rank) -> dict[str, Any]:
    """What a rank in a process of its own tells."""
    samples = rank.shards * _real_shard(out, scale)["samples"]
    shards = _folder(out, scale)
    _write_index(shards, rank.shards)
    steps_of_an_epoch = samples * len(STARTS) // rank.batch
    start = steps_of_an_epoch // 2 * rank.batch
    words = (shards, start, rank.ranks // 3, rank.ranks, rank.batch // rank.ranks, rank.group or 0, rank.steps)
    return dict(json.loads(run_python("-m", "benchmarks.stream_rank", *words).splitlines()[-1]))


def _folder(out: Path, scale: Scale) -> Path:
    return out / f"shards-{scale.events}x{scale.size}"


def _real_shard(out: Path, scale: Scale) -> dict[str, Any]:
    """What the index says of the one shard that there is; made where it is not."""
    archive, shards = out / f"archive-{scale.events}x{scale.size}", _folder(out, scale)
    if not (shards / KEPT).is_file():
        if not (archive / "CATALOG.csv").is_file():
            simulate(archive, scale.events, scale.size)
        source = ("--format", "sevir", "--source", archive, "--out", shards, "--split", "train")
        size = ("--samples-per-shard", scale.events)
        run_python("-m", "data_prep", "build", *source, *size, "--workers", 1, "--quiet")
        [shard] = json.loads((shards / "index.json").read_text())["splits"]["train"]["shards"]
        write_atomically(shards / KEPT, json.dumps(shard).encode())
    return dict(json.loads((shards / KEPT).read_text()))


def _write_index(shards: Path, count: int) -> None:
    """The real folder's, in which the one shard stands under so many names."""
    index, shard = json.loads((shards / "index.json").read_text()), json.loads((shards / KEPT).read_text())
    index["splits"]["train"]["shards"] = ["@"]
    before, after = json.dumps(index).split('"@"')
    line, end = json.dumps({**shard, "name": "@"}).split("@")
    lines = (f"{line}train/train-{number:06d}.tar{end}" for number in range(count))
    write_atomically(shards / "index.json", (before + ",".join(lines) + after).encode())


def _count_table(counts: list[tuple[Count, Coverage, float]]) -> Table:
    table = Table(title="each item of whole epochs, counted")
    names = (
        "shards", "shuffled together", "items", "epochs", "launches", "numbers of ranks", "refused", "missing", "repeated",
        "uneven", "CPU s",
    )  # fmt: skip
    for name in names:
        table.add_column(name, justify="right")
    for count, found, seconds in counts:
        numbers = (found.items, count.epochs, found.launches, found.worlds, found.refused)
        wrong = (found.missing, found.repeated, found.uneven)
        table.add_row(
            f"{count.shards:,}", _group(count.group), *(f"{n:,}" for n in (*numbers, *wrong)), f"{seconds:.0f}"
        )
    return table


def _group(group: int | None) -> str:
    return "all" if group is None else str(group)


def _rank_table(ranks: list[tuple[Rank, dict[str, Any]]]) -> Table:
    table = Table(title="a rank that begins in the middle of an epoch: CPU seconds, resident MB")
    for name in ("shards", "ranks", "shuffled together", "open index, s", "then first sample, s"):
        table.add_column(name, justify="right")
    for name in ("imports, MB", "index opened, MB", "after its steps, MB", "at most, MB"):
        table.add_column(name, justify="right")
    for rank, found in ranks:
        sizes = (found[name] / 2**20 for name in ("imported", "opened", "ended", "most"))
        seconds = (f"{found['open_s']:.1f}", f"{found['first_sample_s']:.2f}")
        table.add_row(f"{rank.shards:,}", f"{rank.ranks:,}", _group(rank.group), *seconds, *(f"{n:.0f}" for n in sizes))
    return table


def _reading_table(ranks: list[tuple[Rank, dict[str, Any]]], shard: dict[str, Any]) -> Table:
    """Bytes read over compressed bytes of the windows' own frames, a rank."""
    table = Table(title="bytes read / bytes needed, a rank")
    for name in ("shards", "ranks", "shuffled together", "when", "read / needed", "opened a step", "reads a sample"):
        table.add_column(name, justify="left" if name == "when" else "right")
    table.add_column("skips in the shard, read / needed", justify="right")
    table.add_column("skips in the epoch, read / needed", justify="right")
    for rank, found in ranks:
        for when, steps, others in _moments(rank, found, shard):
            counts = found[when]
            read = counts["tables of contents"] + counts["bytes of tars"]
            cells = (f"{read / counts['needed']:.3f}", f"{counts['opened'] / steps:.2f}")
            table.add_row(
                *(f"{rank.shards:,}", f"{rank.ranks:,}", _group(rank.group), f"{when}, {counts['samples']} samples"),
                *cells, f"{counts['reads'] / counts['samples']:.2f}", *others,
            )  # fmt: skip
    return table


def _moments(rank: Rank, found: dict[str, Any], shard: dict[str, Any]) -> Iterator[tuple[str, int, tuple[str, str]]]:
    """The resume with what others would read there; then all steps.

    A reader that takes its shards from front to back has, in the middle of an epoch, half of a shard behind it on
    average; one that keeps no place in the epoch has half of the rank's share of all shards.
    """
    needed = found["resume"]["needed"]
    behind = (shard["bytes"] / 2, rank.shards / rank.ranks / 2 * shard["bytes"])
    yield "resume", 1, (f"{(behind[0] + needed) / needed:,.1f}", f"{(behind[1] + needed) / needed:,.0f}")
    yield "steady", rank.steps, ("", "")


if __name__ == "__main__":
    sys.exit(main())
