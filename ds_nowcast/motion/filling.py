"""Values for pixels that nobody saw, so that what is moved over them or out of them is no edge of echoes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def filled(images_BCHW: Tensor, seen_BCHW: Tensor) -> Tensor:
    """The images with each unseen pixel as the seen ones near it; 0 where an image has none.

    From blocks of 2 x 2 pixels, 4 x 4, ... an unseen pixel takes the smallest that it lies in with something seen, and
    of it the mean over the quarters with something seen. At the border of what was seen that is the neighbour's value.
    """
    images_BCHW = torch.where(seen_BCHW, images_BCHW, 0.0)
    rows, columns = images_BCHW.shape[-2:]
    if max(rows, columns) == 1:
        return images_BCHW
    share_BChw = halved(seen_BCHW.float())
    mean_BChw = halved(images_BCHW) / share_BChw.clamp(min=0.25)  # a quarter is the least where something was seen
    coarse_BChw = filled(mean_BChw, share_BChw > 0)
    doubled_BCHW = coarse_BChw.repeat_interleave(2, -2)[..., :rows, :].repeat_interleave(2, -1)[..., :columns]
    return torch.where(seen_BCHW, images_BCHW, doubled_BCHW)


def halved(images_BCHW: Tensor) -> Tensor:
    """Means of 2 x 2 pixels, of fewer at the lower and right edge of an odd number."""
    return functional.avg_pool2d(images_BCHW, 2, ceil_mode=True, count_include_pad=False)
