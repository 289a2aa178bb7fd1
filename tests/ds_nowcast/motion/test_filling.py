from __future__ import annotations

import torch

from ds_nowcast.motion.filling import filled


def test_unseen_pixels_are_as_the_seen_ones_near_them() -> None:
    image = torch.arange(30.0).view(1, 1, 5, 6)
    seen = torch.ones(1, 1, 5, 6, dtype=torch.bool)
    seen[0, 0, 1, 1] = seen[0, 0, :, 4:] = False
    out = filled(torch.where(seen, image, torch.nan), seen)[0, 0]
    assert torch.equal(out[:, :4][seen[0, 0, :, :4]], image[0, 0, :, :4][seen[0, 0, :, :4]])
    assert out[1, 1] == (0 + 1 + 6) / 3  # the other three of its block
    assert out[:, 4:].min() >= 0 and out[:, 4:].max() <= 27
    assert not filled(torch.full((1, 1, 5, 6), torch.nan), torch.zeros_like(seen)).any()
