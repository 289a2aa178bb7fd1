"""SimVP (Gao et al., CVPR 2022; Tan et al., "SimVPv2", arXiv 2211.12509; OpenSTL, openstl/models/simvp_model.py).

Each frame is encoded alone; a translator mixes the channels of all frames; each future frame is decoded alone, with the
features of the first layer as a skip. Translators: "incepu" (the first paper's) and "gsta" (the second's). The
publication's frames are as many after as before. Here the translator's last layer makes the channels of any number of
future frames; where it differs from the past's, all take the last frame's skip, else lead t that of frame t.

With S = spatial_width, N = spatial_depth, C = temporal_width, M = temporal_depth, conv(i, o, k) = i o k^2 + o, and
norm(c) = 2 c, trainable parameters at T past and U future frames are
    encoder     conv(1, S, 3) + (N - 1) conv(S, S, 3) + N norm(S)
    decoder     N/2 (conv(S, 4 S, 3) + conv(S, S, 3)) + N norm(S) + conv(S, 1, 1)
    gsta        gate(T S) + (M - 1) gate(C) + conv(T S, C, 1) + conv(C, U S, 1), a conv of equal sides left out
                gate(c) = 20 c^2 + 175 c: attention 4 c^2 + 80 c, feed-forward 16 c^2 + 89 c, norms 4 c, scales 2 c
    incepu      see(T S, C) + M see(C, C) + (M - 2) see(2 C, C) + see(2 C, U S)
                see(i, o) = conv(i, C/2, 1) + sum over k = 3, 5, 7, 11 of (C/2 o k^2 / 8 + 3 o)
At the settings of OpenSTL's configs, against the tables of its docs/en/model_zoos/video_benchmarks.md:
    moving_mnist, 10 -> 10      gsta 46,769,665 (46.8M)     incepu 57,946,113 (58.0M)
    weatherbench, 12 -> 12      gsta 12,758,305 (12.76M)    incepu 14,666,017 (14.67M)
The publication's gsta has BatchNorm, which fails in bf16 and is not shared between ranks: here GroupNorm, of as many
parameters. Its drop-path, 0 in the first of these settings, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from einops import rearrange
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from ds_nowcast.config.strict import Strict
from ds_nowcast.models import NowcastModel, check_size, inputs_of

GROUPS = 8  # of the translators' norms and convolutions
KERNELS = (3, 5, 7, 11)  # of incepu's convolutions side by side
EXPANSION = 8  # of the feed-forward part of gsta
SCALE = 0.01  # of the contributions of a block of gsta at the start

PRESETS: dict[str, dict[str, Any]] = {
    "moving_mnist": {"spatial_width": 64, "spatial_depth": 4, "temporal_width": 512, "temporal_depth": 8},
    "weatherbench": {"spatial_width": 32, "spatial_depth": 2, "temporal_width": 256, "temporal_depth": 8},
}


class Options(Strict):
    """Settings of SimVP."""

    translator: Literal["gsta", "incepu"] = Field(
        "gsta",
        description="gsta: gated attention of large kernels (SimVPv2); incepu: a U-Net of inception blocks (SimVP)",
    )
    spatial_width: int = Field(64, ge=8, multiple_of=8, description="channels of a frame, a multiple of 8 (hid_S)")
    spatial_depth: int = Field(
        4,
        ge=2,
        description="convolutions of encoder and of decoder, an even number; each second halves the image (N_S)",
    )
    temporal_width: int = Field(
        512, ge=16, multiple_of=16, description="channels of the translator, a multiple of 16 (hid_T)"
    )
    temporal_depth: int = Field(
        8, ge=2, description="blocks of the translator; incepu has as many again going up (N_T)"
    )
    residual: bool = Field(False, description="predict the change from the last input frame; starts at persistence")

    @field_validator("spatial_depth")
    @classmethod
    def _even(cls, depth: int) -> int:
        if depth % 2:
            raise ValueError(f"{depth} is odd; give an even number, such as {depth + 1}")
        return depth


class SimVP(NowcastModel):
    """Outputs are not clipped to [0, 1]."""

    def __init__(self, options: Options, input_frames: int, output_frames: int) -> None:
        super().__init__()
        self.stride = 2 ** (options.spatial_depth // 2)
        self.receptive_field = None  # GroupNorm's statistics span the image
        self.residual = options.residual
        self.output_frames = output_frames
        self.framewise_skip = input_frames == output_frames
        width, depth = options.spatial_width, options.spatial_depth
        # every second layer: the encoder's last halves the image, the decoder's first doubles it
        self.encoder = nn.ModuleList(_conv(width if i else 1, width, stride=1 + i % 2) for i in range(depth))
        translator = _GSTA if options.translator == "gsta" else _IncepU
        self.translator = translator(input_frames * width, options, output_frames * width)
        self.decoder = nn.ModuleList(_conv(width, width, enlarge=i % 2 == 0) for i in range(depth))
        self.readout = nn.Conv2d(width, 1, 1)

    def draw(self, name: str, module: nn.Module, generator: torch.Generator) -> None:
        """As the publication's code: of each part in its own way. With `residual` the readout begins at zero."""
        if isinstance(module, _Gated):
            nn.init.constant_(module.scale_attention, SCALE)
            nn.init.constant_(module.scale_feed_forward, SCALE)
        elif not isinstance(module, nn.Conv2d):
            super().draw(name, module, generator)
        elif name.startswith(("encoder.", "decoder.")):
            nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
            nn.init.zeros_(cast(Tensor, module.bias))
        elif isinstance(self.translator, _GSTA) and name.startswith("translator."):
            _draw_by_outputs(module, generator)
        else:
            _draw_as_torch(module, generator, scale=0.0 if self.residual and name == "readout" else 1.0)

    def forward(self, past_BTHW: Tensor) -> Tensor:
        """Future frames (B, T_out, H, W) of past ones. Raises UserError when H or W is no multiple of `stride`."""
        check_size(self.stride, past_BTHW.shape[-2], past_BTHW.shape[-1])
        batch = past_BTHW.shape[0]
        x_NCHW = rearrange(past_BTHW, "b t h w -> (b t) 1 h w")
        for number, layer in enumerate(self.encoder):
            x_NCHW = self.run(layer, x_NCHW)
            if number == 0:
                skip_BTCHW = rearrange(x_NCHW, "(b t) c h w -> b t c h w", b=batch)
        x_BCHW = rearrange(x_NCHW, "(b t) c h w -> b (t c) h w", b=batch)
        x_BCHW = self.translator(x_BCHW, self.run)
        x_NCHW = rearrange(x_BCHW, "b (t c) h w -> (b t) c h w", t=self.output_frames)
        for layer in self.decoder[:-1]:
            x_NCHW = self.run(layer, x_NCHW)
        x_BTCHW = rearrange(x_NCHW, "(b t) c h w -> b t c h w", b=batch)
        x_BTCHW = x_BTCHW + (skip_BTCHW if self.framewise_skip else skip_BTCHW[:, -1:])
        x_NCHW = self.run(self.decoder[-1], rearrange(x_BTCHW, "b t c h w -> (b t) c h w"))
        future_BTHW: Tensor = rearrange(self.readout(x_NCHW), "(b t) 1 h w -> b t h w", b=batch)
        return past_BTHW[:, -1:] + future_BTHW if self.residual else future_BTHW


