"""Puts evaluated runs into one table and one plot, with bootstrap intervals over days."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.console import ends_politely, positive, whole
from data_prep.errors import UserError
from data_prep.files import writing
from ds_nowcast.comparing.comparison import FEWEST_RESAMPLES, RESAMPLES, Comparison, compare
from ds_nowcast.comparing.table import show
from ds_nowcast.comparing.written import CSV_NAME, JSON_NAME, PICTURE_NAME, to_json, write, write_picture
from ds_nowcast.launch.ending import parser

EXAMPLE = "python -m ds_nowcast.compare runs/unet runs/simvp runs/unet_focal --out compare/losses"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    about = "Compare evaluated runs, each on all windows of one split, with bootstrap intervals over days."
    options = parser("python -m ds_nowcast.compare", about, EXAMPLE)
    options.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder with scores.json and windows.jsonl (a run's, or evaluate --out); differences are to the first",
    )
    options.add_argument(
        "--out",
        type=Path,
        default=Path("compare"),
        metavar="DIR",
        help=f"where {PICTURE_NAME}, {JSON_NAME} and {CSV_NAME} go (default: compare)",
    )
    options.add_argument(
        "--resamples",
        type=positive,
        default=RESAMPLES,
        metavar="N",
        help=f"of the bootstrap, {FEWEST_RESAMPLES} or more (default {RESAMPLES})",
    )
    options.add_argument("--seed", type=whole, default=0, metavar="N", help="of the bootstrap (default 0)")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    args = options.parse_args(argv)

    def run() -> int:
        if args.out.exists() and not args.out.is_dir():
            raise UserError(f"--out {args.out} is a file; give a folder")
        found = compare(args.runs, args.resamples, args.seed)
        if args.json:
            print(json.dumps(to_json(found), indent=1, allow_nan=False))
        else:
            show(found, quiet=args.quiet)
        with writing(args.out):
            _write(args.out, found, quiet=args.quiet)
        return 0

    return ends_politely(run)


def _write(out: Path, found: Comparison, *, quiet: bool) -> None:
    write(out, found)
    try:
        write_picture(out, found)
        if not quiet:
            print(f"{PICTURE_NAME}, {JSON_NAME} and {CSV_NAME} in {out}", file=sys.stderr)
    except UserError as error:  # the pictures' library is an extra: scores must not depend on it
        print(f"{JSON_NAME} and {CSV_NAME} in {out}; no picture: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
