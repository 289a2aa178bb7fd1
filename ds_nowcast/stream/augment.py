"""Random symmetries and crops of training samples, a pure function of (seed, position).

The numbers are a hash of the sample's global position in integers: the same on any device, in any batch, at any world
size and after any restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.errors import UserError
from data_prep.hashing import random_bits

if TYPE_CHECKING:
    from ds_nowcast.config.nowcast_keys import AugmentOptions

_FLIP, _TURN, _TOP, _LEFT = range(4)


@dataclass(frozen=True)
class Augmentation:
    """What is done to each sample of a batch, in this order: cut out a window, mirror it, turn it."""

    top: NDArray[np.int64]  # (B,) first row of the window
    left: NDArray[np.int64]  # (B,) first column of the window
    flip: NDArray[np.bool_]  # (B,) mirrored left-right
    turns: NDArray[np.int64]  # (B,) quarter turns counter-clockwise, 0 to 3
    shape: tuple[int, int]  # rows and columns of the window


def augmented_shape(shape: tuple[int, int], options: AugmentOptions) -> tuple[int, int]:
    """Rows and columns after augmentation of images of `shape`.

    Raises UserError when the crop is larger than the image, or quarter turns are asked of images that are not square.
    """
    rows, columns = shape
    side = min(shape)
    if options.crop is not None and options.crop > side:
        raise UserError(
            f"nowcast.data.augment.crop={options.crop} is larger than the samples' {rows} x {columns} pixels; "
            f"give {side} or less"
        )
    if options.crop is not None:
        return options.crop, options.crop
    if options.rotate and rows != columns:
        raise UserError(
            f"nowcast.data.augment.rotate needs square images, the samples have {rows} x {columns} pixels; "
            f"set rotate to false, or crop to {side} or less"
        )
    return shape


def draw(
    seed: int, positions: NDArray[np.int64] | Tensor, shape: tuple[int, int], options: AugmentOptions
) -> Augmentation:
    """The augmentation of the samples at global `positions` (B,), whose images have `shape` (rows, columns).

    Raises UserError as `augmented_shape` does.
    """
    rows, columns = augmented_shape(shape, options)
    places = np.asarray(positions, np.int64)
    still = np.zeros(len(places), np.int64)
    return Augmentation(
        top=_below(shape[0] - rows + 1, places, seed, _TOP),
        left=_below(shape[1] - columns + 1, places, seed, _LEFT),
        flip=(_below(2, places, seed, _FLIP) if options.flip else still) == 1,
        turns=_below(4, places, seed, _TURN) if options.rotate else still,
        shape=(rows, columns),
    )


def apply(codes_BTHW: Tensor, augmentation: Augmentation) -> Tensor:
    """The augmented codes (B, T, rows, columns) on the same device, all frames of a sample alike.

    Takes any dtype, before codes become values, so that the code for no data moves with its pixel. Returns the input
    itself when nothing is to be done.
    """
    batch, frames = codes_BTHW.shape[:2]
    rows, columns = augmentation.shape
    assert len(augmentation.turns) == batch
    if (rows, columns) == tuple(codes_BTHW.shape[2:]) and not (augmentation.flip.any() or augmentation.turns.any()):
        return codes_BTHW
    if codes_BTHW.dtype == torch.uint16:  # torch has no flip of it
        return apply(codes_BTHW.view(torch.int16), augmentation).view(torch.uint16)
    out_BTHW = codes_BTHW.new_empty((batch, frames, rows, columns))
    for sample in range(batch):
        top, left = int(augmentation.top[sample]), int(augmentation.left[sample])
        window_THW = codes_BTHW[sample, :, top : top + rows, left : left + columns]
        turned_THW = _turned(window_THW, bool(augmentation.flip[sample]), int(augmentation.turns[sample]))
        out_BTHW[sample].copy_(turned_THW)
    return out_BTHW


def _turned(image_THW: Tensor, flip: bool, turns: int) -> Tensor:
    """Mirrored, then turned, as at most one flip (a copy) and one transposition (a view)."""
    flip_columns = flip != (turns in (1, 2))
    flip_rows = turns in (2, 3)
    axes = [axis for axis, flipped in ((-2, flip_rows), (-1, flip_columns)) if flipped]
    image_THW = image_THW.flip(axes) if axes else image_THW
    return image_THW.transpose(-1, -2) if turns % 2 else image_THW


def _below(limit: int, positions: NDArray[np.int64], seed: int, purpose: int) -> NDArray[np.int64]:
    """Uniform integers in [0, limit), limit < 2^32, one for each position (B,)."""
    high = random_bits(positions, seed, purpose) >> np.uint64(32)
    return ((high * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)
