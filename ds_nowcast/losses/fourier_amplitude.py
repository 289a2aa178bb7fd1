"""The amplitude part of FACL: the spectra's amplitudes compared, blind to where things are.

Yan et al., "Fourier Amplitude and Correlation Loss", NeurIPS 2024, arXiv 2410.23159 (argenycw/FACL, utilspp.py: `fal`): the mean
over images and frequencies of (|F(prediction)| - |F(target)|)^2, F the orthonormal two-dimensional transform of an image.
By Parseval it is never more than the squared error of the same pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ds_nowcast.losses.fields import Fields, LossSetting, NoOptions, Part


def fourier_amplitude(fields: Fields) -> Tensor:
    """Sum over images and frequencies of (|F(prediction)| - |F(target)|)^2, unseen pixels of both 0.

    A pixel's weight enters by its root, as factor of both images: so a sum over frequencies is a weighted sum over pixels.
    """
    prediction_BTHF, target_BTHF = (torch.fft.rfft2(image, norm="ortho").abs() for image in fields.images_BTHW)
    squares_F = (prediction_BTHF - target_BTHF).square().sum(dim=(0, 1, 2))
    # the transform of a real image repeats itself but for the first column, and the last of an even number
    columns, both = fields.target_BTHW.shape[-1], squares_F.new_full(squares_F.shape, 2.0)
    both[0] = 1.0
    if columns % 2 == 0:
        both[-1] = 1.0
    return torch.dot(both, squares_F)


def build(options: NoOptions, setting: LossSetting) -> Part:
    """The loss."""
    return fourier_amplitude
