"""A model as a graph of operations, for images of any size that it takes, and what shows that the graph is the model."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram, export

from data_prep.errors import DataError, UserError, in_words
from ds_nowcast.exported import ModelCard
from ds_nowcast.models import NowcastModel

# In model space, of which a code of 255 is 4e-3. Sums in another order differ by some 1e-6, but where an image is dry a
# norm over the image has next to nothing to divide by, and enlarges that.
MOST_DIFFERENCE = 2e-4


class Traced(NamedTuple):
    """The graph. any_size: whether height and width may be any multiple of the stride, or are those trained on."""

    program: ExportedProgram
    any_size: bool


def traced(model: NowcastModel, card: ModelCard) -> Traced:
    """The graph of a model in evaluation mode, for any number of images. Raises UserError with the reason where it has none."""
    logging.getLogger("torch.fx").setLevel(logging.ERROR)
    sides = [model.stride * max(3, 48 // model.stride), model.stride * max(4, 64 // model.stride)]
    try:
        program = _export(model, card.input_frames, (sides[0], sides[1]), _sides(model.stride))
        _run(program, card.input_frames, (8 * model.stride, 5 * model.stride), card.shape)
        return Traced(program, True)
    except Exception:
        try:
            return Traced(_export(model, card.input_frames, card.shape, {}), False)
        except Exception as error:
            raise UserError(
                f"model {card.name} cannot be traced by torch.export ({in_words(error)}); write a .safetensors file"
            ) from error


def _export(model: NowcastModel, frames: int, shape: tuple[int, int], sides: dict[int, Any]) -> ExportedProgram:
    past_BTHW = torch.zeros(2, frames, *shape)
    with redirect_stderr(io.StringIO()):  # where it fails it shows pages of what it had traced
        program = export(model, (past_BTHW,), dynamic_shapes=({0: Dim("batch", min=1)} | sides,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the sources lie on the disk
    return program


def _run(program: ExportedProgram, frames: int, *shapes: tuple[int, int]) -> None:
    """Raises where the graph holds for the sizes it was traced with alone, which tracing does not tell."""
    with torch.no_grad():
        for shape in shapes:
            program.module()(torch.zeros(1, frames, *shape))


def _sides(stride: int) -> dict[int, Any]:
    dims = {2: Dim("rows", min=1), 3: Dim("columns", min=1)}
    return {axis: stride * dim if stride > 1 else dim for axis, dim in dims.items()}


def largest_difference(
    predict: Callable[[Tensor], Tensor], model: NowcastModel, card: ModelCard, any_size: bool
) -> float:
    """How far two forms of a model lie apart, in model space, on noise and on what looks like rain.

    Where a forecast is larger than 1 it counts relative to that. Raises DataError where it is more than rounding makes.
    """
    most = 0.0
    with torch.no_grad():
        for past_BTHW in _examples(model.stride, card, any_size):
            own_BTHW = model(past_BTHW)
            difference = (predict(past_BTHW) - own_BTHW).abs().max() / own_BTHW.abs().max().clamp(min=1.0)
            most = max(most, float(difference))
    if not most <= MOST_DIFFERENCE:
        raise DataError(
            f"the exported form of model {card.name} differs from the model by {most:.2g} in model space, expected "
            f"{MOST_DIFFERENCE:g} at most; nothing was written: write a .safetensors file"
        )
    return most


def _examples(stride: int, card: ModelCard, any_size: bool) -> Iterator[Tensor]:
    generator, frames = torch.Generator().manual_seed(0), card.input_frames
    small = (8 * stride, 5 * stride) if any_size else card.shape
    yield torch.rand(3, frames, *small, generator=generator)
    yield _rain(frames, card.shape, generator)
    yield torch.zeros(1, frames, *small)


def _rain(frames: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Cells that move and grow over a dry ground, in the steps of codes: (1, T, H, W)."""
    rows_H1, columns_W = torch.arange(shape[0])[:, None], torch.arange(shape[1])
    past_THW = torch.zeros(frames, *shape)
    for _ in range(12):
        place, way, size, most = torch.rand(4, 2, generator=generator)
        for time, field_HW in enumerate(past_THW):
            row, column = (place * torch.tensor(shape) + (way - 0.5) * 4 * time).tolist()
            width = float(size[0]) * min(shape) / 12 + 2
            distance = ((rows_H1 - row) ** 2 + (columns_W - column) ** 2) / width**2
            torch.maximum(field_HW, float(most[0]) * torch.exp(-distance), out=field_HW)
    return (torch.where(past_THW > 0.1, past_THW, 0.0) * 255).round()[None] / 255
