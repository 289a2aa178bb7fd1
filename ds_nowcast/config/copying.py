"""A committed config to begin one's own with, and the schema beside it, where editors look for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.errors import UserError
from data_prep.files import check_writable, write_atomically, write_new, writing
from ds_nowcast.config.listing import content, schema_content
from ds_nowcast.config.schema import FILE, is_schema

EXAMPLE = "python -m ds_nowcast.config copy unet_zero2_bf16 configs/mine.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares its options."""
    parser.add_argument("name", metavar="NAME", help="a config that `list` shows")
    parser.add_argument(
        "dest", metavar="DEST", nargs="?", default=".", help="file to write, or a folder (default: this one)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes both."""
    config, dest = content(args.name), Path(args.dest)
    path = dest / f"{args.name.removesuffix('.json')}.json" if dest.is_dir() else dest
    beside = path.with_name(FILE)
    check_writable(path, ".json")
    if path.name == FILE:
        raise UserError(f"{path} is where the schema will lie; give the config another name")
    if path.exists():
        raise UserError(f"{path} is there already; give another name, or remove it first")
    with writing(path):
        _put_schema(beside)
        try:
            write_new(path, config)
        except FileExistsError:
            raise UserError(f"{path} is there already; give another name, or remove it first") from None
    print(f"wrote {path}; {beside} completes and checks it in editors")
    return 0


def _put_schema(path: Path) -> None:
    """Writes it, over an older one of ours only."""
    if path.exists() and not is_schema(path):
        raise UserError(
            f"{path} is a file of yours, and the schema for editors would lie there; give DEST in another folder"
        )
    if not path.exists() or path.read_bytes() != schema_content():
        write_atomically(path, schema_content())
