"""What large batches cost: trainings on simulated storms by batch and learning-rate rule, at fixed samples and fixed steps.

    python -m benchmarks.large_batches --out study

makes an archive and shards, then trains a small model with the trainer itself on one core, batches by accumulation, and
prints a table of each part: scores, and how long it takes on one core and on as many as the batch has base batches, were
nothing lost between them. The same command goes on where it was interrupted. All of it
takes about a quarter of an hour of one core; `--quick` a minute, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.table import Table

from benchmarks.archive import simulate
from benchmarks.page import leave
from benchmarks.running import run_python
from data_prep.console import ends_politely, wide_console
from data_prep.files import write_atomically

CONFIG = Path(__file__).with_name("large_batches.json")
RULES = ("none", "linear", "square_root")
WARMS_UP = 8  # a training's samples over those of its warm-up


@dataclass(frozen=True)
class Study:
    """How large it is."""

    events: int
    size: int  # pixels
    batches: tuple[int, ...]  # the first is the base
    samples: int  # of each training at fixed samples
    steps: int  # of each training at fixed steps
    seeds: int
    rates: tuple[float, ...]  # times the config's, at the base batch: whether that one is good there


FULL = Study(events=200, size=64, batches=(8, 32, 128), samples=2048, steps=64, seeds=2, rates=(0.5, 2.0))
QUICK = Study(events=24, size=48, batches=(8, 16), samples=32, steps=2, seeds=1, rates=())


@dataclass(frozen=True)
class Case:
    """One training but for its seed."""

    batch: int
    rule: str
    steps: int
    times: float = 1.0  # the config's rate

    @property
    def samples(self) -> int:
        """Seen in the whole training."""
        return self.batch * self.steps

    def name(self, seed: int) -> str:
        """Of its run folder."""
        return f"batch{self.batch}-{self.rule}-rate{self.times:g}-steps{self.steps}-seed{seed}"


@dataclass(frozen=True)
class Trained:
    """What came of a training."""

    lr: float  # the schedule's highest
    step_s: float  # median
    csi: float  # of the validation split, mean over thresholds
    mse: float
    persistence: tuple[float, float]  # the same two


def parts(study: Study) -> dict[str, list[Case]]:
    """The trainings of each part by its title; some are of two. Other rates get one seed, which tells whether they do better."""
    base = study.batches[0]

    def with_rules(batch: int, steps: int) -> list[Case]:
        return [Case(batch, rule, steps) for rule in (RULES if batch > base else RULES[:1])]

    at_samples = [with_rules(batch, study.samples // batch) for batch in study.batches]
    at_steps = [with_rules(batch, study.steps) for batch in study.batches]
    return {
        f"{study.samples:,} samples each": [case for batch in at_samples for case in batch],
        f"{study.steps} steps each": [case for batch in at_steps for case in batch],
        f"batch {base} at other rates": [Case(base, "none", study.samples // base, times) for times in study.rates],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks.large_batches", description="What large batches cost.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for archive, shards, runs and figures")
    parser.add_argument("--quick", action="store_true", help="a minute of it: to see that it runs")
    args = parser.parse_args(argv)
    return ends_politely(lambda: run(args.out, QUICK if args.quick else FULL))


def run(out: Path, study: Study) -> int:
    """Does what is not done yet. Returns 0; raises UserError where a training fails."""
    out.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core, and so one thread a training
    shards = _shards(out, study)
    console = wide_console()
    found: dict[Case, list[Trained]] = {}
    for title, part in parts(study).items():
        for seed, case in product(range(study.seeds), part):
            if len(found.get(case, [])) == seed and (seed == 0 or case.times == 1.0):
                found.setdefault(case, []).append(_trained(out / case.name(seed), case, seed, shards, study))
                _write(out, study, found)
        if part:
            console.print(tables(found, study)[title])
    [table, *_] = tables(found, study).values()
    leave(out, "large_batches", f"{study.samples:,} samples each, {study.seeds} seeds", table)
    return 0


def _shards(out: Path, study: Study) -> Path:
    """Of storms of the study's number and size; those of another study in the same folder are not taken for them."""
    archive, shards = (out / f"{kind}-{study.events}x{study.size}" for kind in ("archive", "shards"))
    if not (shards / "index.json").is_file():
        if not (archive / "CATALOG.csv").is_file():
            simulate(archive, study.events, study.size)
        source = ("--format", "sevir", "--source", archive, "--out", shards)
        run_python("-m", "data_prep", "build", *source, "--workers", 1, "--quiet")
    return shards


