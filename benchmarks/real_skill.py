"""Skill on real rain: a model trained on the west of MRMS's composite, scored on its east, beside the baselines.

    NOWCAST_RADAR_DATA=... python -m benchmarks.real_skill --out skill

builds both parts, trains for the config's steps, evaluates the model as it is and in its mean over quarter turns, each
on whole images and in tiles of the size trained on, and prints a table by lead time. The same command goes on where it
was interrupted; a part that is there is used. `--set` changes the config, as in a training. Everything stays in `--out`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.mrms_halves import PARTS
from benchmarks.page import leave
from benchmarks.running import run_python
from data_prep.console import ends_politely, wide_console
from data_prep.errors import UserError

COMMON = ["--product", "PrecipRate", "--tile", "128", "--max-missing", "0.1", "--min-wet", "0.1", "--seed", "0"]
BUILDS = {
    "west": [*COMMON, "--frames", "36", "--overlap", "64", "--split", "train"],
    "east": [*COMMON, "--frames", "25", "--split", "val"],
}
BASELINES = ("persistence", "extrapolation", "climatology")
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
    run_python(
        *("-m", "ds_nowcast.train", "--deepspeed_config", args.config, "--shards", args.out / "west", "--run", run),
        *(["--set", *args.set] if args.set else []),
        shown=True,
    )
    minutes = (time.monotonic() - began) / 60
    east = ["--shards", args.out / "east", "--split", "val"]
    run_python("-m", "ds_nowcast.evaluate", "--run", run, *east, "--turned", "--out", run / "turned", shown=True)
    run_python("-m", "ds_nowcast.evaluate", "--run", run, *east, shown=True)
    table, what = _table(_scores(run / "turned"), _scores(run), minutes)
    wide_console().print(what, table)
    leave(args.out, "real_skill", what, table)
    return 0


def _scores(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return content


def _build(out: Path, part: str) -> None:
    if (out / "index.json").is_file():
        return
    data = os.environ.get("NOWCAST_RADAR_DATA")
    if data is None:
        raise UserError("NOWCAST_RADAR_DATA is not set; give the folder of real radar files that holds mrms/")
    run_python(
        "-c",
        BUILD,
        part,
        "build",
        "--format",
        "mrms",
        "--source",
        Path(data) / "mrms",
        "--out",
        out,
        *BUILDS[part],
        shown=True,
    )


def _table(turned: dict[str, Any], plain: dict[str, Any], minutes: float) -> tuple[Table, str]:
    """Scores over all lead times, and at some of them."""
    task, ways = plain["task"], {"model": "", "tiles": ", in tiles"}
    forecasts = {
        **{f"model{words}": plain[name] for name, words in ways.items() if name in plain},
        **{f"model, turned{words}": turned[name] for name, words in ways.items() if name in turned},
        **{name: plain[name] for name in BASELINES if "mse" in plain[name]},
    }
    labels = list(plain["model"]["csi_pooled"])
    table = Table()
    columns = ["forecast", "lead, min", "MSE", "MAE", *(f"CSI {x}" for x in labels), *(f"bias {x}" for x in labels)]
    for name in columns:
        table.add_column(name, justify="left" if name == "forecast" else "right", no_wrap=name == "forecast")
    for name, scores in forecasts.items():
        for lead in (None, *range(1, task["leads"], 3), task["leads"] - 1):
            found = scores if lead is None else scores["by_lead"][lead]
            shown = "all" if lead is None else f"{(lead + 1) * task['cadence_s'] / 60:g}"
            cells = [found["mse"], found["mae"], *(found[k][x] for k in ("csi_pooled", "bias") for x in labels)]
            words = ("-" if cell is None else f"{cell:.4f}" for cell in cells)
            table.add_row(name, shown, *words, end_section=lead == task["leads"] - 1)
    model = task["model"]
    return table, (
        f"{task['windows']} windows of the east of MRMS's composite, {task['thresholds']['unit']}; a model of "
        f"{model['parameters']:,} parameters after {model['step']} steps in its west (this launch trained {minutes:.1f} min)"
    )


if __name__ == "__main__":
    sys.exit(main())