Run = Callable[..., Tensor]  # NowcastModel.run


class _GSTA(nn.Module):
    """Gated blocks one after the other; the first and last change the number of channels after their block."""

    def __init__(self, inputs: int, options: Options, outputs: int) -> None:
        super().__init__()
        hidden, depth = options.temporal_width, options.temporal_depth
        sides = [inputs, *[hidden] * (depth - 1), outputs]
        self.blocks = nn.ModuleList(_Gated(i, o) for i, o in pairwise(sides))

    def forward(self, x_BCHW: Tensor, run: Run) -> Tensor:
        for block in self.blocks:
            x_BCHW = run(block, x_BCHW)
        return x_BCHW


class _Gated(nn.Module):
    """Attention, then a feed-forward part with a depthwise convolution inside, each after a norm; residual."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = EXPANSION * inputs
        self.attention = nn.Sequential(nn.GroupNorm(GROUPS, inputs), _Attention(inputs))
        self.feed_forward = nn.Sequential(
            nn.GroupNorm(GROUPS, inputs),
            nn.Conv2d(inputs, wide, 1),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            nn.GELU(),
            nn.Conv2d(wide, inputs, 1),
        )
        self.scale_attention = nn.Parameter(torch.empty(inputs, 1, 1))
        self.scale_feed_forward = nn.Parameter(torch.empty(inputs, 1, 1))
        self.change = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = x_BCHW + self.scale_attention * self.attention(x_BCHW)
        x_BCHW = x_BCHW + self.scale_feed_forward * self.feed_forward(x_BCHW)
        return self.change(x_BCHW)  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """A 21x21 neighbourhood, seen by a 5x5 and a 7x7 convolution of every third pixel, gates itself; residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 1)
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.gate = nn.Conv2d(channels, 2 * channels, 1)
        self.leave = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        seen_BCHW = self.far(self.near(functional.gelu(self.enter(x_BCHW))))
        value_BCHW, gate_BCHW = self.gate(seen_BCHW).chunk(2, dim=1)
        return x_BCHW + self.leave(torch.sigmoid(gate_BCHW) * value_BCHW)  # type: ignore[no-any-return]


