"""Whether a training would take a config, without starting anything: what it would refuse, in the same words."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.console import positive
from data_prep.errors import UserError
from ds_nowcast.config import Batch, RunConfig, load_config
from ds_nowcast.config.overrides import add_set_option
from ds_nowcast.config.schema import is_schema
from ds_nowcast.config.settings import best_batch

EXAMPLE = "python -m ds_nowcast.config check mine.json --shards shards/sevir --gpus 8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares its options."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="configs")
    parser.add_argument("--shards", metavar="DIR", help="shards folder of the training: whether they go together")
    parser.add_argument("--gpus", type=positive, metavar="N", help="ranks of all hosts: whether the batch divides")
    add_set_option(parser)


def run(args: argparse.Namespace) -> int:
    """A line for each file that is good; raises UserError with those of all others."""
    problems = []
    for file in args.files:
        if is_schema(Path(file)):
            print(f"{file}: the schema of configs, not a config")
            continue
        try:
            config = load_config(file, args.set)
            batch = checked(config, args.gpus, args.shards)
        except UserError as error:
            named = file in str(error) or len(args.files) == 1
            problems.append(str(error) if named else f"{file}: {error}")
            continue
        print(f"{file}: {_summary(config, batch)}")
        for caution in config.cautions(batch):
            print(f"{file}: beware: {caution}")
    if problems:
        raise UserError("\n".join(problems))
    return 0


def checked(config: RunConfig, ranks: int | None, location: str | None) -> Batch:
    """The batch at so many ranks, None: at the most over which it divides. location: of shards. Raises ExpectedError."""
    from ds_nowcast.models import check_size, outline_of  # these import torch
    from ds_nowcast.stream.windows import open_for
    from ds_nowcast.training.start import check_start

    batch = best_batch(config) if ranks is None else config.batch(ranks)
    data = config.nowcast.data
    if location is not None:
        check_start(config, open_for(location, data), None, batch.ranks)
        return batch
    model = outline_of(config.nowcast)
    if data.augment.crop is not None:
        check_size(model.stride, data.augment.crop, data.augment.crop)
    return batch


def _summary(config: RunConfig, batch: Batch) -> str:
    from ds_nowcast.planning.training import precision

    model = config.nowcast.model
    name = f"{model.name} {model.preset}" if model.preset else model.name
    return f"good: {name}, ZeRO {config.zero_optimization.stage}, {precision(config)}; {batch}; {config.nowcast.steps:,} steps"
