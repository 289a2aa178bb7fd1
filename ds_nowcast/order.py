"""Which samples each optimizer step sees, and which rank holds them: found without reading a picture."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from data_prep.console import ends_politely
from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, load_config, solve_batch
from ds_nowcast.config.overrides import add_set_option
from ds_nowcast.launch.ending import parser
from ds_nowcast.stream.order import Item, ordered, training_order
from ds_nowcast.stream.windows import Windows, open_for

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
    add_set_option(options)
    options.add_argument("--seed", type=int, help="instead of nowcast.seed")
    options.add_argument("--mixing", action="store_true", help="show how many different events meet in a step instead")
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
    asked = Asked(args.deepspeed_config, args.shards, args.world_size, overrides)
    if args.mixing:
        _show_mixing(asked.mixing(args.steps), asked.batch, args.json)
        return 0
    for line in asked.samples(args.steps):
        print(
            json.dumps(line)
            if args.json
            else "step {step} rank {rank} {shard} {key} frames {first}-{last}".format(**line)
        )
    return 0


class Asked:
    """The order of samples of a config over some shards."""

    def __init__(self, config: str, shards: str, world: int, overrides: Sequence[str] = ()) -> None:
        settings = load_config(config, overrides)
        keys = settings.nowcast
        opened = open_for(shards, keys.data)
        self.batch, self._world, self._window = _samples_of_a_step(config, settings, world), world, keys.data.window
        self._order = training_order(opened, keys.data, keys.seed)
        self._windows = Windows(opened, keys.data.split)

    def _items(self, steps: tuple[int, int]) -> Iterator[tuple[int, Item]]:
        return ordered(range((steps[0] - 1) * self.batch, (steps[1] - 1) * self.batch), self._order)

    def samples(self, steps: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """The samples of steps [A, B), in the order of their positions."""
        for position, item in self._items(steps):
            yield self._windows.named(position, item).line(self.batch, self._world, self._window)

    def mixing(self, steps: tuple[int, int]) -> Counter[int]:
        """In how many of the steps [A, B) so many different events meet."""
        event_of = lru_cache(maxsize=100_000)(lambda shard, sample: self._windows.event(Item(shard, sample, 0)))
        events: dict[int, set[str]] = {}
        for position, item in self._items(steps):
            events.setdefault(position // self.batch, set()).add(event_of(item.shard, item.sample))
        return Counter(len(met) for met in events.values())


def _samples_of_a_step(config: str, settings: RunConfig, world: int) -> int:
    """Those of the run whose config it is, which its first launch fixed; else what the config says. Raises UserError."""
    path = Path(config)
    described = path.with_name("run.json")
    if path.name != "config.json" or not described.is_file():
        return settings.batch(world).total
    try:
        total = int(json.loads(described.read_text("utf-8"))["batch"]["total"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
        raise UserError(
            f"{described} cannot be used ({error!r}); give a copy of the config outside the run folder"
        ) from None
    return solve_batch(world, total, None, 1).total


def _show_mixing(steps_by_events: Counter[int], batch: int, as_json: bool) -> None:
    """The distribution, as one JSON object or a bar a line."""
    if as_json:
        print(json.dumps({"samples": batch, "steps_by_events": dict(sorted(steps_by_events.items()))}))
        return
    print(f"different events among the {batch} samples of a step:")
    most = max(steps_by_events.values())
    for events, steps_seen in sorted(steps_by_events.items()):
        print(f"{events:6d} in {steps_seen} steps {'#' * -(-40 * steps_seen // most)}")


if __name__ == "__main__":
    sys.exit(main())