class _IncepU(nn.Module):
    """Inception blocks down and up again, without change of size; going up, each takes its partner's output too."""

    def __init__(self, inputs: int, options: Options, outputs: int) -> None:
        super().__init__()
        hidden, depth = options.temporal_width, options.temporal_depth
        self.down = nn.ModuleList(_Inception(i, hidden, hidden) for i in [inputs, *[hidden] * (depth - 1)])
        last = [(2 * hidden, hidden, hidden)] * (depth - 2) + [(2 * hidden, hidden, outputs)]
        self.up = nn.ModuleList(_Inception(*sides) for sides in [(hidden, hidden, hidden), *last])

    def forward(self, x_BCHW: Tensor, run: Run) -> Tensor:
        skips_BCHW = []
        for block in self.down:
            x_BCHW = run(block, x_BCHW)
            skips_BCHW.append(x_BCHW)
        skips_BCHW.pop()  # the deepest goes on as it is
        x_BCHW = run(self.up[0], x_BCHW)
        for block in self.up[1:]:
            x_BCHW = run(block, torch.cat([x_BCHW, skips_BCHW.pop()], dim=1))
        return x_BCHW


class _Inception(nn.Module):
    """To half the hidden channels, then the sum of grouped convolutions of several sizes."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, hidden // 2, 1)
        self.sizes = nn.ModuleList(_grouped(hidden // 2, outputs, kernel) for kernel in KERNELS)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        half_BCHW = self.enter(x_BCHW)
        total_BCHW: Tensor = sum(size(half_BCHW) for size in self.sizes)
        return total_BCHW


def _grouped(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=GROUPS)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, outputs), nn.LeakyReLU(0.2))


def _conv(inputs: int, outputs: int, stride: int = 1, enlarge: bool = False) -> nn.Sequential:
    """A 3x3 convolution, norm and SiLU; `enlarge` doubles the image, from four times the channels."""
    made = [nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2)] if enlarge else []
    made = made or [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)]
    return nn.Sequential(*made, nn.GroupNorm(2, outputs), nn.SiLU())


def _draw_by_outputs(layer: nn.Conv2d, generator: torch.Generator) -> None:
    """He et al. (2015), normal, by the number of outputs; biases zero."""
    outputs = math.prod(layer.kernel_size) * layer.out_channels // layer.groups
    nn.init.normal_(layer.weight, std=math.sqrt(2.0 / outputs), generator=generator)
    nn.init.zeros_(cast(Tensor, layer.bias))


def _draw_as_torch(layer: nn.Conv2d, generator: torch.Generator, scale: float) -> None:
    """torch's own values of a convolution, times `scale`: uniform up to 1 / sqrt(inputs), weights and biases."""
    bound = scale / math.sqrt(inputs_of(layer))
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(cast(Tensor, layer.bias), -bound, bound, generator=generator)


def build(options: Options, input_frames: int, output_frames: int) -> SimVP:
    """A SimVP with its initial weights."""
    return SimVP(options, input_frames, output_frames)
