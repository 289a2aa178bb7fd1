"""How rain moved in the last frames: optical flow after Lucas and Kanade (1981), dense, coarse to fine.

For each node of a grid, the motion u (pixels a frame) for which the frames of its neighbourhood fit best when moved onto
each other. Over all pairs of frames s < t, l = t - s frames apart, and the pixels p near the node, it makes least
    sum w(p) d(p)^2,   d(p) = frame_s(p - l u) - frame_t(p),
w being the neighbourhood's weight where both were seen, else 0. With the gradient g = l grad(frame) a step is linear:
    (sum w g g^T + a I) step = sum w g d + a (u' - u)                        2 x 2 equations a node
u' is the motion of the coarser level, and the small a, in proportion to the image's mean squared gradient, lets it stand
where there is nothing to see: dry areas have the motion of the rain around them. Levels are images of half the size each.

Neighbourhoods are means of NODE x NODE pixels, then three running means over NEAR x NEAR nodes: nearly a Gaussian. Only
pointwise operations, pooling and interpolation are used, no convolution or sum over an image: their results do not
depend on the batch or the number of threads.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ds_nowcast.motion.filling import filled, halved
from ds_nowcast.motion.warping import Lookup, resized

COARSEST = 8  # pixels on a side that the coarsest image has at least
FINEST = 1  # times the finest image of which motion is measured is halved
NODE, NEAR, PASSES = 4, 5, 3  # the neighbourhood, in pixels and nodes of a level: standard deviation 10 pixels
STEPS = 2  # on each level
HOLD = 0.1  # a, of the image's mean squared gradient
_LEAST = 1e-9  # of a, in images without gradient


class Level(NamedTuple):
    """The frames of one level of the pyramid."""

    frames_BTHW: Tensor
    weight_BTHW: Tensor  # 1 where all around each pixel was seen, little where a part was
    halvings: int


class Motion(NamedTuple):
    """Motion (B, 2, h, w), x then y, in pixels a frame, at nodes `spacing` pixels apart."""

    pixels_B2hw: Tensor
    spacing: int


def motion_of(frames_BTHW: Tensor, seen_BTHW: Tensor) -> Motion:
    """The motion of echoes, constant over the frames; 0 in one frame, where nothing moves, and where nothing was seen."""
    levels = _pyramid(filled(frames_BTHW, seen_BTHW), seen_BTHW.float())
    motion_B2hw = frames_BTHW.new_zeros(frames_BTHW.shape[0], 2, 1, 1)
    finest = levels[min(FINEST, len(levels) - 1)]
    for level in reversed(levels[finest.halvings :]):
        motion_B2hw = _refined(level, motion_B2hw) if frames_BTHW.shape[1] > 1 else motion_B2hw
        if level is not finest:
            motion_B2hw = 2 * motion_B2hw
    motion_B2hw = motion_B2hw.expand(-1, -1, *_nodes(finest.frames_BTHW[:1, :1]).shape[-2:])
    return Motion(motion_B2hw * 2**finest.halvings, NODE * 2**finest.halvings)


def _pyramid(frames_BTHW: Tensor, seen_BTHW: Tensor) -> list[Level]:
    """The frames, and their halves, quarters, ..., each smoothed over 3 x 3 pixels."""
    levels: list[Level] = []
    while not levels or min(frames_BTHW.shape[-2:]) >= 2 * COARSEST:
        if levels:
            frames_BTHW, seen_BTHW = halved(frames_BTHW), halved(seen_BTHW)
        # to the fourth: what was half seen is half made up, and a hole that moves is no motion
        weight_BTHW = _running_mean(seen_BTHW, 3).square().square()
        levels.append(Level(_running_mean(frames_BTHW, 3), weight_BTHW, len(levels)))
    return levels


def _refined(level: Level, coarse_B2hw: Tensor) -> Tensor:
    """The motion (B, 2, h, w) of a level, in its pixels a frame, from that of the coarser one."""
    lags = range(1, level.frames_BTHW.shape[1])
    earlier = [Lookup(torch.cat([level.frames_BTHW[:, :-lag], level.weight_BTHW[:, :-lag]], 1)) for lag in lags]
    before_B2hw = resized(coarse_B2hw, *_nodes(level.frames_BTHW[:1, :1]).shape[-2:])
    motion_B2hw = before_B2hw
    for _ in range(STEPS):
        motion_B2HW = resized(motion_B2hw, *level.frames_BTHW.shape[-2:])
        pairs = [_products(level, lookup, motion_B2HW, lag) for lag, lookup in zip(lags, earlier, strict=True)]
        sums_B5hw = _nodes(reduce(torch.add, pairs))
        for _ in range(PASSES):
            sums_B5hw = _running_mean(sums_B5hw, NEAR)
        motion_B2hw = motion_B2hw + _step(sums_B5hw, before_B2hw - motion_B2hw)
    return motion_B2hw


def _products(level: Level, earlier: Lookup, motion_B2HW: Tensor, lag: int) -> Tensor:
    """w times gx gx, gx gy, gy gy, gx d, gy d of each pixel, (B, 5, H, W), summed over the pairs `lag` frames apart."""
    moved_BPHW, weight_BPHW = earlier.at(-lag * motion_B2HW).chunk(2, 1)
    target_BPHW = level.frames_BTHW[:, lag:]
    weight_BPHW = level.weight_BTHW[:, lag:] * weight_BPHW * _inside(-lag * motion_B2HW)
    gx_BPHW, gy_BPHW = _gradient((target_BPHW + moved_BPHW) * (lag / 2))
    d_BPHW = moved_BPHW - target_BPHW
    wx_BPHW, wy_BPHW = weight_BPHW * gx_BPHW, weight_BPHW * gy_BPHW
    products = (wx_BPHW * gx_BPHW, wx_BPHW * gy_BPHW, wy_BPHW * gy_BPHW, wx_BPHW * d_BPHW, wy_BPHW * d_BPHW)
    # pair by pair: what `sum` does with an axis may depend on the batch
    of_pairs = [torch.stack(pair, 1) for pair in zip(*(product.unbind(1) for product in products), strict=True)]
    return reduce(torch.add, of_pairs)


def _step(sums_B5hw: Tensor, back_B2hw: Tensor) -> Tensor:
    """Solves the equations above, back being u' - u: (B, 2, h, w), at most a pixel, beyond which nothing is linear."""
    xx, xy, yy, xd, yd = sums_B5hw.unbind(1)
    mean_B11 = functional.avg_pool2d((xx + yy)[:, None], xx.shape[-2:])[:, 0]
    hold_B11 = HOLD / 2 * mean_B11 + _LEAST
    xx, yy = xx + hold_B11, yy + hold_B11
    xd, yd = xd + hold_B11 * back_B2hw[:, 0], yd + hold_B11 * back_B2hw[:, 1]
    determinant = xx * yy - xy * xy
    step_B2hw = torch.stack([(yy * xd - xy * yd) / determinant, (xx * yd - xy * xd) / determinant], 1)
    return step_B2hw.clamp(-1.0, 1.0)


