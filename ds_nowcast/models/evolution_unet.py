"""A U-Net that moves and changes the last frame, after NowcastNet's evolution network (Zhang et al., Nature 2023).

For each lead time the network says how rain moved since the lead before, in pixels, and how much there is more or less
than motion alone brings. With v(t) the motion that ends at lead t (from where, as an offset), the whole way back is
    D(t)(p) = v(t)(p) + D(t-1)(p + v(t)(p)),   D(0) = 0                  semi-Lagrangian, bilinear
and the forecast, with c(t) the change,
    future(t)(p) = last(p + D(t)(p)) + c(t)(p)
The publication warps each lead's frame out of the one before, stops gradients between them, and trains motion by a loss
of its own. Composing the ways instead interpolates the frame once, so that it does not blur from lead to lead; it is
cheap, as motion is smooth and kept on every `motion_stride`-th pixel; and all is trained by a loss of the output, best
`mae` (docs/models.md).
Beyond the image's edge, rain is as on the edge.

With `first_guess: "flow"` motion starts at the optical flow of the last frames (motion/flow.py) and the head says what
to add; what that flow alone would forecast is given to the trunk beside the past. It then begins at the extrapolation, not
at persistence, and learns what the extrapolation does not know: that rain grows, decays and turns.

The trunk is that of the `unet` (block, up and conv as there); motion is read where it is of `motion_stride`, the
change at the end. Parameters at 13 -> 12 frames and the default options:
    trunk     down, centre and up                      16,555,648
    change    conv(32, 12, 1)                                 396
    motion    conv(128, 24, 1)                              3,096
                                                       16,559,140
Coordinates have float32 also where the network computes in bf16, which could not tell a pixel from the next.
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from ds_nowcast.baselines.extrapolation import FRAMES
from ds_nowcast.models import check_size
from ds_nowcast.models.trunk import Trunk, TrunkOptions
from ds_nowcast.motion.flow import motion_of as optical_flow
from ds_nowcast.motion.warping import centres, resized, sampled

# Model space per unit of the change's outputs, so that motion learns first: at 1, with a squared error in the loss, the
# change painted what should have moved, and motion stayed at zero (docs/models.md).
CHANGE_UNIT = 0.1


class Options(TrunkOptions):
    """Settings of the evolution U-Net."""

    motion_stride: int = Field(
        4, ge=1, description="pixels from one point of the motion field to the next: a power of two, 2**levels at most"
    )
    max_motion: float = Field(32.0, gt=0, description="pixels that rain moves at most from one frame to the next")
    first_guess: Literal["none", "flow"] = Field(
        "none", description="motion to start from; flow: the last frames' optical flow, and its extrapolation as input"
    )

    @model_validator(mode="after")
    def _motion_lies_on_a_level(self) -> Options:
        strides = [2**level for level in range(self.levels + 1)]
        if self.motion_stride not in strides:
            known = ", ".join(map(str, strides))
            raise ValueError(f"motion_stride {self.motion_stride} is none of this network's; choose one of {known}")
        return self


class EvolutionUNet(Trunk):
    """Starts at its first guess, without motion or change of its own. Outputs are not clipped to [0, 1]."""

    def __init__(self, options: Options, input_frames: int, output_frames: int) -> None:
        self.guesses, self.leads = options.first_guess == "flow", output_frames
        super().__init__(options, input_frames + output_frames * self.guesses)
        self.motion_stride, self.max_motion = options.motion_stride, options.max_motion
        self.motion_level = options.levels - (options.motion_stride.bit_length() - 1)
        self.motion = nn.Conv2d(self.widths[self.motion_level], 2 * output_frames, 1)
        self.change = nn.Conv2d(options.width, output_frames, 1)
        self.warp = _Warp()
        if self.guesses:
            self.receptive_field = None  # the flow weighs gradients by the image's mean
        elif self.receptive_field is not None:
            # the whole way back, a point of motion farther with each lead's interpolation
            reach = output_frames * (options.max_motion + options.motion_stride) + 2 * options.motion_stride
            self.receptive_field += math.ceil(reach) + 1

    def draw(self, name: str, module: nn.Module, generator: torch.Generator) -> None:
        """As for all models, but for motion and change, which begin at zero: at the first guess."""
        super().draw(name, module, generator)
        if name in ("motion", "change"):
            nn.init.zeros_(cast(nn.Conv2d, module).weight)

    def forward(self, past_BTHW: Tensor) -> Tensor:
        """Future frames (B, T_out, H, W) of past ones. Raises UserError when H or W is no multiple of `stride`."""
        check_size(self.stride, past_BTHW.shape[-2], past_BTHW.shape[-1])
        last_B1HW, guess_BTDhw = past_BTHW[:, -1:], self.guess_of(past_BTHW) if self.guesses else None
        channels_BCHW = past_BTHW
        if guess_BTDhw is not None:
            extrapolated_BTHW = self.warp(last_B1HW, guess_BTDhw).detach()
            channels_BCHW = torch.cat([past_BTHW, extrapolated_BTHW.to(past_BTHW.dtype)], dim=1)
        features_BCHW = self.features(channels_BCHW)
        motion_BTDhw = self.motion_of(features_BCHW[self.motion_level])
        moved_BTHW = self.run(self.warp, last_B1HW, motion_BTDhw if guess_BTDhw is None else guess_BTDhw + motion_BTDhw)
        future_BTHW: Tensor = moved_BTHW + CHANGE_UNIT * self.change(features_BCHW[-1])
        return future_BTHW.to(past_BTHW.dtype)

    @torch.no_grad()
    def guess_of(self, past_BTHW: Tensor) -> Tensor:
        """The optical flow of the last frames as offsets (B, T_out, 2, h, w), as `motion_of` gives them."""
        rows, columns = (side // self.motion_stride for side in past_BTHW.shape[-2:])
        frames_BTHW = past_BTHW[:, -FRAMES:].float()  # what was not seen is no echo here, as everywhere in the model
        if frames_BTHW.shape[1] == 1:  # of which no motion is known
            return frames_BTHW.new_zeros(past_BTHW.shape[0], self.leads, 2, rows, columns)
        flow = optical_flow(frames_BTHW, torch.ones_like(frames_BTHW, dtype=torch.bool))
        return -resized(flow.pixels_B2hw, rows, columns)[:, None].expand(-1, self.leads, -1, -1, -1)

    def motion_of(self, features_BCHW: Tensor) -> Tensor:
        """Offsets (B, T_out, 2, h, w) to where rain was one frame before, x (columns) then y, in pixels, in float32.

        They grow with the head's outputs, taken as strides of the motion field, and level off at `max_motion`.
        """
        strides_BTDhw = rearrange(self.motion(features_BCHW).float(), "b (t d) h w -> b t d h w", d=2)
        return self.max_motion * torch.tanh(strides_BTDhw * (self.motion_stride / self.max_motion))


class _Warp(nn.Module):
    """The frame last (B, 1, H, W) moved by per-lead offsets in pixels (B, T, 2, h, w): float32 (B, T, H, W)."""

    def forward(self, last_B1HW: Tensor, motion_BTDhw: Tensor) -> Tensor:
        rows, columns = last_B1HW.shape[-2:]
        x_BThw, y_BThw = motion_BTDhw.unbind(dim=2)
        # in the unit of `grid_sample` the image, from edge to edge, is two wide and two high
        way_BTDhw = compose(torch.stack([x_BThw * (2 / columns), y_BThw * (2 / rows)], dim=2))
        way_NDHW = functional.interpolate(
            rearrange(way_BTDhw, "b t d h w -> (b t) d h w"), (rows, columns), mode="bilinear", align_corners=False
        )
        way_BTHWD = rearrange(way_NDHW, "(b t) d h w -> b t h w d", b=last_B1HW.shape[0])
        rest_HWD = centres(rows, columns, way_BTHWD.device)
        last_B1HW = last_B1HW.float()
        moved_B1NW = sampled(last_B1HW, rearrange(rest_HWD + way_BTHWD, "b t h w d -> b (t h) w d"))
        moved_BTHW = rearrange(moved_B1NW, "b 1 (t h) w -> b t h w", h=rows)
        # What sampling loses where nothing moves is taken off again, so that zero motion is persistence to the bit.
        return last_B1HW + (moved_BTHW - sampled(last_B1HW, rest_HWD.expand(last_B1HW.shape[0], -1, -1, -1)))


def compose(motion_BTDhw: Tensor) -> Tensor:
    """The whole way back, D(t) above, of per-lead offsets v(t); both in the unit of `grid_sample`, (B, T, 2, h, w)."""
    rest_hwD = centres(motion_BTDhw.shape[-2], motion_BTDhw.shape[-1], motion_BTDhw.device)
    ways_BDhw: list[Tensor] = []
    for motion_BDhw in motion_BTDhw.unbind(dim=1):
        if ways_BDhw:
            before_BDhw = sampled(ways_BDhw[-1], rest_hwD + rearrange(motion_BDhw, "b d h w -> b h w d"))
            motion_BDhw = motion_BDhw + before_BDhw
        ways_BDhw.append(motion_BDhw)
    return torch.stack(ways_BDhw, dim=1)


def build(options: Options, input_frames: int, output_frames: int) -> EvolutionUNet:
    """An evolution U-Net with its initial weights."""
    return EvolutionUNet(options, input_frames, output_frames)
