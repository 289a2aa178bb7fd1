"""The baseline U-Net of SEVIR (Veillette et al., NeurIPS 2020; MIT-AI-Accelerator/neurips-2020-sevir, src/models).

With conv(i, o, k) = i o k^2 + o (weights and biases) and norm(c) = 2 c (scale and shift), a block of two convolutions
has block(i, o) = conv(i, o, 3) + norm(o) + conv(o, o, 3) + norm(o), and a step up has up(i, o) = conv(i, o, 2) +
norm(2 o) + block(2 o, o). Trainable parameters at 13 -> 12 frames and the default options:
    down    block(13, 32) + block(32, 64) + block(64, 128) + block(128, 256)     1,177,056
    centre  block(256, 1024)                                                    11,802,624
    up      up(1024, 256) + up(256, 128) + up(128, 64) + up(64, 32)              3,575,968
    head    conv(32, 12, 1)                                                            396
                                                                                16,556,044, as the reference
The reference has BatchNorm; GroupNorm, of as many parameters, is the default here: it needs no statistics shared
between samples or ranks, and works in bf16.
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


class Options(Strict):
    """Settings of the U-Net."""

    width: int = Field(32, ge=1, description="filters of the first level; each level down doubles them")
    levels: int = Field(
        4, ge=1, description="times the image is halved; the centre has four times the last level's filters"
    )
    norm: Norm = Field(
        "group", description="norm after each convolution; batch: statistics of each rank's micro-batch alone"
    )
    groups: int = Field(8, ge=1, description="groups of norm 'group'; divides width")
    residual: bool = Field(False, description="predict the change from the last input frame; starts at persistence")

    @model_validator(mode="after")
    def _groups_divide_width(self) -> Options:
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"groups {self.groups} do not divide width {self.width}; give a divisor of {self.width}")
        return self


class UNet(NowcastModel):
    """Two 3x3 convolutions a level, 2x2 max pooling down, 2x2 transposed convolution up, a linear 1x1 head.

    Outputs are not clipped to [0, 1].
    """

    def __init__(self, options: Options, input_frames: int, output_frames: int) -> None:
        super().__init__()
        self.stride = 2**options.levels
        self.finite_receptive_field = options.norm != "group"  # GroupNorm's statistics span the image
        self.residual = options.residual
        widths = [options.width * 2**level for level in range(options.levels)]
        centre = 4 * widths[-1]
        self.down = nn.ModuleList(_block(i, o, options) for i, o in pairwise([input_frames, *widths]))
        self.centre = _block(widths[-1], centre, options)
        self.up = nn.ModuleList(_Up(i, o, options) for i, o in pairwise([centre, *reversed(widths)]))
        self.head = nn.Conv2d(widths[0], output_frames, 1)

    def draw(self, module: nn.Module, generator: torch.Generator) -> None:
        """As for all models, but for the linear output: Glorot and Bengio (2010), as the reference.

        With `residual` it begins at zero, where zero is persistence.
        """
        super().draw(module, generator)
        if module is self.head:
            if self.residual:
                nn.init.zeros_(self.head.weight)
            else:
                nn.init.xavier_uniform_(self.head.weight, generator=generator)

    def forward(self, past_BTHW: Tensor) -> Tensor:
        """Future frames (B, T_out, H, W) of past ones. Raises UserError when H or W is no multiple of `stride`."""
        check_size(self.stride, past_BTHW.shape[-2], past_BTHW.shape[-1])
        skips_BCHW = []
        x_BCHW = past_BTHW
        for down in self.down:
            x_BCHW = self.run(down, x_BCHW)
            skips_BCHW.append(x_BCHW)
            x_BCHW = functional.max_pool2d(x_BCHW, 2)
        x_BCHW = self.run(self.centre, x_BCHW)
        for up in self.up:
            x_BCHW = self.run(up, x_BCHW, skips_BCHW.pop())
        future_BTHW: Tensor = self.head(x_BCHW)
        return past_BTHW[:, -1:] + future_BTHW if self.residual else future_BTHW


class _Up(nn.Module):
    """Doubles the image, joins the skip of that size, then norm and ReLU on both, then the level's convolutions."""

    def __init__(self, inputs: int, outputs: int, options: Options) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.join = nn.Sequential(*_norm(2 * outputs, options), nn.ReLU(inplace=True))
        self.block = _block(2 * outputs, outputs, options)

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        joined_BCHW = torch.cat([skip_BCHW, self.enlarge(x_BCHW)], dim=1)
        return self.block(self.join(joined_BCHW))  # type: ignore[no-any-return]


def _block(inputs: int, outputs: int, options: Options) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), *_norm(outputs, options), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _norm(channels: int, options: Options) -> list[nn.Module]:
    if options.norm == "none":
        return []
    return [nn.GroupNorm(options.groups, channels) if options.norm == "group" else nn.BatchNorm2d(channels)]


def build(options: Options, input_frames: int, output_frames: int) -> UNet:
    """A U-Net with its initial weights."""
    return UNet(options, input_frames, output_frames)
