"""Lagrangian extrapolation: the last frame moves on as the last frames did (after Germann and Zawadzki, 2002).

Motion is that of `motion/flow.py`, measured in the last frames and constant from then on. Rain keeps its strength and is
followed along the motion, backwards: with u the motion in pixels a frame, the way D(t) from a pixel p at lead t to where its
rain is in the last frame is
    D(1)(p) = -u(p + D(1)(p) / 2)                 the motion half-way, by fixed-point iterations
    D(t)(p) = D(t-1)(p) + D(1)(p + D(t-1)(p))     semi-Lagrangian
and the forecast is last(p + D(t)(p)), bilinear: the frame is interpolated once, whatever the lead. Beyond the image's edge
rain is as on the edge, which is harder to beat than dry; pixels nobody saw are as the seen ones near them (`motion/filling.py`).
A frame that does not move, or has no echo, is forecast as it is, to the bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ds_nowcast.model_space import Windows
from ds_nowcast.motion.filling import filled
from ds_nowcast.motion.flow import Motion, motion_of
from ds_nowcast.motion.warping import Lookup, resized
from ds_nowcast.threads import one_thread

FRAMES = 4  # the last ones, of which motion is measured
_ITERATIONS = 3  # for the motion half-way


@torch.no_grad()
@one_thread()
def forecast(windows: Windows, leads: int) -> Tensor:
    """The last frame moved to each lead time, (B, leads, H, W); persistence where there is one frame alone."""
    past_BTHW, seen_BTHW = windows.past_BTHW[:, -FRAMES:], windows.past_seen[:, -FRAMES:]
    rows, columns = past_BTHW.shape[-2:]
    last = Lookup(filled(past_BTHW[:, -1:], seen_BTHW[:, -1:]))
    ways = ways_back(motion_of(past_BTHW, seen_BTHW), leads)
    moved = [last.at(resized(way_B2hw, rows, columns)) for way_B2hw in ways]
    return torch.cat(moved, 1).clamp(0.0, 1.0)


def ways_back(motion: Motion, leads: int) -> list[Tensor]:
    """D(1) to D(leads) at the motion's nodes, (B, 2, h, w) each, in pixels."""
    moves_B2hw = motion.pixels_B2hw / motion.spacing  # in nodes
    lookup = Lookup(moves_B2hw)
    step_B2hw = -moves_B2hw
    for _ in range(_ITERATIONS):
        step_B2hw = -lookup.at(step_B2hw / 2)
    step, ways = Lookup(step_B2hw), [step_B2hw]
    while len(ways) < leads:
        ways.append(ways[-1] + step.at(ways[-1]))
    return [way_B2hw * motion.spacing for way_B2hw in ways]
