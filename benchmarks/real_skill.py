"""Skill on real rain: a model trained on the west of MRMS's composite, scored on its east, beside the baselines.

    NOWCAST_RADAR_DATA=... python -m benchmarks.real_skill --out skill

builds both parts, trains for the config's steps (half an hour of two cores), evaluates, and prints a table by lead time.
The same command goes on where it was interrupted; a part that is there is used. `--set` changes the config, as in a
training. Everything stays in `--out`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.mrms_halves import PARTS
from data_prep.console import ends_politely
from data_prep.errors import UserError

COMMON = ["--product", "PrecipRate", "--tile", "128", "--max-missing", "0.1", "--min-wet", "0.1", "--seed", "0"]
BUILDS = {
    "west": [*COMMON, "--frames", "36", "--overlap", "64", "--split", "train"],
    "east": [*COMMON, "--frames", "25", "--split", "val"],
}
FORECASTS = ("model", "persistence", "extrapolation", "climatology")
CONFIG = Path(__file__).with_name("real_skill.json")
BUILD = (
    "import sys; from data_prep.readers import READERS; READERS['mrms'] = 'benchmarks.mrms_halves_' + sys.argv.pop(1); "
    "from data_prep.__main__ import run_command_line; sys.exit(run_command_line())"
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks.real_skill", description="Skill on MRMS, west to east.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for shards, run, scores and report")
    parser.add_argument("--name", default="run", metavar="NAME", help="of the run below --out (default run)")
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="of the training")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override settings")
    args = parser.parse_args(argv)
    return ends_politely(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    for part in PARTS:
        _build(args.out / part, part)
    run, began = args.out / args.name, time.monotonic()
    _python(
        *("-m", "ds_nowcast.train", "--deepspeed_config", args.config, "--shards", args.out / "west", "--run", run),
        *(["--set", *args.set] if args.set else []),
    )
    minutes = (time.monotonic() - began) / 60
    _python("-m", "ds_nowcast.evaluate", "--run", run, "--shards", args.out / "east", "--split", "val")
    _print_table(json.loads((run / "scores.json").read_text()), minutes)
    return 0


def _build(out: Path, part: str) -> None:
    if (out / "index.json").is_file():
        return
    data = os.environ.get("NOWCAST_RADAR_DATA")
    if data is None:
        raise UserError("NOWCAST_RADAR_DATA is not set; give the folder of real radar files that holds mrms/")
    _python(
        "-c", BUILD, part, "build", "--format", "mrms", "--source", Path(data) / "mrms", "--out", out, *BUILDS[part]
    )


def _python(*words: object) -> None:
    code = subprocess.run([sys.executable, *map(str, words)], check=False).returncode
    if code:
        raise UserError(f"{' '.join(map(str, words[:2]))} ended with {code}; its own message is above")


def _print_table(scores: dict[str, Any], minutes: float) -> None:
    task = scores["task"]
    labels = list(scores["model"]["csi_pooled"])
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title=f"{task['windows']} windows, this launch trained {minutes:.1f} min")
    for name in (
        "forecast",
        "lead, min",
        "MSE",
        "MAE",
        *(f"CSI {label}" for label in labels),
        *(f"bias {label}" for label in labels),
    ):
        table.add_column(name, justify="left" if name == "forecast" else "right")
    for name in FORECASTS:
        if "mse" not in scores[name]:
            continue
        for lead in (None, *range(1, task["leads"], 3), task["leads"] - 1):
            found = scores[name] if lead is None else scores[name]["by_lead"][lead]
            shown = "all" if lead is None else f"{(lead + 1) * task['cadence_s'] / 60:g}"
            cells = [
                found["mse"],
                found["mae"],
                *(found[key][label] for key in ("csi_pooled", "bias") for label in labels),
            ]
            table.add_row(
                name,
                shown,
                *("-" if cell is None else f"{cell:.4f}" for cell in cells),
                end_section=lead == task["leads"] - 1,
            )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
