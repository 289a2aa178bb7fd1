"""A forecast of a domain of any size, piece by piece: memory is bounded whatever the domain.

"tiles": overlapping tiles of the size trained on, blended. Normalisation statistics span the image, so most models run on
a whole domain would not be the ones that were trained. "whole": what the model makes of the domain as one image, exactly:
pieces that see as far beyond their edges as the model does. It is for models with a bounded receptive field.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, product
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F

from data_prep.errors import UserError
from data_prep.frames import tile_starts
from ds_nowcast.models import NowcastModel

Predict = Callable[[torch.Tensor], torch.Tensor]
Mode = Literal["tiles", "whole"]
MODES: tuple[Mode, ...] = get_args(Mode)


class Span(NamedTuple):
    """A piece's rows, or its columns."""

    begin: int  # given to the model
    end: int
    kept: slice  # of the domain
    weight: torch.Tensor  # of each that is kept, (kept,); over all spans they add up to 1


def forecast_domain(
    predict: Predict,
    past_THW: torch.Tensor,
    tile: tuple[int, int],
    stride: int,
    batch: int = 4,
    *,
    mode: Mode = "tiles",
    receptive_field: int | None = None,
    table: torch.Tensor | None = None,
) -> torch.Tensor:
    """(T_in, H, W) -> (T_out, H, W), both in model space, on the CPU; the device is the model's matter.

    tile: rows and columns the model was trained on. A side smaller than that, or no multiple of `stride`, is padded
    with "no echo". "tiles": a larger side is covered by tiles that overlap by at least a quarter and fade into each other.
    "whole": as one image, for a model of that `receptive_field`. table: where it is given `past_THW` are codes, and it has
    the model-space value of each: a continent of them needs a quarter of the memory. batch: tiles predicted at a time.
    """
    rows, columns = (
        _whole(length, full, stride, receptive_field)
        if mode == "whole" and receptive_field is not None
        else _tiles(length, min(-(-length // stride) * stride, full))
        for length, full in zip(past_THW.shape[-2:], tile, strict=True)
    )
    places = list(product(rows, columns))
    at_once = 1 if mode == "whole" else batch  # those at the domain's edges are smaller
    total_LHW: torch.Tensor | None = None
    for chosen in (places[i : i + at_once] for i in range(0, len(places), at_once)):
        given_BTHW = torch.stack([_cut(past_THW, *place, table) for place in chosen])
        forecasts_BLHW = predict(given_BTHW).float().cpu()
        if total_LHW is None:
            total_LHW = torch.zeros(forecasts_BLHW.shape[1], *past_THW.shape[-2:])
        for (row, column), forecast_LHW in zip(chosen, forecasts_BLHW, strict=True):
            kept_LHW = forecast_LHW[:, _inside(row), _inside(column)]
            total_LHW[:, row.kept, column.kept] += kept_LHW * (row.weight[:, None] * column.weight)
    assert total_LHW is not None
    return total_LHW


def check_mode(mode: Mode, model: NowcastModel, name: str) -> None:
    """Raises UserError where a domain cannot be forecast in that mode by the model, which is called `name`."""
    if mode == "whole" and model.receptive_field is None:
        raise UserError(
            f"--mode whole is not for model {name} with these options: all of an image matters to each of its pixels (its "
            "norms' statistics span the image), so a whole domain is not what it was trained on; give --mode tiles"
        )


def _cut(past_THW: torch.Tensor, row: Span, column: Span, table: torch.Tensor | None) -> torch.Tensor:
    rows, columns = past_THW.shape[-2:]
    cut_THW = past_THW[:, row.begin : min(row.end, rows), column.begin : min(column.end, columns)]
    values_THW = cut_THW if table is None else table[cut_THW.int()]
    return F.pad(values_THW, (0, max(column.end - columns, 0), 0, max(row.end - rows, 0)))


def _inside(span: Span) -> slice:
    return slice(span.kept.start - span.begin, span.kept.stop - span.begin)


def _tiles(length: int, side: int) -> list[Span]:
    """Tiles of `side` that fade into each other."""
    starts = tile_starts(max(length, side), side, side // 4 if length > side else 0)
    kept = [slice(start, min(start + side, length)) for start in starts]
    fades = [_fade(side)[: one.stop - one.start] for one in kept]
    total = torch.zeros(length)
    for one, fade in zip(kept, fades, strict=True):
        total[one] += fade
    return [
        Span(start, start + side, one, fade / total[one]) for start, one, fade in zip(starts, kept, fades, strict=True)
    ]


def _fade(length: int) -> torch.Tensor:
    """A weight that rises from the tile's edge to its middle, never 0, so that a lone tile keeps its own forecast."""
    distance = torch.minimum(torch.arange(length), torch.arange(length - 1, -1, -1)) + 0.5
    return torch.sin(torch.clamp(distance / (length / 4), max=1.0) * (torch.pi / 2)) ** 2


def _whole(length: int, tile: int, stride: int, reach: int) -> list[Span]:
    """Pieces side by side, each given what it can see: at most four times the pixels that it keeps."""
    halo = -(-reach // stride) * stride
    inner = max(-(-tile // stride) * stride, 2 * halo)
    end = -(-length // stride) * stride
    starts = [0, *accumulate([inner] * (-(-length // inner) - 1))]
    return [
        Span(max(start - halo, 0), min(start + inner + halo, end), kept, torch.ones(kept.stop - kept.start))
        for start in starts
        for kept in [slice(start, min(start + inner, length))]
    ]
