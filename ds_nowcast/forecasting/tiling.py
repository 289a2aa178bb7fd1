"""A forecast of a domain of any size by a model of fixed-size images: overlapping tiles, blended.

Normalisation statistics span the image, so a model run on a whole domain would not be the one that was trained.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F

from data_prep.frames import tile_starts

Predict = Callable[[torch.Tensor], torch.Tensor]


def forecast_domain(
    predict: Predict, past_THW: torch.Tensor, tile: tuple[int, int], stride: int, batch: int = 4
) -> torch.Tensor:
    """(T_in, H, W) -> (T_out, H, W), both in model space, on the CPU; the device is the model's matter.

    tile: rows and columns the model was trained on. A side smaller than the tile is padded to a multiple of `stride`
    with "no echo"; a larger one is covered by tiles that overlap by at least a quarter and fade into each other.
    """
    rows, columns = past_THW.shape[-2:]
    sides = [min(-(-length // stride) * stride, full) for length, full in zip((rows, columns), tile, strict=True)]
    padded_THW = F.pad(past_THW, (0, max(sides[1] - columns, 0), 0, max(sides[0] - rows, 0)))
    starts = [
        tile_starts(length, side, side // 4 if length > side else 0)
        for length, side in zip(padded_THW.shape[-2:], sides, strict=True)
    ]
    fade_HW = _fade(sides[0])[:, None] * _fade(sides[1])[None, :]
    places = list(product(*starts))
    total: torch.Tensor | None = None
    weight_HW = torch.zeros(padded_THW.shape[-2:])
    for chosen in (places[i : i + batch] for i in range(0, len(places), batch)):
        tiles_BTHW = torch.stack([padded_THW[:, r : r + sides[0], c : c + sides[1]] for r, c in chosen])
        forecasts_BTHW = predict(tiles_BTHW).float().cpu()
        if total is None:
            total = torch.zeros(forecasts_BTHW.shape[1], *padded_THW.shape[-2:])
        for (r, c), forecast_THW in zip(chosen, forecasts_BTHW, strict=True):
            total[:, r : r + sides[0], c : c + sides[1]] += forecast_THW * fade_HW
            weight_HW[r : r + sides[0], c : c + sides[1]] += fade_HW
    assert total is not None
    return (total / weight_HW)[:, :rows, :columns]


def _fade(length: int) -> torch.Tensor:
    """A weight that rises from the tile's edge to its middle, never 0, so that a lone tile keeps its own forecast."""
    distance = torch.minimum(torch.arange(length), torch.arange(length - 1, -1, -1)) + 0.5
    return torch.sin(torch.clamp(distance / (length / 4), max=1.0) * (torch.pi / 2)) ** 2
