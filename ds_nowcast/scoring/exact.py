"""Sums that are whole numbers, so that they are the same in any order, on any number of ranks.

A real quantity is rounded pixel by pixel to whole multiples of a unit; these are summed in float64 over one image or batch, where
whole numbers are exact below 2^53, and the sums are kept as int64. Where a pixel alone can take most of 53 bits it is split into
limbs of 26 bits, which are summed apart.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

LIMB = 2**26
_EXACT = 2.0**53


def whole(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Float64 sums of whole numbers as int64, and where they are no such numbers: 1 there, and 0 as the sum.

    A sum that is NaN, infinite or so large that it may have lost a unit is told of, never passed on.
    """
    sound = sums.abs() < _EXACT
    return torch.where(sound, sums, 0.0).long(), (~sound).long()


def limbs(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers in float64 as (high, low): number = high * LIMB + low, low in [0, LIMB). NaN and infinity stay in both."""
    high = (numbers / LIMB).floor_()
    return high, numbers - high * LIMB


def packed(tensors: list[Tensor]) -> Tensor:
    """(2 n,) float64: the high and low 32 bits of n int64 numbers. Up to 2^21 such vectors add up without a rounding."""
    numbers = torch.cat([tensor.reshape(-1) for tensor in tensors])
    return torch.cat([numbers >> 32, numbers & 0xFFFFFFFF]).double()


def unpack(vector: Tensor, into: list[Tensor]) -> None:
    """The numbers of `packed`, or the sum of several, in place."""
    high, low = vector.long().chunk(2)
    parts = torch.split((high << 32) + low, [tensor.numel() for tensor in into])
    for tensor, part in zip(into, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def ratio(numerator: int | float, denominator: int | float, unit: float = 1.0) -> float | None:
    """numerator * unit / denominator, of Python's integers rounded once; None where undefined: 0/0, or not finite."""
    if not denominator or not math.isfinite(numerator):
        return None
    return float(Fraction(numerator) * Fraction(unit) / Fraction(denominator))


def mean(values: list[float | None]) -> float | None:
    """The mean of those that are defined; None where none is."""
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None