def _gradient(images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, (B, C, H, W) each; half of the one-sided ones at the edge."""
    around = functional.pad(images_BCHW, (1, 1, 1, 1), mode="replicate")
    return (around[..., 1:-1, 2:] - around[..., 1:-1, :-2]) / 2, (around[..., 2:, 1:-1] - around[..., :-2, 1:-1]) / 2


def _inside(offset_B2HW: Tensor) -> Tensor:
    """1 where (x, y) + offset lies in the image, else 0: (B, 1, H, W)."""
    rows, columns = offset_B2HW.shape[-2:]
    x_BHW = torch.arange(columns, device=offset_B2HW.device) + offset_B2HW[:, 0]
    y_BHW = torch.arange(rows, device=offset_B2HW.device)[:, None] + offset_B2HW[:, 1]
    inside_BHW = (x_BHW >= 0) & (x_BHW <= columns - 1) & (y_BHW >= 0) & (y_BHW <= rows - 1)
    return inside_BHW[:, None].float()


def _nodes(images_BCHW: Tensor) -> Tensor:
    return functional.avg_pool2d(images_BCHW, NODE, ceil_mode=True, count_include_pad=False)


def _running_mean(images_BCHW: Tensor, size: int) -> Tensor:
    return functional.avg_pool2d(images_BCHW, size, stride=1, padding=size // 2, count_include_pad=False)
