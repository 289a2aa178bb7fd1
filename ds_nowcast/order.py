"""Which samples each optimizer step sees, and which rank holds them: found without reading a picture."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from data_prep.console import ends_politely
from data_prep.errors import UserError
from data_prep.shards.index import open_shards
from ds_nowcast.config import load_config
from ds_nowcast.launch import parser
from ds_nowcast.stream.order import training_order, window_starts
from ds_nowcast.stream.pipeline import located
from ds_nowcast.stream.shard_files import ShardFiles

EXAMPLE = "python -m ds_nowcast.order --deepspeed_config ds_configs/demo.json --shards demo/shards --steps 100:102 --world-size 2"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser("python -m ds_nowcast.order", "Print the samples that optimizer steps see.", EXAMPLE)
    options.add_argument("--deepspeed_config", required=True, metavar="FILE", help="config of the training")
    options.add_argument("--shards", required=True, metavar="DIR", help="shards folder")
    options.add_argument(
        "--steps", required=True, type=steps, metavar="A:B", help="steps A to B-1; the first step of a training is 1"
    )
    options.add_argument("--world-size", type=int, default=1, metavar="W", help="ranks of the training (default 1)")
    options.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override settings")
    options.add_argument("--seed", type=int, help="instead of nowcast.seed")
    options.add_argument("--json", action="store_true", help="one JSON object per line")
    args = options.parse_args(argv)
    return ends_politely(lambda: run(args))


def steps(text: str) -> tuple[int, int]:
    """`A:B` as two whole numbers, 1 <= A < B."""
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal()) or not 1 <= int(first) < int(last):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not A:B with whole numbers 1 <= A < B, such as 1:3 for steps 1 and 2"
        )
    return int(first), int(last)


def run(args: argparse.Namespace) -> int:
    """Prints one line per sample: step, rank, shard, key, first and last frame of the window."""
    overrides = [*args.set, *([] if args.seed is None else [f"nowcast.seed={args.seed}"])]
    if args.world_size < 1:
        raise UserError(f"--world-size {args.world_size} is not a number of ranks; give 1 or more")
    for line in samples_of(args.deepspeed_config, args.shards, args.steps, args.world_size, overrides):
        print(
            json.dumps(line)
            if args.json
            else "step {step} rank {rank} {shard} {key} frames {first}-{last}".format(**line)
        )
    return 0


def samples_of(
    config: str, shards: str, steps: tuple[int, int], world: int, overrides: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """The samples of steps [A, B), in the order of their positions."""
    settings, opened = load_config(config, overrides), open_shards(shards)
    batch, keys = settings.batch(world), settings.nowcast
    order = training_order(opened, keys.data, keys.seed)
    starts = window_starts(opened.index.frames, keys.data)
    positions = range((steps[0] - 1) * batch.total, (steps[1] - 1) * batch.total)
    for sample in located(positions, order=order, files=ShardFiles(opened, keys.data.split), starts=starts):
        yield {
            "step": sample.position // batch.total + 1,
            "rank": sample.position % world,
            "position": sample.position,
            "shard": sample.shard,
            "key": sample.key,
            "first": sample.start,
            "last": sample.start + keys.data.window - 1,
        }


if __name__ == "__main__":
    sys.exit(main())
