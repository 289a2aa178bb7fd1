"""Measures real optimizer steps of a config: `deepspeed --hostfile hostfile --module ds_nowcast.measure ...`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from data_prep.console import positive, positive_number, whole
from data_prep.files import check_writable, write_atomically, writing
from data_prep.shards.index import Shards
from ds_nowcast import ranks as process_group
from ds_nowcast.config import Batch, RunConfig, changed, load_config
from ds_nowcast.config.overrides import add_set_option
from ds_nowcast.launch.ending import Launch, ends_as_a_rank, parser
from ds_nowcast.launch.environment import environment_rank, environment_world
from ds_nowcast.measuring.clock import StepClock, TimedEngine
from ds_nowcast.measuring.collectives import collectives
from ds_nowcast.measuring.feeds import FEEDS, Make, TrainingSteps, one_batch, stream_steps, timed
from ds_nowcast.measuring.figures import Figures
from ds_nowcast.measuring.overlap import profiled
from ds_nowcast.measuring.traffic import Traffic
from ds_nowcast.ranks import Ranks, end_process
from ds_nowcast.stream.pipeline import batches_that_fit
from ds_nowcast.stream.windows import open_for
from ds_nowcast.training.agreement import check_alike
from ds_nowcast.training.parts import samples_of, start_engine
from ds_nowcast.training.start import FirstModel, check_start

EXAMPLE = (
    "deepspeed --hostfile hostfile --module ds_nowcast.measure --deepspeed_config ds_configs/unet_zero2_bf16.json \\\n"
    "      --shards shards/sevir --out measured.json --set train_micro_batch_size_per_gpu=4"
)
_MONITORS = ("tensorboard", "csv_monitor", "wandb", "comet")  # a measurement leaves one file


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return ends_as_a_rank(lambda launch: measure(command_line().parse_args(argv), launch))


def command_line() -> argparse.ArgumentParser:
    """The command's options."""
    options = parser(
        "ds_nowcast.measure", "Measure a training's optimizer steps: rate, split, memory, traffic.", EXAMPLE
    )
    options.add_argument(
        "--deepspeed_config", required=True, metavar="FILE", help="JSON: DeepSpeed's keys and a nowcast section"
    )
    options.add_argument("--shards", required=True, metavar="DIR", help="folder that `python -m data_prep build` made")
    options.add_argument("--out", required=True, metavar="FILE", type=Path, help="JSON file to write")
    add_set_option(options)
    options.add_argument("--seed", type=int, help="instead of nowcast.seed")
    options.add_argument(
        "--feed", choices=FEEDS, default="full",
        help="full: as a training; synthetic: the same samples again and again, nothing is read; stream: samples are "
        "taken and dropped, there is no model (default: full)",
    )  # fmt: skip
    options.add_argument("--steps", type=positive, default=20, metavar="N", help="steps to measure (default: 20)")
    options.add_argument("--warmup", type=whole, default=5, metavar="N", help="steps to make before (default: 5)")
    options.add_argument(
        "--seconds",
        type=positive_number,
        metavar="S",
        help="measure no longer, but at least 3 steps (default: no limit)",
    )
    options.add_argument(
        "--collectives", action="store_true", help="also time the process group's collectives, 4 KB to 64 MB"
    )
    return options


def measure(args: argparse.Namespace, launch: Launch) -> int:
    """Makes the steps and writes what was found. Returns the exit code; raises ExpectedError."""
    if environment_rank() == 0:
        check_writable(args.out, ".json")
    config = load_config(
        args.deepspeed_config, [*args.set, *([] if args.seed is None else [f"nowcast.seed={args.seed}"])]
    )
    config = changed(config, [f"{name}.enabled=false" for name in _MONITORS if getattr(config, name).enabled])
    shards = open_for(args.shards, config.nowcast.data)
    batch = check_start(config, shards, None, environment_world()).batch

    launch.patience(config.nowcast.heartbeat_timeout_s)
    ranks = process_group.join(launch.store, always=True)
    torch.set_num_threads(ranks.threads)
    check_alike(ranks, config, shards, batch)
    launch.logs_in(args.out.absolute().parent / "logs")
    figures = measured(args, config, shards, batch, ranks)
    found = figures.gathered() | ({"collectives": collectives(ranks)} if args.collectives else {})
    if ranks.first:
        with writing(args.out):
            write_atomically(args.out, (json.dumps(found, indent=1) + "\n").encode())
        print(f"{args.out}: {figures.told(found)}")
    return 0


def measured(args: argparse.Namespace, config: RunConfig, shards: Shards, batch: Batch, ranks: Ranks) -> Figures:
    """Warms up, measures, and keeps what this rank saw. Raises ExpectedError, on all ranks."""
    traffic = Traffic()
    clock, figures = StepClock(ranks.device, traffic), Figures(config, shards, batch, ranks, args.feed, traffic)
    with samples_of(shards, config.nowcast, batch, ranks, 0) as stream:
        if args.feed == "stream":
            # what was read ahead while nobody took it is no measure of reading
            warmup = max(args.warmup, batches_that_fit(config.nowcast.data, batch.per_rank, shards) + 1)
            make = stream_steps(stream, ranks, clock, ends_early=args.seconds is not None)
            return measure_steps(make, clock, figures, warmup, args)
        first = FirstModel(config)
        engine = start_engine(first, config, batch, ranks, partial(TimedEngine, clock))
        figures.parameters, figures.dtype = first.parameters, engine.dtype
        steps = TrainingSteps(
            config, shards, batch, ranks, engine, clock, stream if args.feed == "full" else one_batch(stream)
        )
        measure_steps(steps, clock, figures, args.warmup, args)
        figures.idle = steps.idle
        if ranks.device.type == "cuda":
            waited = profiled(lambda: timed(steps, clock, 1, None))
            figures.splits = [split.exposing(*waited) for split in figures.splits]
        return figures


def measure_steps(make: Make, clock: StepClock, figures: Figures, warmup: int, args: argparse.Namespace) -> Figures:
    """The steps that count, after those that do not."""
    timed(make, clock, warmup, None)
    figures.ranks.barrier()
    with figures.measuring():
        figures.splits = timed(make, clock, args.steps, args.seconds)
    return figures


if __name__ == "__main__":
    end_process(main())
