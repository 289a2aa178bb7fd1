"""Made echoes whose motion is known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ds_nowcast.model_space import Windows
from ds_nowcast.motion.flow import motion_of

INPUT, LEADS = 5, 4
Place = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""Where what is at (x, y) in the frame of that number was in frame 0."""


def echoes(x: Tensor, y: Tensor, seed: int = 0, blobs: int = 60, extent: int = 260) -> Tensor:
    """Blobs of many sizes and strengths at places (x, y), (H, W), dry between them; in model space."""
    generator = torch.Generator().manual_seed(seed)
    cx, cy, spread, strength = torch.rand(4, blobs, 1, 1, generator=generator)
    cx, cy = ((centre - 0.5) * extent + 64 for centre in (cx, cy))
    far = ((x - cx) ** 2 + (y - cy) ** 2) / (2 * (4 + 6 * spread) ** 2)
    field = ((0.3 + 0.6 * strength) * torch.exp(-far)).amax(0)
    return torch.where(field > 0.1, field, 0.0)


def frames_of(place: Place, rows: int = 128, columns: int = 128, seed: int = 0) -> Tensor:
    """Frames (1, INPUT + LEADS, H, W) of echoes that move."""
    y, x = torch.meshgrid(torch.arange(rows) * 1.0, torch.arange(columns) * 1.0, indexing="ij")
    return torch.stack([echoes(*place(x, y, number), seed=seed) for number in range(INPUT + LEADS)])[None]


def shift(u: float, v: float) -> Place:
    """Motion by u columns and v rows a frame."""
    return lambda x, y, number: (x - u * number, y - v * number)


def windows_of(frames_BTHW: Tensor, seen_BTHW: Tensor | None = None) -> Windows:
    """Windows of frames; where unseen they are 0, as the shards' are."""
    seen_BTHW = torch.ones_like(frames_BTHW, dtype=torch.bool) if seen_BTHW is None else seen_BTHW
    frames_BTHW = torch.where(seen_BTHW, frames_BTHW, 0.0)
    past_seen = seen_BTHW[:, :INPUT]
    return Windows(frames_BTHW[:, :INPUT], frames_BTHW[:, INPUT:], seen_BTHW[:, INPUT:], past_seen[:, -1], past_seen)


def error(forecast_BTHW: Tensor, windows: Windows) -> float:
    """Mean squared error."""
    return float((forecast_BTHW - windows.target_BTHW).square().mean())


def motion_in(frames_BTHW: Tensor, seen_BTHW: Tensor | None = None) -> Tensor:
    """Motion (2, h, w) of the last input frames, nodes 8 pixels apart."""
    windows = windows_of(frames_BTHW, seen_BTHW)
    found = motion_of(windows.past_BTHW[:, -4:], windows.past_seen[:, -4:])
    assert found.spacing == 8
    return found.pixels_B2hw[0]


def still_hole() -> Tensor:
    """A disc and the right margin that the radar never sees."""
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    seen_HW = ((x - 60) ** 2 + (y - 50) ** 2 > 22**2) & (x < 108)
    return seen_HW.expand(1, INPUT + LEADS, -1, -1)
