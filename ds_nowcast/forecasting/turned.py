"""A model's mean over quarter turns: four forecasts of the same images, each seen from another side."""

from __future__ import annotations

import torch

from ds_nowcast.models import NowcastModel

TURNED = "the mean over four quarter turns of the images: smaller errors, four times the computation"
"""What the option of that name does, in the commands that have it."""
_ROWS_COLUMNS = (-2, -1)


class Turned(NowcastModel):
    """The mean, in model space, of what a model forecasts of images turned by 0, 90, 180 and 270 degrees, turned back.

    What a network makes of noise in its weights differs from turn to turn and averages out; what it knows of motion
    does not. Four times the computation, and no more memory than one forecast beside it.
    """

    def __init__(self, model: NowcastModel) -> None:
        super().__init__()
        self.model, self.stride, self.receptive_field = model, model.stride, model.receptive_field

    def forward(self, past_BTHW: torch.Tensor) -> torch.Tensor:
        """(B, T_in, H, W) -> (B, T_out, H, W)."""
        total_BTHW: torch.Tensor = self.model(past_BTHW)
        for turns in range(1, 4):
            turned_BTHW = torch.rot90(past_BTHW, turns, _ROWS_COLUMNS).contiguous()
            total_BTHW = total_BTHW + torch.rot90(self.model(turned_BTHW), -turns, _ROWS_COLUMNS)
        return total_BTHW / 4
