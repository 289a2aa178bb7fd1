"""A U-Net of ConvNeXt blocks (Liu et al., CVPR 2022), from a million to over a billion parameters by width and depth.

Tensors inside are (B, H, W, C): pointwise layers are matrix products over the last axis, and a depthwise convolution
sees the same memory as a channels-last image. Depthwise convolutions cost memory traffic, not arithmetic, so the
network works on patches of 4 x 4 pixels, laid into channels, and below. Each level has `depth` blocks on the way down
and as many on the way up; the centre has twice as many. Channels are normalised pixel by pixel (LayerNorm), so that a
forecast depends on a bounded neighbourhood: 360 * depth + 31 pixels on each side at most.

With T past and S future frames, w = width and d = depth, trainable parameters are
    stem        16 T w + w + 2 w
    block(c)    depthwise 50 c, norm 2 c, out 4 c^2 + 4 c, back 4 c^2 + c, scale c             8 c^2 + 58 c
    shrink(c)   norm 2 c, 4 c to 2 c channels                                                  8 c^2 + 4 c
    enlarge(c)  norm 4 c, 2 c to 4 c channels                                                  8 c^2 + 8 c
    join(c)     2 c to c channels                                                              2 c^2 + c
    head        2 w + 16 S (w + 1)
    all         2 d (block(w) + block(2 w) + block(4 w) + block(8 w)) + the three others at w, 2 w and 4 w + stem + head
                = (1360 d + 378) w^2 + (1740 d + 91) w + 16 (T + S) w + 5 w + 16 S
which makes of the presets, at 13 -> 12 frames (tests count them):
    tiny    w  32, d 1       1,851,456        large   w 192, d 5     266,375,616
    small   w  48, d 2       7,328,832        xl      w 384, d 5   1,061,970,624
    base    w 112, d 2      39,306,816
The largest tensor of xl has 37.7 million elements.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ds_nowcast.config.strict import Strict
from ds_nowcast.models import NowcastModel, check_size, inputs_of

PATCH = 4  # pixels a side of what the first level sees as one
LEVELS = 3  # times a level is halved below that
KERNEL = 7
SCALE = 0.1  # of a block's contribution at the start (Touvron et al., ICCV 2021, section 2, for up to 18 blocks)

PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"width": 32, "depth": 1},
    "small": {"width": 48, "depth": 2},
    "base": {"width": 112, "depth": 2},
    "large": {"width": 192, "depth": 5},
    "xl": {"width": 384, "depth": 5},
}


class Options(Strict):
    """Settings of the ConvNeXt U-Net."""

    width: int = Field(
        48,
        ge=8,
        multiple_of=8,
        description="channels of the first level, a multiple of 8; each level down doubles them",
    )
    depth: int = Field(2, ge=1, description="blocks of a level on the way down, and on the way up")


class ConvNeXtUNet(NowcastModel):
    """Predicts the change from the last input frame, and starts at persistence. Outputs are not clipped to [0, 1]."""

    def __init__(self, options: Options, input_frames: int, output_frames: int) -> None:
        super().__init__()
        self.stride = PATCH * 2**LEVELS
        strides = [PATCH * 2**level for level in range(LEVELS + 1)]
        # each level below the centre has `depth` blocks down and up, the centre as many; 31: where patches begin
        self.receptive_field = (KERNEL // 2) * 2 * options.depth * sum(strides) + strides[-1] - 1
        widths = [options.width * 2**level for level in range(LEVELS)]
        centre = 2 * widths[-1]
        self.stem = nn.Sequential(
            Rearrange("b t (h p) (w q) -> b h w (t p q)", p=PATCH, q=PATCH),
            nn.Linear(PATCH**2 * input_frames, options.width),
            nn.LayerNorm(options.width),
        )
        self.down = nn.ModuleList(_blocks(channels, options.depth) for channels in widths)
        self.shrink = nn.ModuleList(_Shrink(channels) for channels in widths)
        self.centre = _blocks(centre, 2 * options.depth)
        self.enlarge = nn.ModuleList(_Enlarge(channels) for channels in reversed(widths))
        self.up = nn.ModuleList(_blocks(channels, options.depth) for channels in reversed(widths))
        self.head = nn.Sequential(
            nn.LayerNorm(options.width),
            nn.Linear(options.width, PATCH**2 * output_frames),
            Rearrange("b h w (t p q) -> b t (h p) (w q)", p=PATCH, q=PATCH),
        )

    def draw(self, name: str, module: nn.Module, generator: torch.Generator) -> None:
        """Outputs of the variance of inputs (LeCun et al., 1998, section 4.6), biases zero; the head zero."""
        if isinstance(module, nn.Conv2d | nn.Linear):
            std = 0.0 if name.startswith("head.") else 1 / math.sqrt(inputs_of(module))
            nn.init.normal_(module.weight, std=std, generator=generator)
            nn.init.zeros_(cast(Tensor, module.bias))
        elif isinstance(module, _Block):
            nn.init.constant_(module.scale, SCALE)
        else:
            super().draw(name, module, generator)

    def forward(self, past_BTHW: Tensor) -> Tensor:
        """Future frames (B, T_out, H, W) of past ones. Raises UserError when H or W is no multiple of `stride`."""
        check_size(self.stride, past_BTHW.shape[-2], past_BTHW.shape[-1])
        x_BHWC = self.run(self.stem, past_BTHW)
        skips_BHWC = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            x_BHWC = self._through(blocks, x_BHWC)
            skips_BHWC.append(x_BHWC)
            x_BHWC = self.run(shrink, x_BHWC)
        x_BHWC = self._through(self.centre, x_BHWC)
        for enlarge, blocks in zip(self.enlarge, self.up, strict=True):
            x_BHWC = self.run(enlarge, x_BHWC, skips_BHWC.pop())
            x_BHWC = self._through(blocks, x_BHWC)
        return past_BTHW[:, -1:] + self.run(self.head, x_BHWC)

    def _through(self, blocks: nn.Module, x_BHWC: Tensor) -> Tensor:
        for block in blocks.children():
            x_BHWC = self.run(block, x_BHWC)
        return x_BHWC


class _Block(nn.Module):
    """Depthwise 7x7 convolution, norm, pointwise out to four times the channels, GELU, pointwise back; residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.out = nn.Linear(channels, 4 * channels)
        self.back = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.empty(channels))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        near_BCHW = self.depthwise(rearrange(x_BHWC, "b h w c -> b c h w"))
        near_BHWC = self.norm(rearrange(near_BCHW, "b c h w -> b h w c"))
        change_BHWC: Tensor = self.back(functional.gelu(self.out(near_BHWC)))
        return x_BHWC + self.scale * change_BHWC


class _Shrink(nn.Module):
    """Halves the image and doubles the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(4 * channels, 2 * channels)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        four_BHWC = rearrange(self.norm(x_BHWC), "b (h p) (w q) c -> b h w (p q c)", p=2, q=2)
        return self.mix(four_BHWC)  # type: ignore[no-any-return]


class _Enlarge(nn.Module):
    """Doubles the image, halves the channels (to `channels`), and joins the skip of that size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * channels)
        self.mix = nn.Linear(2 * channels, 4 * channels)
        self.join = nn.Linear(2 * channels, channels)

    def forward(self, x_BHWC: Tensor, skip_BHWC: Tensor) -> Tensor:
        large_BHWC = rearrange(self.mix(self.norm(x_BHWC)), "b h w (p q c) -> b (h p) (w q) c", p=2, q=2)
        return self.join(torch.cat([skip_BHWC, large_BHWC], dim=-1))  # type: ignore[no-any-return]


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(channels) for _ in range(count)))


def build(options: Options, input_frames: int, output_frames: int) -> ConvNeXtUNet:
    """A ConvNeXt U-Net with its initial weights."""
    return ConvNeXtUNet(options, input_frames, output_frames)
