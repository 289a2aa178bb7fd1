"""The options of `build`, and what they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.building.layout import Cutting
from data_prep.building.options import BLOCKS_GUARD_HOURS, IMPORTANCE_FLOOR, Options
from data_prep.console import positive, positive_number, share, whole
from data_prep.encoding import ENCODINGS
from data_prep.errors import UserError
from data_prep.readers import READERS
from data_prep.shards.codecs import CODECS, DEFAULT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `build`."""
    parser.add_argument("--format", required=True, choices=list(READERS), help="what kind of archive it is")
    parser.add_argument("--source", required=True, nargs="+", metavar="PATH", help="folders, files or globs in quotes")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the shards folder to make")
    parser.add_argument("--product", metavar="NAME", help="which, where the files hold several")
    _add_samples(parser)
    _add_splits(parser)
    _add_shards(parser)
    _add_work(parser)


def _add_samples(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("samples")
    group.add_argument("--frames", type=positive, metavar="N", help="per sequence (default: a whole event of SEVIR's)")
    group.add_argument("--stride", type=positive, metavar="N", help="from one start to the next (default: --frames)")
    group.add_argument(
        "--cadence",
        type=positive,
        metavar="S",
        help="seconds between frames, each the mean of the archive's since the last",
    )
    group.add_argument(
        "--pixel",
        type=positive_number,
        metavar="SIZE",
        help="side of coarser pixels to average to, in metres or degrees",
    )
    cut = group.add_mutually_exclusive_group()
    cut.add_argument("--crop", type=positive, metavar="PX", help="keep only a square in the middle")
    cut.add_argument("--tile", type=positive, metavar="PX", help="cut into squares that cover all")
    group.add_argument("--overlap", type=whole, default=0, metavar="PX", help="of tiles, at least (default 0)")
    group.add_argument(
        "--min-wet", type=share, default=0.0, metavar="F", help="smallest share of wet pixels (default 0)"
    )
    group.add_argument(
        "--max-missing", type=share, metavar="F", help="largest share without data (default 1; SEVIR: 0)"
    )
    group.add_argument(
        "--importance",
        type=positive_number,
        metavar="M",
        help="keep a sample with probability FLOOR + M * mean(1 - exp(-rain)), which its JSON then says",
    )
    group.add_argument(
        "--importance-floor",
        type=share,
        metavar="FLOOR",
        help=f"that of a dry one, with --importance (default {IMPORTANCE_FLOOR:g})",
    )
    group.add_argument("--encoding", choices=list(ENCODINGS), help="of the codes (default: the product's)")


def _add_splits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("splits")
    split = group.add_mutually_exclusive_group()
    split.add_argument(
        "--split-dates", metavar="VAL,TEST", help="where train and val end (default: SEVIR's usual dates)"
    )
    split.add_argument("--split-blocks", metavar="TRAIN,VAL,TEST", help="so many days (UTC) in turn, as in 14,3,3")
    split.add_argument("--split", metavar="NAME", help="put all into one split")
    group.add_argument(
        "--guard",
        type=float,
        metavar="HOURS",
        help=f"between frames of two splits (default 0; with --split-blocks {BLOCKS_GUARD_HOURS:g})",
    )


def _add_shards(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("shards")
    about_shards = "at most so many in a tar (default 32: some 20 MB of SEVIR)"
    group.add_argument("--samples-per-shard", type=positive, default=32, metavar="N", help=about_shards)
    about_codecs = "; ".join(f"{codec.name}: {codec.what}" for codec in CODECS.values())
    group.add_argument(
        "--codec", choices=list(CODECS), default=DEFAULT, help=f"of the frames (default {DEFAULT}). {about_codecs}"
    )
    about_seed = "deals sequences to shards, draws by importance (default 0)"
    group.add_argument("--seed", type=whole, default=0, metavar="N", help=about_seed)


def _add_work(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("work")
    about_workers = "processes (default: one per core)"
    group.add_argument("--workers", type=positive, metavar="N", help=about_workers)
    group.add_argument(
        "--part",
        metavar="I/N",
        help="do only the tasks whose number is I mod N (default: as a launcher's rank, srun or a SLURM array says, or 0/1)",
    )
    group.add_argument(
        "--finish", action="store_true", help="do nothing but check that all parts are there, and finish"
    )
    group.add_argument("--append", action="store_true", help="add what is new to a folder that is complete")
    group.add_argument("--dry-run", action="store_true", help="say what would be built and how large, write nothing")
    group.add_argument("--strict", action="store_true", help="stop at an unreadable file, instead of leaving it out")
    group.add_argument("--quiet", action="store_true", help="no progress and no account")


def options_of(args: argparse.Namespace) -> Options:
    """What the arguments ask for. Raises UserError where they contradict each other."""
    if args.tile and args.overlap >= args.tile:
        raise UserError(f"overlap={args.overlap} is not less than tile={args.tile}; give a smaller --overlap")
    if args.overlap and not args.tile:
        raise UserError("--overlap is of tiles; give --tile PX too, or leave --overlap out")
    if args.importance_floor is not None and args.importance is None:
        raise UserError("--importance-floor is of importance sampling; give --importance M too, or leave it out")
    if args.guard is not None and not 0 <= args.guard < 24 * 366:
        raise UserError(f"--guard {args.guard:g} is not a number of hours from 0 on; give one such as 6")
    floor = IMPORTANCE_FLOOR if args.importance_floor is None else args.importance_floor
    return Options(
        format=args.format, sources=tuple(args.source), product=args.product, split_dates=args.split_dates,
        split_blocks=args.split_blocks, split=args.split, guard_hours=args.guard, frames=args.frames, stride=args.stride,
        cadence_s=args.cadence, cutting=Cutting(args.crop, args.tile, args.overlap, args.pixel), min_wet=args.min_wet,
        max_missing=args.max_missing, importance=args.importance, importance_floor=floor,
        encoding=args.encoding, samples_per_shard=args.samples_per_shard, seed=args.seed, codec=args.codec,
    )  # fmt: skip
