"""Every loss again, slowly: double precision, an image or a pixel class at a time, written from the publications."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from data_prep.encoding import encoding_named

Twin = Callable[[Tensor, Tensor, Tensor], Tensor]
CLASSES = ((-1.0, 1.0), (2.0, 2.0), (5.0, 5.0), (10.0, 10.0), (30.0, 30.0))  # mm/h from which on a weight holds
DELTA = 0.05


def seen(prediction: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    keep = weight > 0
    return prediction.double()[keep], target.double()[keep], weight.double()[keep]


def images(prediction: Tensor, target: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    shape = prediction.shape[-2:]
    for p, t, w in zip(*(x.double().reshape(-1, *shape) for x in (prediction, target, weight)), strict=True):
        zero = torch.zeros((), dtype=torch.float64)
        yield torch.where(w > 0, p, zero), torch.where(w > 0, t, zero), w


def mse(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    p, t, w = seen(prediction, target, weight)
    return torch.sum(w * (p - t) ** 2)


def mae(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    p, t, w = seen(prediction, target, weight)
    return torch.sum(w * torch.maximum(p - t, t - p))


def huber(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    p, t, w = seen(prediction, target, weight)
    small = torch.maximum(p - t, t - p) <= DELTA
    inside = torch.sum((w * (p - t) ** 2 / 2)[small])
    return inside + torch.sum((w * DELTA * (torch.maximum(p - t, t - p) - DELTA / 2))[~small])


def rates(target: Tensor) -> Tensor:
    """mm/h of model-space targets that are codes of dbz8, by the table of codes."""
    encoding = encoding_named("dbz8")
    codes = (target.double() * encoding.missing).round().to(torch.uint8)
    return torch.from_numpy(encoding.decode(codes.numpy(), "mm/h"))


def _balanced(prediction: Tensor, target: Tensor, weight: Tensor, power: int) -> Tensor:
    p, t, w = seen(prediction, target, weight)
    total = torch.zeros((), dtype=torch.float64)
    uppers = [lower for lower, _ in CLASSES[1:]] + [float("inf")]
    for (lower, factor), upper in zip(CLASSES, uppers, strict=True):
        inside = (rates(t) >= lower) & (rates(t) < upper)
        total = total + factor * torch.sum((w * (p - t).abs() ** power)[inside])
    return total


def balanced_mse(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return _balanced(prediction, target, weight, 2)


def balanced_mae(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return _balanced(prediction, target, weight, 1)


def fourier_amplitude(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for p, t, w in images(prediction, target, weight):
        spectra = [torch.fft.fft2(x * w.sqrt()) / w.numel() ** 0.5 for x in (p, t)]
        total = total + ((spectra[0].abs() - spectra[1].abs()) ** 2).sum()
    return total


def fourier_correlation(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for p, t, w in images(prediction, target, weight):
        if not (t * w).any():
            continue
        f_p, f_t = (torch.fft.fft2(x * w.sqrt()) for x in (p, t))
        power = (f_p.abs() ** 2).sum() * (f_t.abs() ** 2).sum()
        total = total + w.sum() * (1 - (f_p * f_t.conj() + f_p.conj() * f_t).sum().real / 2 / power.sqrt())
    return total


TWINS: dict[str, Twin] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "balanced_mse": balanced_mse,
    "balanced_mae": balanced_mae,
    "fourier_amplitude": fourier_amplitude,
    "fourier_correlation": fourier_correlation,
}
