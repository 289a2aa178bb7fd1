"""The physics of a simulated storm: vertically integrated liquid (VIL) that moves, grows and decays.

The field is a cascade of Gaussian fields by scale, each carried along by the flow and renewed in Lagrangian
coordinates by a second-order autoregression whose memory grows with scale, as in S-PROG (Seed 2003, J. Appl. Meteor.
42, 381-388) and STEPS (Bowler, Pierce and Seed 2006, Q. J. R. Meteorol. Soc. 132, 2127-2155). A threshold and a
log-normal intensity make VIL of it. Systems drift through the air that carries their cells, so that cells grow on one
flank of a system and decay on the other.

Legend: positions are (row, column) in pixels of 1 km, rows run north to south, a frame is 5 minutes; T, H, W axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

LEAST_VIL, WET_VIL = 0.045, 0.154  # kg/m2: what SEVIR's lowest codes above zero and its code 16 stand for


@dataclass(frozen=True)
class Scale:
    """One step of the cascade."""

    step: int  # grid spacing, pixels
    shortest: float  # wavelength, pixels
    longest: float
    slope: float  # of the power spectrum over wavenumber
    weight: float  # standard deviation in the sum
    lasting: bool  # remembers longer than the flow takes to cross the picture, so its domain holds the whole path


SYSTEM, CLUSTER, CELL = (
    Scale(8, 56.0, 240.0, 3.5, 1.1, True),
    Scale(4, 18.0, 56.0, 3.0, 0.8, True),
    Scale(1, 5.0, 18.0, 3.0, 0.4, False),
)
LATTICE = 3  # pixels between points at which flow and larger scales are computed; they are smooth at this distance


def _memory(wavelength: Floats) -> Floats:
    """Frames after which each of the two damping factors is 1/e: 50 min at 16 km, longer for larger scales."""
    return 10.0 * (wavelength / 16.0) ** 0.8


def _flow(rng: np.random.Generator, size: int) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Mean motion (2,) and the steady velocity (2, ...) at positions (2, ...), pixels per frame.

    A prevailing west-south-westerly of 10 to 60 km/h, a little rotation, shear and deformation, and eddies.
    """
    heading = np.deg2rad(rng.normal(20.0, 25.0))
    mean = np.clip(2.0 * np.exp(rng.normal(0.0, 0.35)), 0.8, 5.0) * np.array([-np.sin(heading), np.cos(heading)])
    gradient = rng.normal(0.0, 0.0018, (2, 2))
    gradient[1, 1] = -gradient[0, 0]  # no divergence: areas are kept
    waves = rng.normal(0.0, 2 * np.pi / 150.0, (3, 2))
    phases, speeds = rng.uniform(0.0, 2 * np.pi, 3), rng.normal(0.0, 0.15, 3)
    across = np.stack([waves[:, 1], -waves[:, 0]]) * speeds / np.hypot(*waves.T)

    def velocity(at: Floats) -> Floats:
        from_centre = np.clip(at - size / 2, -size, size)
        eddies = np.tensordot(across, np.cos(np.tensordot(waves, at, 1) + phases[:, None, None]), 1)
        return np.asarray(mean[:, None, None] + np.tensordot(gradient, from_centre, 1) + eddies)

    return mean, velocity