def _trained(folder: Path, case: Case, seed: int, shards: Path, study: Study) -> Trained:
    """Trains, or goes on, where it has not been trained to the end."""
    config: dict[str, Any] = json.loads(CONFIG.read_text())
    rule = {"rule": case.rule, "base_batch": study.batches[0], "warmup_samples": max(1, case.samples // WARMS_UP)}
    overrides = {
        "train_batch_size": case.batch,
        "optimizer.params.lr": config["optimizer"]["params"]["lr"] * case.times,
        "nowcast.steps": case.steps,
        "nowcast.learning_rate": rule,
    }
    if not (folder / "last.safetensors").is_file():
        words = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
        command = ("--deepspeed_config", CONFIG, "--shards", shards, "--run", folder, "--seed", seed)
        run_python("-m", "ds_nowcast.train", *command, "--quiet", "--set", *words)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    [scored] = [line["evaluation"] for line in lines if "evaluation" in line]
    model, persistence = scored["model"], scored["persistence"]
    return Trained(
        lr=json.loads((folder / "run.json").read_text())["learning_rate"],
        step_s=median(case.batch / line["samples_per_s"] for line in lines if "samples_per_s" in line),
        csi=model["csi_pooled"],
        mse=model["mse"],
        persistence=(persistence["csi_pooled"], persistence["mse"]),
    )


def _write(out: Path, study: Study, found: dict[Case, list[Trained]]) -> None:
    rows = [{**asdict(case), "seeds": [asdict(trained) for trained in all_seeds]} for case, all_seeds in found.items()]
    write_atomically(
        out / "large_batches.json", (json.dumps({"study": asdict(study), "rows": rows}, indent=1) + "\n").encode()
    )


def tables(found: dict[Case, list[Trained]], study: Study) -> dict[str, Table]:
    """By its title, of each part that has been begun."""
    of_sample = min(one.step_s / case.batch for case, trained in found.items() for one in trained)
    begun = {title: [case for case in part if case in found] for title, part in parts(study).items()}
    of_step = of_sample * study.batches[0]
    return {title: _table(title, part, found, of_step) for title, part in begun.items() if part}


def _persistence(found: dict[Case, list[Trained]]) -> str:
    csi, mse = next(iter(found.values()))[0].persistence
    return f"CSI {csi:.3f}, MSE {mse:.4f}"


def _table(title: str, part: list[Case], found: dict[Case, list[Trained]], of_step: float) -> Table:
    """of_step: seconds of a step of the base batch in the training that was disturbed least."""
    table = Table(title=f"{title}; persistence {_persistence(found)}")
    names = (
        "batch",
        "rule",
        "lr",
        "steps",
        "samples",
        "seeds",
        "val CSI",
        "val MSE",
        "one core, s",
        "batch / base cores, s",
    )
    for name in names:
        table.add_column(name, justify="left" if name == "rule" else "right")
    base = min(case.batch for case in found)
    for case in part:
        trained = found[case]
        table.add_row(
            *(
                str(case.batch),
                case.rule,
                f"{trained[0].lr:.3g}",
                str(case.steps),
                f"{case.samples:,}",
                str(len(trained)),
            ),
            *(_spread([one.csi for one in trained], 3), _spread([one.mse for one in trained], 4)),
            *(f"{case.samples / base * of_step:.0f}", f"{case.steps * of_step:.1f}"),
        )
    return table


def _spread(values: list[float], digits: int) -> str:
    """Mean and range over the seeds."""
    mean = f"{fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} - {max(values):.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
