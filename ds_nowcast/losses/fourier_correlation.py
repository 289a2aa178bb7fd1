"""The correlation part of FACL: where things are, blind to how strong they are.

Yan et al., "Fourier Amplitude and Correlation Loss", NeurIPS 2024, arXiv 2410.23159 (argenycw/FACL, utilspp.py: `fcl`):
1 - Re sum(conj(F(prediction)) F(target)) / sqrt(sum |F(prediction)|^2 sum |F(target)|^2), sums over frequencies.
By Parseval these sums are those over pixels, so that no transform is needed: the loss is 1 minus the cosine of both images.
The authors' code takes the sums over a whole batch at once; here each image has its own, as in the paper's formula, so that
the loss does not depend on how samples are cut into micro-batches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ds_nowcast.losses.fields import Fields, LossSetting, NoOptions, Part

# Sum of squares below which a prediction counts as no image, so that gradients stay finite: one pixel of a quarter code.
LEAST_ENERGY = 1e-6


def fourier_correlation(fields: Fields) -> Tensor:
    """Sum over images of the image's weight * (1 - correlation), unseen pixels of both 0.

    An image without target echo costs nothing: there is nothing to correlate with. A prediction without any is
    uncorrelated with its target.
    """
    prediction_BTHW, target_BTHW = fields.images_BTHW
    product_BT = (prediction_BTHW * target_BTHW).sum(dim=(2, 3))
    energy_BT = prediction_BTHW.square().sum(dim=(2, 3)).clamp(min=LEAST_ENERGY)
    target_energy_BT = target_BTHW.square().sum(dim=(2, 3))
    echo_BT = target_energy_BT > 0
    scale_BT = (energy_BT * torch.where(echo_BT, target_energy_BT, 1.0)).sqrt()
    # without echo the product is 0, unless the prediction is not finite, which must show
    return (fields.weight_BTHW.sum(dim=(2, 3)) * (echo_BT.to(scale_BT.dtype) - product_BT / scale_BT)).sum()


def build(options: NoOptions, setting: LossSetting) -> Part:
    """The loss."""
    return fourier_correlation
