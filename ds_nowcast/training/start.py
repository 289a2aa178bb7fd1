"""What a training starts from: the first model, and whether config, shards and model fit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from data_prep.shards.index import Shards
from ds_nowcast.config import Batch, RunConfig
from ds_nowcast.exported import check_weights, read_weights
from ds_nowcast.losses import LossSetting, build_loss
from ds_nowcast.model_space import thresholds_of
from ds_nowcast.models import NowcastModel, check_size, draw_weights, outline_of
from ds_nowcast.stream.augment import augmented_shape
from ds_nowcast.stream.order import OrderIdentity, identity, training_order
from ds_nowcast.stream.pipeline import batches_that_fit
from ds_nowcast.training.run_folder import RunFolder, run_identity


class FirstModel:
    """The model that a launch starts from: an outline, which `build` gives the weights drawn by the seed, or those read."""

    def __init__(self, config: RunConfig, run: RunFolder | None = None, init_from: Path | None = None) -> None:
        """run: None where nothing is resumed. Raises UserError where weights to start from cannot be read or are another model's."""
        keys = config.nowcast
        self._seed, self._weights = keys.seed, None
        self._outline = outline_of(keys)
        self.parameters = sum(p.numel() for p in self._outline.parameters() if p.requires_grad)
        if init_from is not None and not (run and run.has_checkpoints):
            self._weights = read_weights(init_from)
            check_weights(self._outline, self._weights, init_from)

    def build(self, place: Callable[[nn.Module], None]) -> NowcastModel:
        """The model; once. place: takes each module that holds weights itself, as soon as it has them."""
        return draw_weights(self._outline, self._seed, self._weights, place)


class Start(NamedTuple):
    """What is known before the ranks meet."""

    batch: Batch
    asked: Batch  # see RunFolder.batch
    run: dict[str, Any]  # what may not change between the launches of a run
    order: OrderIdentity


def check_start(
    config: RunConfig, shards: Shards, run: RunFolder | None, world: int, *, new_order: bool = False
) -> Start:
    """Raises UserError where config, shards, number of ranks and run folder do not fit together; starts nothing.

    run: None where it is not known yet.
    """
    batch, asked = run.batch(config, world) if run else (config.batch(world),) * 2
    _check_fits(config, shards, batch)
    start = Start(
        batch, asked, run_identity(config, shards), identity(shards, config.nowcast.data, config.nowcast.seed)
    )
    if run is not None:
        run.check(start.run, start.order, new_order=new_order)
    return start


def _check_fits(config: RunConfig, shards: Shards, batch: Batch) -> None:
    """Whether the shards and the model give what the config asks for."""
    keys = config.nowcast
    training_order(shards, keys.data, keys.seed)
    shards.split(keys.evaluation.split)
    for samples in (batch.per_rank, keys.evaluation.micro_batch):
        batches_that_fit(keys.data, samples, shards)
    thresholds_of(shards.index.codes, shards.index.unit, keys.evaluation.thresholds)
    build_loss(keys.loss, LossSetting(shards.index.codes, keys.steps, keys.seed))
    model = outline_of(keys)
    for rows, columns in {shards.index.shape, augmented_shape(shards.index.shape, keys.data.augment)}:
        check_size(model.stride, rows, columns)
