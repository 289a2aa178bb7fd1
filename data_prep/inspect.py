"""`inspect`: what an archive or a shards folder holds: what, when, where, gaps, values; as tables, JSON, pictures."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from glob import iglob
from pathlib import Path
from typing import Any

from rich.console import Console

from data_prep.console import positive, whole
from data_prep.errors import UserError
from data_prep.files import check_writable, format_version
from data_prep.inspection.archive import ArchiveView, look_at_archive
from data_prep.inspection.as_json import archive_json, folder_json
from data_prep.inspection.draw import COLUMNS, ROWS, draw_archive, draw_folder, draw_map
from data_prep.inspection.folder import FolderView, look_at_folder
from data_prep.inspection.show import show_archive, show_folder
from data_prep.readers import READERS
from data_prep.shards.index import BUILD_NAME, INDEX_NAME, open_shards
from data_prep.workers import WorkerDiedError, Workers, cores

EXAMPLE = """
python -m data_prep inspect shards/sevir --picture sevir.png
  python -m data_prep inspect /data/mrms --product PrecipRate --picture mrms.png --map where.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `inspect`."""
    about = "a shards folder or its URL, or an archive: folders, files or globs in quotes"
    parser.add_argument("paths", nargs="+", metavar="PATH", help=about)
    parser.add_argument("--format", choices=list(READERS), help="of an archive (default: found out by trying)")
    parser.add_argument("--product", metavar="NAME", help="of an archive with several (default: each)")
    about_sample = "frames of an archive's product that are read, evenly in time (default 32)"
    parser.add_argument("--sample", type=positive, default=32, metavar="N", help=about_sample)
    parser.add_argument("--workers", type=positive, metavar="N", help="processes (default: one per core)")
    parser.add_argument(
        "--picture", type=Path, metavar="F.png", help=f"draw {ROWS} rows of {COLUMNS} frames, and where"
    )
    parser.add_argument("--map", type=Path, metavar="F.png", help="draw where it all is, by split")
    parser.add_argument("--split", metavar="NAME", help="of shards, to draw from (default: the first)")
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="chooses the sequences drawn (default 0)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress and no table")


def run(args: argparse.Namespace) -> int:
    """Prints tables or JSON, draws what is asked for."""
    for path in (args.picture, args.map):
        if path is not None:
            check_writable(path, ".png")
    _refuse_mixed(args)
    if args.format is None and is_shards_folder(args.paths):
        _inspect_folder(args)
    else:
        _inspect_archive(args)
    return 0


def is_shards_folder(paths: Sequence[str]) -> bool:
    """Whether the one path is a folder with an index or with a build that is not finished, or a URL."""
    [first, *others] = paths
    return not others and (
        _is_elsewhere(first) or any((Path(first) / name).exists() for name in (INDEX_NAME, BUILD_NAME))
    )


def _refuse_mixed(args: argparse.Namespace) -> None:
    """Raises UserError where a shards folder on a disk is to be looked at as an archive, or beside something else."""
    for path in args.paths:
        if not _is_elsewhere(path) and is_shards_folder([path]):
            index = Path(path, INDEX_NAME)
            if args.format and index.is_file() and format_version(index.read_bytes()) is not None:
                raise UserError(f"{path} is a shards folder; leave --format {args.format} out")
            if len(args.paths) > 1:
                raise UserError(f"{path} is a shards folder; inspect it alone, then the others")


def _is_elsewhere(path: str) -> bool:
    return "://" in path or path.startswith("pipe:")


def _inspect_folder(args: argparse.Namespace) -> None:
    if args.product:
        raise UserError(f"{args.paths[0]} is a shards folder, which holds one product; leave --product out")
    shards = open_shards(args.paths[0])
    split = args.split or next(iter(shards.index.splits))
    shards.split(split)
    view = look_at_folder(shards)
    _say(args, folder_json(view) if args.json else view)
    if args.picture:
        draw_folder(args.picture, view, split, args.seed)
    if args.map:
        grids = {name: [sample.grid for sample in seen.samples] for name, seen in view.splits.items()}
        draw_map(args.map, grids, f"{shards.index.archive}: where its sequences are")


def _inspect_archive(args: argparse.Namespace) -> None:
    if args.split:
        raise UserError("--split is of shards, and this is an archive; leave it out")
    for path in args.paths:
        if not _is_elsewhere(path) and not os.path.exists(path) and not any(iglob(path, recursive=True)):
            raise UserError(
                f"{path} does not exist; give a shards folder, or an archive's folders, files or quoted globs"
            )
    with Workers(args.workers or cores()) as pool:
        try:
            view = look_at_archive(args.paths, args.format, args.product, args.sample, pool, args.quiet or args.json)
        except WorkerDiedError as error:
            raise error.told(f"{args.paths[0]} was read") from None
    _say(args, archive_json(view) if args.json else view)
    if args.picture:
        draw_archive(args.picture, view)
    if args.map:
        grids = {product.product.name: product.grids for product in view.products}
        draw_map(args.map, grids, f"{view.format}: where its frames are")


def _say(args: argparse.Namespace, what: ArchiveView | FolderView | dict[str, Any]) -> None:
    if isinstance(what, dict):
        print(json.dumps(what, indent=1))
    elif not args.quiet:
        console = Console(highlight=False)
        show_archive(console, what) if isinstance(what, ArchiveView) else show_folder(console, what)
