"""FACL as published: in each optimizer step one of its two parts, ever more often the amplitude.

Yan et al., "Fourier Amplitude and Correlation Loss", NeurIPS 2024, arXiv 2410.23159 (argenycw/FACL, utilspp.py:
`RandomScheduling`): of T steps, step t takes the correlation part with probability 1 - t / ((1 - alpha) T), the last alpha T steps
take the amplitude part alone; both parts are multiplied by the root of the number of pixels of an image.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field
from torch import Tensor

from data_prep.hashing import random_bits
from ds_nowcast.config.strict import Strict
from ds_nowcast.losses.fields import Fields, LossSetting, Part
from ds_nowcast.losses.fourier_amplitude import fourier_amplitude
from ds_nowcast.losses.fourier_correlation import fourier_correlation

_KEY = 0xFAC1  # sets these draws apart from others of the same seed


class Options(Strict):
    """Settings of `facl`."""

    alpha: float = Field(
        0.1, ge=0, le=1, description="last share of nowcast.steps in which the amplitude part alone is taken"
    )


def takes_amplitude(step: int, steps: int, alpha: float, seed: int) -> bool:
    """Whether optimizer step `step` (from 0) of `steps` takes the amplitude part; else it takes the correlation part.

    A function of its arguments alone: the same on all ranks, in all micro-batches of the step and after a resume.
    """
    falling = (1.0 - alpha) * steps
    correlation = max(0.0, 1.0 - step / falling) if falling > 0 else 0.0
    draw = int(random_bits(np.array([step]), seed, _KEY)[0]) / 2**64
    return draw >= correlation


def build(options: Options, setting: LossSetting) -> Part:
    """The loss."""

    def facl(fields: Fields) -> Tensor:
        amplitude = takes_amplitude(fields.step, setting.steps, options.alpha, setting.seed)
        rows, columns = fields.target_BTHW.shape[-2:]
        return math.sqrt(rows * columns) * (fourier_amplitude if amplitude else fourier_correlation)(fields)

    return facl
