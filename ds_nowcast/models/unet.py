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

import torch
from pydantic import Field
from torch import Tensor, nn

from ds_nowcast.models.trunk import Trunk, TrunkOptions


class Options(TrunkOptions):
    """Settings of the U-Net."""

    residual: bool = Field(False, description="predict the change from the last input frame; starts at persistence")


class UNet(Trunk):
    """The trunk and a linear 1x1 head. Outputs are not clipped to [0, 1]."""

    def __init__(self, options: Options, input_frames: int, output_frames: int) -> None:
        super().__init__(options, input_frames)
        self.residual = options.residual
        self.head = nn.Conv2d(options.width, output_frames, 1)

    def draw(self, name: str, module: nn.Module, generator: torch.Generator) -> None:
        """As for all models, but for the linear output: Glorot and Bengio (2010), as the reference.

        With `residual` it begins at zero, where zero is persistence.
        """
        super().draw(name, module, generator)
        if name == "head":
            if self.residual:
                nn.init.zeros_(self.head.weight)
            else:
                nn.init.xavier_uniform_(self.head.weight, generator=generator)

    def forward(self, past_BTHW: Tensor) -> Tensor:
        """Future frames (B, T_out, H, W) of past ones. Raises UserError when H or W is no multiple of `stride`."""
        future_BTHW: Tensor = self.head(self.features(past_BTHW)[-1])
        return past_BTHW[:, -1:] + future_BTHW if self.residual else future_BTHW


def build(options: Options, input_frames: int, output_frames: int) -> UNet:
    """A U-Net with its initial weights."""
    return UNet(options, input_frames, output_frames)
