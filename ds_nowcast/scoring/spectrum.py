"""Radially averaged power spectra of forecasts and of what was observed: how blurred a forecast is, by wavelength.

As pysteps.utils.spectral.rapsd (Ruzanski and Chandrasekar 2011): the power of a Fourier mode is |F|^2 / pixels, and it is averaged
over the modes whose distance from the centre, in modes, rounds to 0, 1, 2, ... up to half of the image's longer side.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ds_nowcast.scoring.accumulator import Accumulator, Batch, ScoreSetting, total
from ds_nowcast.scoring.exact import LIMB, ratio

POWER_UNIT = 2.0**-32
_LARGEST = 2.0  # of a forecast: beyond, as where it is NaN, sums might pass 63 bits
_KINDS = ("forecast", "observed")


class Spectrum(Accumulator):
    """Sums (T, R, 2 limbs) of power over modes and images, in model space squared, by ring, and the images that count (T,).

    Unseen pixels are 0 in both fields; an image counts where any pixel is valid. Each mode's power is rounded to a multiple of
    `POWER_UNIT`, so that sums are exact for images of up to 2^29 pixels. unsound: images whose forecast is
    NaN or far out of range.
    """

    def __init__(self, setting: ScoreSetting, device: torch.device | str = "cpu") -> None:
        super().__init__(setting, device)
        ring_HW = rings(*setting.shape)
        self._rings = (max(setting.shape) + 1) // 2
        self._modes = torch.bincount(ring_HW.flatten())[: self._rings].tolist()
        half = setting.shape[1] // 2 + 1  # real fields: the other columns mirror these
        self._ring = ring_HW[:, :half].flatten().to(device)
        self._farthest = int(ring_HW.max())
        weight_HW = torch.full((setting.shape[0], half), 2, dtype=torch.int64)
        weight_HW[:, 0] = 1
        if setting.shape[1] % 2 == 0:
            weight_HW[:, -1] = 1
        self._weight = weight_HW.flatten().to(device)
        self.sums = {kind: self.zeros(setting.leads, self._rings, 2) for kind in _KINDS}
        self.sums |= {name: self.zeros(setting.leads) for name in ("images", "unsound")}

    def update(self, batch: Batch) -> None:
        """Adds a batch's images."""
        for lead, prediction_BHW, target_BHW, valid_BHW in batch.leads():
            self.sums["images"][lead] += valid_BHW.flatten(1).any(1).sum()
            sound_B = (prediction_BHW.abs() <= _LARGEST).flatten(1).all(1)
            self.sums["unsound"][lead] += (~sound_B).sum()
            prediction_BHW = torch.where(sound_B[:, None, None], prediction_BHW, 0.0)
            for kind, field_BHW in zip(_KINDS, (prediction_BHW, target_BHW), strict=True):
                power_BR = self._power(field_BHW)
                self.sums[kind][lead] += torch.stack([power_BR // LIMB, power_BR % LIMB], -1).sum(0)

    def _power(self, field_BHW: Tensor) -> Tensor:
        """Power of each image by ring, (B, R) int64 in POWER_UNIT."""
        size = self.at_once(field_BHW)
        by_ring = torch.zeros(len(field_BHW), self._farthest + 1, dtype=torch.int64, device=field_BHW.device)
        for images_BHW, power_BR in zip(torch.split(field_BHW, size), torch.split(by_ring, size), strict=True):
            modes = torch.view_as_real(torch.fft.rfft2(images_BHW, norm="ortho")).double()
            power = modes.square_().sum(-1).div_(POWER_UNIT).round_().long().flatten(1)
            power_BR.index_add_(1, self._ring, power * self._weight)
        return by_ring[:, : self._rings]

    def scores(self, sums: dict[str, Tensor], leads: slice) -> dict[str, Any]:
        """`spectrum`: by wavelength, from the longest, without the mean (whose wavelength is infinite)."""
        images = total(sums["images"][leads])
        power, observed = (self._summed(sums[kind][leads]) for kind in _KINDS)
        counted = [images * modes for modes in self._modes[1:]]
        name, longest = self._longest()
        spectrum = {
            name: [longest / ring for ring in range(1, self._rings)],
            "power": [ratio(p, n, POWER_UNIT) for p, n in zip(power, counted, strict=True)],
            "observed": [ratio(o, n, POWER_UNIT) for o, n in zip(observed, counted, strict=True)],
            "ratio": [ratio(p, o) for p, o in zip(power, observed, strict=True)],
        }
        if total(sums["unsound"][leads]):
            spectrum |= {"power": [None] * len(power), "ratio": [None] * len(power)}
        return {"spectrum": spectrum}

    def _summed(self, power: Tensor) -> list[int]:
        """Power by ring, without the first: the mean's."""
        return [high * LIMB + low for high, low in power.sum(0)[1:].tolist()]

    def _longest(self) -> tuple[str, float]:
        """The wavelength of the first ring: the image's longer side."""
        side = max(self.setting.shape)
        if self.setting.pixel_unit == "degree":
            return "wavelength_px", float(side)
        return "wavelength_km", side * math.sqrt(math.prod(self.setting.pixel)) / 1000.0


def rings(rows: int, columns: int) -> Tensor:
    """(rows, columns) int64: each mode's distance from the mean, in modes, rounded; in the order of `torch.fft.fft2`."""
    y, x = (torch.fft.fftfreq(side, d=1.0 / side, dtype=torch.float64) for side in (rows, columns))
    return torch.sqrt(y[:, None] ** 2 + x**2).round().long()
