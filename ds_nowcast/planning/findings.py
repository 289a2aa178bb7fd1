"""All that is planned of a config: what `python -m ds_nowcast.plan` prints, and gives as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from data_prep.encoding import Encoding
from data_prep.errors import UserError
from ds_nowcast.config import Batch, RunConfig, load_config
from ds_nowcast.models import check_size, outline_of
from ds_nowcast.planning.activations import Activations
from ds_nowcast.planning.disk import Disk, disk
from ds_nowcast.planning.options import (
    CONTEXT,
    MARGIN,
    Option,
    choice_of,
    options,
    reason,
    recommended,
    settings,
    usable,
)
from ds_nowcast.planning.peak import Peak, peak
from ds_nowcast.planning.training import Device, precision, training_of
from ds_nowcast.stream.augment import augmented_shape
from ds_nowcast.stream.order import training_order
from ds_nowcast.stream.windows import open_for

SIZE = 384  # pixels, of SEVIR's images


@dataclass(frozen=True)
class Asked:
    """What is planned."""

    config: Path
    overrides: Sequence[str]
    ranks: int
    device: Device
    gpu_memory: int | None  # bytes of each GPU; None takes those of the present one, where there is one
    shards: str | None
    size: int | None  # pixels of square images; None where shards say


@dataclass(frozen=True)
class Plan:
    """What was found."""

    asked: Asked
    config: RunConfig
    shape: tuple[int, int]  # rows and columns that the model sees
    parameters: int
    flops: tuple[int, int]  # of a sample: forward, and forward and backward
    batch: Batch
    windows: int | None  # of the training split in an epoch; None without shards
    own: Peak  # of the config as it is
    disk: Disk
    usable: int | None  # bytes of a GPU that may be used; None where its memory is not known
    options: list[Option]

    @property
    def steps_per_epoch(self) -> float | None:
        """Optimizer steps that show each window once."""
        return None if self.windows is None else self.windows / self.batch.total

    @property
    def recommended(self) -> Option | None:
        """The option to take."""
        return recommended(self.options, self.batch, self.config.zero_optimization.stage)

    def to_json(self) -> dict[str, Any]:
        """For machines; bytes and elements as whole numbers."""
        best = self.recommended
        return {
            "model": {
                **self.config.nowcast.model.model_dump(),
                "parameters": self.parameters,
                "image": list(self.shape),
                "flops_forward": self.flops[0],
                "flops_training": self.flops[1],
            },
            "precision": precision(self.config),
            "batch": self.batch._asdict(),
            "learning_rate": self.config.rates(self.batch).full,
            "epoch": None
            if self.windows is None or self.steps_per_epoch is None
            else {
                "windows": self.windows,
                "steps": self.steps_per_epoch,
                "epochs": self.config.nowcast.steps / self.steps_per_epoch,
            },
            "memory": {
                "device": self.asked.device,
                "usable": self.usable,
                "margin": MARGIN,
                "context": CONTEXT,
                "config": _peak_json(self.own),
                "options": [_option_json(option) for option in self.options],
            },
            "disk": self.disk._asdict(),
            "recommendation": None
            if best is None
            else {
                "set": settings(best, self.batch, self.config),
                "reason": reason(best, self.batch, choice_of(self.config)),
                **best.choice._asdict(),
            },
        }


def _peak_json(found: Peak | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"when": found.when, "per_gpu": found.parts.device, **asdict(found.parts)}


def _option_json(option: Option) -> dict[str, Any]:
    return {
        **option.choice._asdict(),
        "refused": option.refused or None,
        "peak": _peak_json(option.peak),
        "micro_batch": option.micro,
    }


def plan(asked: Asked) -> Plan:
    """Finds all of it out; starts nothing. Raises UserError."""
    config = load_config(asked.config, asked.overrides)
    shape, windows, encoding = _images(asked, config)
    model, batch = outline_of(config.nowcast), config.batch(asked.ranks)
    check_size(model.stride, *shape)
    activations = Activations(config, shape, asked.device, encoding)
    training = training_of(config, model, asked.ranks, batch.accumulation, asked.device)
    memory = _gpu_memory(asked)
    able = None if memory is None else usable(memory)
    return Plan(
        asked=asked,
        config=config,
        shape=shape,
        parameters=training.total,
        flops=activations.flops,
        batch=batch,
        windows=windows,
        own=peak(training, activations.at(batch.micro), activations.input_bytes(batch.per_rank)),
        disk=disk(config, training),
        usable=able,
        options=options(config, asked.ranks, activations, asked.device, able),
    )


def _images(asked: Asked, config: RunConfig) -> tuple[tuple[int, int], int | None, Encoding | None]:
    """Rows and columns that the model sees; where shards are given, the windows of an epoch and the encoding."""
    data = config.nowcast.data
    if asked.shards is None:
        side = asked.size or SIZE
        return augmented_shape((side, side), data.augment), None, None
    if asked.size is not None:
        raise UserError("--size and --shards both say how large images are; give one of them")
    shards = open_for(asked.shards, data)
    rows, columns = augmented_shape(shards.index.shape, data.augment)
    return (rows, columns), training_order(shards, data, config.nowcast.seed).length, shards.index.codes


def _gpu_memory(asked: Asked) -> int | None:
    if asked.device == "cpu":
        if asked.gpu_memory is not None:
            raise UserError("--gpu-memory is of GPUs and --device is cpu; leave one of them out")
        return None
    if asked.gpu_memory is None and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return asked.gpu_memory