def _origins(velocity: Callable[[Floats], Floats], size: int, frames: int) -> Floats:
    """Where the air at each lattice point of each frame is at mid-event, (T, 2, lattice, lattice): midpoint rule."""
    points = np.arange(size // LATTICE + 2) * float(LATTICE)

    def march(steps: int, sign: int) -> list[Floats]:
        at = [np.stack(np.meshgrid(points, points, indexing="ij"))]
        for _ in range(steps):
            at.append(at[-1] + sign * velocity(at[-1] + sign * velocity(at[-1]) / 2))
        return at

    return np.stack(march(frames // 2, 1)[:0:-1] + march(frames - 1 - frames // 2, -1))


def _refined(lattice: Floats, size: int) -> Floats:
    """Lattice values (..., n, n) at every pixel, (..., size, size), linear between."""
    below, part = np.divmod(np.arange(size, dtype=np.float32) / LATTICE, np.float32(1.0))
    index = below.astype(np.intp)
    rows = lattice[..., index, :] * (1 - part[:, None]) + lattice[..., index + 1, :] * part[:, None]
    return np.asarray(rows[..., index] * (1 - part) + rows[..., index + 1] * part)


def _fast_length(least: int) -> int:
    """The next even length without prime factors above 5, for the FFT."""
    return next(n for n in range(least + least % 2, 4 * least, 2) if 30**20 % n == 0)


def _domain(scale: Scale, path: Floats) -> tuple[int, int]:
    """Rows and columns of a periodic grid so large that no repeat is seen along a path (T, 2, H, W) in pixels."""
    extent = np.ptp(path, axis=(0, 2, 3)) if scale.lasting else np.ptp(path, axis=(2, 3)).max(0)
    rows, columns = (_fast_length(int((pixels + 40) / scale.step) + 2) for pixels in extent)
    return rows, columns


def evolving(rng: np.random.Generator, scale: Scale, shape: tuple[int, int]) -> Iterator[Floats]:
    """Endless frames of a periodic Gaussian field with variance 1, as coefficients of a quadratic B-spline.

    Every wavenumber is an AR(2) with two equal roots, so tendencies last: what grows goes on growing for a while.
    """
    y, x = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    wavelength = np.minimum(scale.step / np.maximum(np.hypot(y, x), 1e-9), scale.longest)
    inside = (wavelength >= scale.shortest) & (wavelength < scale.longest)
    amplitude = np.where(inside, wavelength ** (scale.slope / 2), 0.0)
    amplitude[:, 0] *= np.sqrt(2.0)  # the inverse transform keeps half of this column's power
    power = 4 * np.sum(amplitude[:, 1:] ** 2) + np.sum(amplitude[:, 0] ** 2)
    to_spline = (0.75 + 0.25 * np.cos(2 * np.pi * y)) * (0.75 + 0.25 * np.cos(2 * np.pi * x))
    amplitude = (amplitude * shape[0] * shape[1] / np.sqrt(power) / to_spline).astype(np.float32)
    root = np.exp(-1.0 / _memory(wavelength)).astype(np.float32)
    gain, lag_one = np.sqrt((1 - root**2) ** 3 / (1 + root**2)), 2 * root / (1 + root**2)

    def noise() -> NDArray[np.complex64]:
        return rng.standard_normal((*root.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]

    before = noise()
    now = lag_one * before + np.sqrt(1 - lag_one**2) * noise()
    while True:
        yield np.fft.irfft2(now * amplitude, shape)
        before, now = now, 2 * root * now - root**2 * before + gain * noise()


def _sampled(spline: Floats, at: Floats) -> NDArray[np.float32]:
    """Values of a periodic quadratic B-spline (Unser 1999, IEEE Signal Process. Mag. 16, 22-38) at (2, H, W)."""
    near = np.rint(at)
    d = (at - near).astype(np.float32)
    weights = (0.5 * (0.5 - d) ** 2, 0.75 - d * d, 0.5 * (0.5 + d) ** 2)
    padded = np.pad(spline, ((0, 2), (0, 2)), mode="wrap")  # the first tap is one row and one column before
    row, column = (near.astype(np.intp) - 1) % np.array(spline.shape)[:, None, None]
    first, flat, width = row * padded.shape[1] + column, padded.ravel(), padded.shape[1]
    total = np.zeros(first.shape, np.float32)
    for i in range(3):
        line = sum(weights[j][1] * flat[i * width + j :].take(first) for j in range(3))
        total += weights[i][0] * line
    return total


def _fields(rng: np.random.Generator, size: int, frames: int) -> Iterator[tuple[Floats, Floats]]:
    """Per frame the larger scales' sum and the cells, each (size, size)."""
    mean, velocity = _flow(rng, size)
    drift = rng.normal(0.0, 0.2 * np.hypot(*mean), 2)  # of systems through the air, pixels per frame
    origins = _origins(velocity, size, frames)
    drifted = origins - (drift * (np.arange(frames)[:, None] - frames // 2))[:, :, None, None]
    paths = {SYSTEM: drifted.astype(np.float32), CLUSTER: origins.astype(np.float32), CELL: origins.astype(np.float32)}
    cascade = {scale: evolving(rng, scale, _domain(scale, path)) for scale, path in paths.items()}
    for frame in range(frames):
        now = {scale: (next(cascade[scale]), path[frame] / scale.step) for scale, path in paths.items()}
        broad = SYSTEM.weight * _sampled(*now[SYSTEM]) + CLUSTER.weight * _sampled(*now[CLUSTER])
        cell, at = now[CELL]
        yield _refined(broad, size), CELL.weight * _sampled(cell, _refined(at, size))


def storm(rng: np.random.Generator, size: int, frames: int) -> NDArray[np.float32]:
    """VIL (kg/m2) of one event, float32 (frames, size, size), north-up, 1 km pixels, 5-minute frames.

    The event's wet share (12 to 42 %) and its peak (14 to 140 kg/m2) are drawn, and the field scaled to them.
    """
    z = np.empty((frames, size, size), np.float32)
    for frame, (broad, cell) in enumerate(_fields(rng, size, frames)):
        z[frame] = broad + cell * (0.4 + 1.2 / (1 + np.exp(-2 * broad)))  # cells stand out where there is a storm
    wet, peak = rng.uniform(0.12, 0.42), np.exp(rng.uniform(*np.log([14.0, 140.0])))
    low, high = np.quantile(z[::4], [1 - wet, 0.9995])
    z = (z - np.float32(low)) / np.float32(high - low)
    vil = WET_VIL * np.exp(np.float32(np.log(peak / WET_VIL)) * np.sign(z) * np.abs(z) ** np.float32(0.85))
    return np.where(vil < LEAST_VIL, np.float32(0.0), vil).astype(np.float32)
