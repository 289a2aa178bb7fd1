"""All benchmarks, each at a size that lets them end within a quarter of an hour together on two cores.

    python -m benchmarks --page docs/performance.md

Each is a command of its own, which is printed and stands beside its table: run it alone, or at its full size, the same
way. One that fails is named at the end; the others run all the same.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.archive import DATA, SPLIT, make_archive
from benchmarks.command import EVENTS, SIZE
from benchmarks.page import collected, put
from data_prep.console import ends_politely, wide_console
from data_prep.errors import UserError

FAILED = 1
SHARDS = "SHARDS"  # in a command: those of the archive that is made for all


@dataclass(frozen=True)
class Entry:
    """A benchmark and its size here."""

    name: str  # of the module
    options: str
    shared: bool = False  # whether it works on the archive that is made once for all
    needs_gpu: bool = False
    needs_data: bool = False  # real radar files

    @property
    def wants(self) -> str:
        """What is not here that it needs; else ""."""
        if self.needs_gpu and not torch.cuda.is_available():
            return "there is no GPU"
        return f"{DATA} is not set" if self.needs_data and DATA not in os.environ else ""


ENTRIES = (
    Entry("loader", "--repeats 2", shared=True),
    Entry("codecs", "--repeats 1", shared=True),
    Entry("build", "--repeats 1", shared=True),
    Entry("train_step", "--repeats 3", shared=True),
    Entry("compute_keys", "--repeats 3 --only convnext_unet_tiny", shared=True),
    Entry("baselines", f"--shards {SHARDS} --split {SPLIT} --max-windows 8"),
    Entry("large_model", "--preset small --steps 1"),
    Entry("stream_at_scale", "--quick"),
    Entry("large_batches", "--quick"),
    Entry("real_skill", "--set nowcast.steps=100", needs_data=True),
    Entry("gpu_step", "", needs_gpu=True),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="All benchmarks, at a size of minutes.")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for their files (default: a new one, printed)")
    parser.add_argument(
        "--page", type=Path, metavar="FILE.md", help="whose tables to renew, such as docs/performance.md"
    )
    known = [entry.name for entry in ENTRIES]
    parser.add_argument(
        "--only", nargs="+", choices=known, default=known, metavar="NAME", help=f"of {', '.join(known)}"
    )
    args = parser.parse_args(argv)
    return ends_politely(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.page and not args.page.is_file():
        raise UserError(f"--page {args.page} is no file; give a page that has the tables' marks")
    out = args.out or Path(tempfile.mkdtemp(prefix="nowcast-benchmarks-"))
    console = wide_console()
    failed, entries = [], [entry for entry in ENTRIES if entry.name in args.only]
    with tempfile.TemporaryDirectory(prefix="nowcast-") as folder:
        if any(entry.shared or SHARDS in entry.options for entry in entries):
            make_archive(Path(folder), EVENTS, SIZE)
        for entry in entries:
            if entry.wants:
                console.print(f"{entry.name}: left out, {entry.wants}")
            elif not _measured(entry, Path(folder), out / entry.name, args.page, console):
                failed.append(entry.name)
    console.print(f"wrote {out}", soft_wrap=True)
    if failed:
        console.print(f"failed: {', '.join(failed)}; their own messages are above", style="bold red")
    return FAILED if failed else 0


def _measured(entry: Entry, made: Path, out: Path, page: Path | None, console: Console) -> bool:
    """Runs one, and renews its tables on the page. made: the archive and its shards. Whether it ended well."""
    out.mkdir(parents=True, exist_ok=True)
    words = ["-m", f"benchmarks.{entry.name}", *shlex.split(entry.options)]
    command, began_s = shlex.join(["python", *words, "--out", "DIR"]), time.monotonic()
    console.print(f"[bold]{command}[/]", soft_wrap=True)
    here = ["--out", str(out), *(["--source", str(made / "archive")] if entry.shared else [])]
    given = [str(made / "shards") if word == SHARDS else word for word in words]
    code = subprocess.run([sys.executable, *given, *here], check=False).returncode
    console.print(f"{entry.name}: {(time.monotonic() - began_s) / 60:.1f} min")
    if code:
        return False
    tables = collected(out)
    if not tables:
        console.print(f"{entry.name} left no table")
        return False
    if page is not None and (homeless := put(page, tables, command)):
        console.print(f"{page} has no place for {', '.join(homeless)}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
