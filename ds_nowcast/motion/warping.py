"""Images looked up at other places: what motion is measured with, and the forecast made with.

Offsets are in pixels, x (columns) then y (rows). Beyond the image's edge all is as on the edge.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class Lookup:
    """Images (B, C, H, W) to be looked up, bilinear, each of a sample's C images at the same places."""

    def __init__(self, images_BCHW: Tensor) -> None:
        self._images_BCHW = images_BCHW
        rows, columns = images_BCHW.shape[-2:]
        self._rest_HW2 = centres(rows, columns, images_BCHW.device)
        self._unit = 2 / columns, 2 / rows  # of `grid_sample`: the image is two wide and two high
        # what looking up rounds where nothing moves; taken off again, so that no offset gives the images to the bit
        self._lost_BCHW = images_BCHW - self._sample(self._rest_HW2.expand(images_BCHW.shape[0], -1, -1, -1))

    def at(self, offset_B2HW: Tensor) -> Tensor:
        """The images at (x, y) + offset, (B, C, H, W)."""
        x_BHW, y_BHW = offset_B2HW.unbind(1)
        at_BHW2 = self._rest_HW2 + torch.stack([x_BHW * self._unit[0], y_BHW * self._unit[1]], dim=-1)
        return self._sample(at_BHW2) + self._lost_BCHW

    def _sample(self, at_BHW2: Tensor) -> Tensor:
        return sampled(self._images_BCHW, at_BHW2)


def sampled(images_BCHW: Tensor, at_BHW2: Tensor) -> Tensor:
    """The images at places in the unit of `grid_sample`, bilinear, (B, C, H, W)."""
    return functional.grid_sample(images_BCHW, at_BHW2, mode="bilinear", padding_mode="border", align_corners=False)


def resized(fields_BCHW: Tensor, rows: int, columns: int) -> Tensor:
    """Smooth fields on a finer grid, bilinear, (B, C, rows, columns)."""
    return functional.interpolate(fields_BCHW, (rows, columns), mode="bilinear", align_corners=False)


def centres(rows: int, columns: int, device: torch.device) -> Tensor:
    """Centres (H, W, 2) of pixels, x then y, as `grid_sample` counts without aligned corners: edges at -1 and 1."""
    x_W, y_H = ((2 * torch.arange(n, device=device, dtype=torch.float32) + 1) / n - 1 for n in (columns, rows))
    return torch.stack(torch.meshgrid(x_W, y_H, indexing="xy"), dim=-1)
