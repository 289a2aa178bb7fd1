"""What every accumulator of scores has in common: whole numbers on a device that add up, and scores made from them at the end.

Names: B samples, T lead times, H, W pixels, K thresholds. A pixel is an event when its value is `>=` the threshold; predictions
and targets are in model space [0, 1].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from data_prep.encoding import Encoding, Unit
from data_prep.frames import GridUnit
from ds_nowcast.config.nowcast_keys import Thresholds
from ds_nowcast.model_space import in_model_space, threshold_labels


@dataclass(frozen=True)
class ScoreSetting:
    """What a set of scores is made for.

    encoding, unit, shape, pixel, pixel_unit: of the shards: codes, the archive's physical unit, images. leads: lead times.
    full: False for contingency counts and errors alone, as evaluations while training take them.
    """

    encoding: Encoding
    unit: Unit
    thresholds: Thresholds
    leads: int
    shape: tuple[int, int]
    pixel: tuple[float, float]
    pixel_unit: GridUnit
    full: bool = True

    @cached_property
    def labels(self) -> list[str]:
        """Keys of scores by threshold."""
        return threshold_labels(self.thresholds)

    @cached_property
    def thresholds_model(self) -> list[float]:
        """The thresholds in model space."""
        values: list[float] = in_model_space(self.encoding, self.thresholds).tolist()
        return values


@dataclass(frozen=True)
class Batch:
    """Forecasts and targets in float32; `valid_BTHW` is True where a pixel counts, whatever the others hold."""

    prediction_BTHW: Tensor
    target_BTHW: Tensor
    valid_BTHW: Tensor

    def leads(self) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Number, prediction, target and valid pixels (B, H, W) of each lead time, 0 in both fields where not valid."""
        for lead, valid_BHW in enumerate(self.valid_BTHW.unbind(1)):
            prediction_BHW = torch.where(valid_BHW, self.prediction_BTHW[:, lead], 0.0)
            target_BHW = torch.where(valid_BHW, self.target_BTHW[:, lead], 0.0)
            yield lead, prediction_BHW, target_BHW, valid_BHW


class Accumulator(ABC):
    """Sums of one kind of score.

    sums: int64 tensors of any shape whose first axis is the lead time, or which are not by lead time; adding those of two
    accumulators merges them. A subclass makes them with `zeros` and adds to them in `update` or `add_events`.
    """

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        self.setting, self._device = setting, torch.device(device)
        # a CPU works on an image at a time, which stays in its cache, and may look at what is there; a GPU takes all at once
        self.on_cpu = self._device.type == "cpu"
        self.sums: dict[str, Tensor] = {}

    def at_once(self, images_BHW: Tensor) -> int:
        """How many images to work on together."""
        return 1 if self.on_cpu else len(images_BHW)

    def zeros(self, *shape: int) -> Tensor:
        """int64 on the device."""
        return torch.zeros(shape, dtype=torch.int64, device=self._device)

    def update(self, batch: Batch) -> None:
        """Adds the fields of a batch, without waiting for the device."""
        return

    def add_events(self, column: int, forecast_BTHW: Tensor, observed_BTHW: Tensor) -> None:
        """Adds a batch's events at one threshold, bool, False where a pixel is not valid; after `update`."""
        return

    def merge(self, other: Accumulator) -> None:
        """Adds another's sums (of other batches), in place."""
        for name, total in self.sums.items():
            total.add_(other.sums[name])

    def fetched(self) -> dict[str, Tensor]:
        """The sums where they can be read."""
        return {name: total.cpu() for name, total in self.sums.items()}

    @abstractmethod
    def scores(self, sums: dict[str, Tensor], leads: slice) -> dict[str, Any]:
        """What these lead times together have; `sums` as `fetched`."""

    def once(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """What is told for all lead times only."""
        return {}


def total(tensor: Tensor) -> int:
    """The sum as a Python integer, which no number of lead times makes too large."""
    return sum(map(int, tensor.flatten().tolist()))


def lead_counts(mask_BTHW: Tensor) -> Tensor:
    """True pixels by lead time, (T,) int64."""
    if mask_BTHW.is_cuda:
        return mask_BTHW.sum(dim=(0, 2, 3))
    # on a CPU one sum over several axes is some 14 times slower than counting lead by lead
    return torch.stack([torch.count_nonzero(mask_BHW) for mask_BHW in mask_BTHW.unbind(1)])


def lead_sums(values_BTHW: Tensor) -> Tensor:
    """Sums by lead time, (T,) float64."""
    if values_BTHW.is_cuda:
        return values_BTHW.sum(dim=(0, 2, 3), dtype=torch.float64)
    return torch.stack([values_BHW.sum(dtype=torch.float64) for values_BHW in values_BTHW.unbind(1)])
