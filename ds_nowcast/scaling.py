"""Measures how a training scales with the number of ranks, and projects it to more of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.console import ends_politely, positive, positive_number, whole
from data_prep.errors import ExpectedError, UserError
from data_prep.files import write_atomically, writing
from ds_nowcast.config import load_config
from ds_nowcast.config.overrides import add_set_option
from ds_nowcast.doctor.hostfile import read_hostfile
from ds_nowcast.launch.ending import parser
from ds_nowcast.measuring.slots import hosts_for
from ds_nowcast.projecting.figures import read_figures
from ds_nowcast.projecting.findings import Asked, report_of, task_of
from ds_nowcast.projecting.launches import Study, made
from ds_nowcast.projecting.outlook import outlooks
from ds_nowcast.projecting.picture import check, draw
from ds_nowcast.projecting.report import Report
from ds_nowcast.projecting.series import ranks_of, series_of
from ds_nowcast.projecting.table import show
from ds_nowcast.stream.order import training_order
from ds_nowcast.stream.windows import open_for

EXAMPLE = (
    "python -m ds_nowcast.scaling --deepspeed_config ds_configs/unet_zero2_bf16.json --shards shards/sevir \\\n"
    "      --hostfile hostfile --ranks 1,2,4,8 --out scaling --project 128,512,4096"
)
_PROJECTED = "128,512,4096"
_NOT_WITH_FIGURES = (
    "deepspeed_config", "set", "shards", "ranks", "hostfile", "link_gb_s", "link_latency_us", "file_system_gb_s",
    "file_gb_s", "ranks_per_host", "epochs",
)  # fmt: skip
_TIMEOUT_S = 1800.0  # of a launch: starting, warming up and, with --seconds, measuring


class IncompleteError(ExpectedError):
    """Some launches of a study did not measure anything; the rest was written."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _options().parse_args(argv)

    def run() -> int:
        check()
        return _project(args) if args.figures else _study(args)

    return ends_politely(run)


def _options() -> argparse.ArgumentParser:
    options = parser(
        "python -m ds_nowcast.scaling", "Measure a training at several numbers of ranks; project it.", EXAMPLE
    )
    add = options.add_argument
    add("--deepspeed_config", metavar="FILE", type=Path, help="config of the training")
    add("--shards", metavar="DIR", help="folder that `python -m data_prep build` made")
    add("--ranks", metavar="N,N,...", help="numbers of ranks to measure, such as 1,2,4")
    add("--hostfile", metavar="FILE", type=Path, help="hosts and slots, filled in order (default: this machine)")
    add("--out", metavar="DIR", type=Path, default=Path("scaling"), help="folder to write (default: scaling)")
    add(
        "--project",
        metavar="N,N,...",
        default=_PROJECTED,
        help=f"numbers of ranks to project to (default: {_PROJECTED})",
    )
    add(
        "--link-gb-s",
        type=positive_number,
        metavar="X",
        help="between neighbouring ranks (default: from timed collectives)",
    )
    add("--link-latency-us", type=positive_number, metavar="Y", help="of a message between them (default: the same)")
    add(
        "--file-system-gb-s",
        type=positive_number,
        metavar="Z",
        help="what the shards' disks give to all hosts together",
    )
    add("--file-gb-s", type=positive_number, metavar="V", help="what they give of one file")
    add(
        "--ranks-per-host", type=positive, metavar="N", help="of the hosts projected to (default: the fullest one here)"
    )
    add("--epochs", type=positive_number, metavar="N", help="how long to train (default: nowcast.steps of the config)")
    add("--steps", type=positive, default=20, metavar="N", help="steps to measure in a launch (default: 20)")
    add("--warmup", type=whole, default=5, metavar="N", help="steps before them (default: 5)")
    add(
        "--seconds",
        type=positive_number,
        default=60.0,
        metavar="S",
        help="measure no longer, but 3 steps (default: 60)",
    )
    add_set_option(options)
    add(
        "--figures", metavar="FILE", type=Path, help="project these figures instead; measures nothing (docs/scaling.md)"
    )
    return options


def _study(args: argparse.Namespace) -> int:
    for name in ("deepspeed_config", "shards", "ranks"):
        if getattr(args, name) is None:
            raise UserError(f"give --{name}, or --figures FILE to project what was measured elsewhere")
    config, ranks, projected = (
        load_config(args.deepspeed_config, args.set),
        ranks_of(args.ranks),
        ranks_of(args.project),
    )
    series = series_of(config, ranks)
    hosts_for(ranks[-1], args.hostfile)  # there are slots enough
    keys, shards = config.nowcast, open_for(args.shards, config.nowcast.data)
    order = training_order(shards, keys.data, keys.seed)
    arguments = ["--steps", str(args.steps), "--warmup", str(args.warmup), "--seconds", f"{args.seconds:g}"]
    study = Study(
        args.deepspeed_config.absolute(), config, args.set, args.shards, shards.hash, args.hostfile, args.out, arguments,
        _TIMEOUT_S + args.seconds,
    )  # fmt: skip
    found = made(study, series, lambda line: None if args.quiet else print(line, file=sys.stderr, flush=True))
    slots = ranks[-1] if args.hostfile is None else max(host.slots for host in read_hostfile(args.hostfile))
    task = task_of(config, series, order.length, len(shards.split(keys.data.split).shards), args.epochs)
    report = report_of(config, series, found, task, _asked(args, projected), slots)
    _write(args, report, task.samples)
    if found.failed:
        raise IncompleteError(
            f"{len(found.failed)} of {len(series.wanted())} launches measured nothing, as told above; the same command tries them again"
        )
    return 0


def _asked(args: argparse.Namespace, ranks: Sequence[int]) -> Asked:
    def scaled(value: float | None, unit: float) -> float | None:
        return None if value is None else value * unit

    return Asked(
        ranks=ranks,
        link_bytes_per_s=scaled(args.link_gb_s, 1e9),
        link_latency_s=scaled(args.link_latency_us, 1e-6),
        file_system_bytes_per_s=scaled(args.file_system_gb_s, 1e9),
        file_bytes_per_s=scaled(args.file_gb_s, 1e9),
        ranks_per_host=args.ranks_per_host,
    )


def _project(args: argparse.Namespace) -> int:
    mixed = [name for name in _NOT_WITH_FIGURES if getattr(args, name) not in (None, [])]
    if mixed:
        option = mixed[0] if mixed[0] == "deepspeed_config" else mixed[0].replace("_", "-")
        raise UserError(f"--figures FILE says all that --{option} would; leave one of them out")
    file, ranks = read_figures(args.figures), ranks_of(args.project)
    task, band = file.task(), file.band()
    found = outlooks(("weak", "strong"), ranks, task, band)
    report = Report(file.about, [], [], {}, figures=band.likely, outlooks=found, notes=file.sources())
    _write(args, report, task.samples)
    return 0


def _write(args: argparse.Namespace, report: Report, samples: float) -> None:
    """Leaves `scaling.json` and `scaling.png`, and prints it."""
    path = args.out / "scaling.json"
    with writing(path):
        args.out.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(report.to_json() | {"samples": samples}, indent=1) + "\n").encode())
    draw(args.out / "scaling.png", report, samples)
    show(report)
    print(f"written: {path}, {args.out / 'scaling.png'}")


if __name__ == "__main__":
    sys.exit(main())
