"""Random masked fields for the tests of scores, and what they are scored by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.encoding import ENCODINGS, Unit
from ds_nowcast.config.nowcast_keys import Thresholds
from ds_nowcast.scoring.accumulator import Accumulator, Batch
from ds_nowcast.scoring.scores import Scores, ScoreSetting

LEADS, SHAPE = 3, (13, 18)
CODES = Thresholds(unit="code", values=[16, 74, 181])
Fields = tuple[Tensor, Tensor, Tensor, Tensor]  # prediction, target, valid (B, T, H, W), weight (B,)


def setting(
    encoding: str = "vil255",
    unit: Unit = "kg/m2",
    thresholds: Thresholds = CODES,
    leads: int = LEADS,
    shape: tuple[int, int] = SHAPE,
    full: bool = True,
    **other: Any,
) -> ScoreSetting:
    given = {"pixel": (1000.0, 1000.0), "pixel_unit": "m"} | other
    return ScoreSetting(ENCODINGS[encoding], unit, thresholds, leads, shape, full=full, **given)


def fields(seed: int, batch: int = 4, leads: int = LEADS, shape: tuple[int, int] = SHAPE, seen: float = 0.8) -> Fields:
    """Codes over 255, so that values fall exactly on thresholds, some predictions between codes; echoes are patches.

    NaN where the target was not seen: in a strip, and in single pixels. The last sample is padding.
    """
    generator = torch.Generator().manual_seed(seed)
    size = (batch, leads, *shape)
    coarse = torch.rand(2, batch, leads, -(-shape[0] // 4), -(-shape[1] // 4), generator=generator)
    patches = coarse.repeat_interleave(4, -2).repeat_interleave(4, -1)[..., : shape[0], : shape[1]]
    prediction, target = ((patches * 250 + 4 * torch.rand(2, *size, generator=generator)).round() / 255).unbind(0)
    between = torch.rand(size, generator=generator) < 0.3
    prediction = torch.where(between, (prediction + 0.3 / 255).clamp(max=1.0), prediction)
    valid = torch.rand(size, generator=generator) < (seen + 1.0) / 2.0
    valid[..., : int((1.0 - seen) * shape[0]), :] = False
    target = torch.where(valid, target, float("nan"))
    weight = torch.ones(batch, dtype=torch.int64)
    weight[-1] = 0
    return prediction, target, valid, weight


def summed(made_for: ScoreSetting, *batches: Fields) -> Scores:
    scores = Scores(made_for)
    for batch in batches:
        scores.update(*batch)
    return scores


def accumulated(kind: Accumulator, *batches: Fields) -> dict[str, Any]:
    """The scores over all lead times of one kind alone."""
    for prediction, target, valid, weight in batches:
        valid = valid & weight.bool()[:, None, None, None]
        kind.update(Batch(prediction, target, valid))
        for column, threshold in enumerate(kind.setting.thresholds_model):
            kind.add_events(column, (prediction >= threshold) & valid, (target >= threshold) & valid)
    return kind.scores(kind.fetched(), slice(None)) | kind.once(kind.fetched())


def images(batch: Fields, leads: Sequence[int] = range(LEADS)) -> Iterator[tuple[NDArray[Any], ...]]:
    """Prediction, target and valid pixels (H, W) of every image that counts, in float64."""
    prediction, target, valid, weight = batch
    for sample in np.flatnonzero(weight.numpy()):
        for lead in leads:
            image = (field[sample, lead].numpy() for field in (prediction, target, valid))
            forecast, observed, seen = image
            yield forecast.astype(np.float64), observed.astype(np.float64), seen
