"""The committed configs, wherever this is installed: which there are, and what each trains."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.resources import files

from data_prep.errors import UserError
from ds_nowcast.config import load_config
from ds_nowcast.config.schema import FILE
from ds_nowcast.config.settings import best_batch
from ds_nowcast.config.tables import show

EXAMPLE = "python -m ds_nowcast.config list"
_COLUMNS = (
    "name",
    "model",
    ">parameters",
    ">ZeRO",
    "precision",
    ">samples a step",
    ">micro-batch",
    ">ranks",
    ">steps",
    "place",
)
_PLACES = {"gpu": "one GPU", "node": "one host", "cluster": "many hosts"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares its options."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Prints them."""
    found = [_entry(name) for name in names()]
    if args.json:
        for entry in found:
            print(json.dumps(asdict(entry)))
        return 0
    show(_COLUMNS, [entry.cells for entry in found])
    print(
        "ranks: GPUs, or processes on CPUs, over which the samples of a step divide; copy one: python -m ds_nowcast.config copy NAME"
    )
    return 0


@dataclass(frozen=True)
class Entry:
    """What a config trains, and where it fits as it stands."""

    name: str
    model: str
    preset: str | None
    parameters: int
    zero_stage: int
    precision: str
    batch: int  # samples of an optimizer step
    micro_batch: int | None  # None: what a rank has of a step
    most_ranks: int
    steps: int
    place: str

    @property
    def cells(self) -> list[str]:
        """The row of the table."""
        model = f"{self.model} {self.preset}" if self.preset else self.model
        micro = "all" if self.micro_batch is None else str(self.micro_batch)
        ranks = "1" if self.most_ranks == 1 else f"1 to {self.most_ranks}"
        sizes = [f"{self.parameters / 1e6:,.1f} M", str(self.zero_stage), self.precision, str(self.batch), micro, ranks]
        return [self.name, model, *sizes, f"{self.steps:,}", self.place]


def names() -> list[str]:
    """Names of the committed configs, without `.json`."""
    found = (path.name for path in files("ds_configs").iterdir())
    return sorted(name.removesuffix(".json") for name in found if name.endswith(".json") and name != FILE)


def content(name: str) -> bytes:
    """A committed config as it stands. Raises UserError naming those that are like it."""
    known, asked = names(), name.removesuffix(".json")
    if asked not in known:
        near = get_close_matches(asked, known, n=3)
        meant = f"did you mean {' or '.join(near)}?" if near else f"the configs are {', '.join(known)}"
        raise UserError(f"there is no config {name!r}; {meant}")
    return (files("ds_configs") / f"{asked}.json").read_bytes()


def schema_content() -> bytes:
    """The committed schema."""
    return (files("ds_configs") / FILE).read_bytes()


def _entry(name: str) -> Entry:
    from ds_nowcast.models import outline_of  # these import torch
    from ds_nowcast.planning.training import precision

    config = load_config(str(files("ds_configs") / f"{name}.json"))
    keys, batch = config.nowcast, best_batch(config)
    return Entry(
        name=name,
        model=keys.model.name,
        preset=keys.model.preset,
        parameters=sum(p.numel() for p in outline_of(keys).parameters() if p.requires_grad),
        zero_stage=config.zero_optimization.stage,
        precision=precision(config),
        batch=batch.total,
        micro_batch=config.train_micro_batch_size_per_gpu,
        most_ranks=batch.ranks,
        steps=keys.steps,
        place=_PLACES.get(name.rpartition("_")[2], "CPUs or GPUs" if precision(config) == "fp32" else "GPUs"),
    )
