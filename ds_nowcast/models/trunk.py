"""What the U-Nets of 3x3 convolutions have in common: down, centre and up, without a head.

Tensors are (B, C, H, W).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from ds_nowcast.config.strict import Strict
from ds_nowcast.models import NowcastModel, check_size

Norm = Literal["group", "batch", "none"]


class TrunkOptions(Strict):
    """Settings of the trunk."""

    width: int = Field(32, ge=1, description="filters of the first level; each level down doubles them")
    levels: int = Field(
        4,
        ge=1,
        le=16,
        description="times the image is halved; the centre has four times the last level's filters",
    )
    norm: Norm = Field(
        "group", description="norm after each convolution; batch: statistics of each rank's micro-batch alone"
    )
    groups: int = Field(8, ge=1, description="groups of norm 'group'; divides width")

    @model_validator(mode="after")
    def _groups_divide_width(self) -> TrunkOptions:
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"groups {self.groups} do not divide width {self.width}; give a divisor of {self.width}")
        return self


class Trunk(NowcastModel):
    """Two 3x3 convolutions a level, 2x2 max pooling down, 2x2 transposed convolution up."""

    def __init__(self, options: TrunkOptions, channels: int) -> None:
        super().__init__()
        self.stride = 2**options.levels
        # Two convolutions of the centre, four of each level above, and where what is halved begins.
        reach = 2 * self.stride + 4 * (self.stride - 1) + self.stride - 1
        self.receptive_field = None if options.norm == "group" else reach  # GroupNorm's statistics span the image
        widths = [options.width * 2**level for level in range(options.levels)]
        self.widths = [4 * widths[-1], *reversed(widths)]  # of what `features` returns
        self.down = nn.ModuleList(_block(i, o, options) for i, o in pairwise([channels, *widths]))
        self.centre = _block(widths[-1], self.widths[0], options)
        self.up = nn.ModuleList(_Up(i, o, options) for i, o in pairwise(self.widths))

    def features(self, past_BTHW: Tensor) -> list[Tensor]:
        """What the centre and then each level up made: (B, widths[i], H, W), of 2**(levels - i) pixels a side, i = 0 .. levels.

        Raises UserError when H or W is no multiple of `stride`.
        """
        check_size(self.stride, past_BTHW.shape[-2], past_BTHW.shape[-1])
        skips_BCHW = []
        x_BCHW = past_BTHW
        for down in self.down:
            x_BCHW = self.run(down, x_BCHW)
            skips_BCHW.append(x_BCHW)
            x_BCHW = functional.max_pool2d(x_BCHW, 2)
        made_BCHW = [self.run(self.centre, x_BCHW)]
        for up in self.up:
            made_BCHW.append(self.run(up, made_BCHW[-1], skips_BCHW.pop()))
        return made_BCHW


class _Up(nn.Module):
    """Doubles the image, joins the skip of that size, then norm and ReLU on both, then the level's convolutions."""

    def __init__(self, inputs: int, outputs: int, options: TrunkOptions) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.join = nn.Sequential(*_norm(2 * outputs, options), nn.ReLU(inplace=True))
        self.block = _block(2 * outputs, outputs, options)

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        joined_BCHW = torch.cat([skip_BCHW, self.enlarge(x_BCHW)], dim=1)
        return self.block(self.join(joined_BCHW))  # type: ignore[no-any-return]


def _block(inputs: int, outputs: int, options: TrunkOptions) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), *_norm(outputs, options), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _norm(channels: int, options: TrunkOptions) -> list[nn.Module]:
    if options.norm == "none":
        return []
    return [nn.GroupNorm(options.groups, channels) if options.norm == "group" else nn.BatchNorm2d(channels)]
