from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.building.regrid import Mean, coarser
from data_prep.encoding import Unit, dbz_to_rain, rain_to_dbz
from data_prep.errors import UserError
from data_prep.frames import Grid, RadarFrame

TIME = datetime(2020, 1, 1, tzinfo=UTC)


def grid_of(shape: tuple[int, ...], pixel: float = 1000.0) -> Grid:
    return Grid((shape[0], shape[1]), "+proj=laea +units=m", (pixel, pixel), 0.0, 0.0)


def mean(pixel: float, *fields: NDArray[np.float32], unit: Unit = "mm/h") -> NDArray[np.float32]:
    grid = grid_of(fields[0].shape)
    taken = Mean(unit, coarser(grid, pixel))
    for field in fields:
        taken.add(RadarFrame(field, unit, TIME, grid))
    return taken.field()


def overlap(low: float, high: float, pixel: int) -> float:
    return max(0.0, min(high, pixel + 1.0) - max(low, float(pixel)))


def twin(ratio: float, *fields: NDArray[np.float32]) -> NDArray[np.float64]:
    """Pixel by pixel, in plain loops."""
    rows, columns = fields[0].shape
    out = np.full((int(rows / ratio + 1e-9), int(columns / ratio + 1e-9)), np.nan)
    for i, j in product(*map(range, out.shape)):
        total = seen = 0.0
        for field, r, c in product(fields, range(rows), range(columns)):
            area = overlap(i * ratio, (i + 1) * ratio, r) * overlap(j * ratio, (j + 1) * ratio, c)
            if area and not np.isnan(field[r, c]):
                total, seen = total + area * field[r, c], seen + area
        if seen >= 0.5 * len(fields) * ratio**2 - 1e-6:
            out[i, j] = total / seen
    return out


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([1.0, 2.0, 3.0, 1.5, 2.37, 4.0]), st.integers(1, 3), st.integers(0, 2**20))
def test_a_mean_is_weighted_by_the_area_that_was_seen(ratio: float, frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fields = rng.gamma(0.5, 3.0, (frames, 9, 11)).astype(np.float32)
    fields[rng.random(fields.shape) < 0.4] = np.nan
    np.testing.assert_allclose(mean(1000 * ratio, *fields), twin(ratio, *fields), rtol=1e-5)


def test_reflectivity_is_averaged_as_rain_and_no_echo_is_none() -> None:
    field = np.array([[40.0, -32.0], [40.0, -32.0]] * 2, np.float32)
    expected = rain_to_dbz(dbz_to_rain(40.0) / 2)
    wide = np.concatenate([field, field], axis=1)
    np.testing.assert_allclose(mean(2000.0, wide, unit="dBZ"), np.full((2, 2), expected), rtol=1e-6)
    dry = np.full((4, 4), -32.0, np.float32)
    np.testing.assert_array_equal(mean(2000.0, dry, unit="dBZ"), np.full((2, 2), -32.0))


def test_less_than_half_seen_is_no_data_and_half_is_enough() -> None:
    field = np.full((4, 4), np.nan, np.float32)
    field[0, 0], field[0, 2:], field[2:, 0] = 8.0, 6.0, 2.0
    np.testing.assert_array_equal(mean(2000.0, field), [[np.nan, 6.0], [2.0, np.nan]])


def test_a_large_frame_is_averaged_in_bands_that_give_the_same() -> None:
    field = np.random.default_rng(0).random((2000, 1500)).astype(np.float32)
    expected = field.astype(np.float64).reshape(1000, 2, 750, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(mean(2000.0, field), expected, rtol=1e-6)


def test_the_coarser_grid_keeps_the_corner_and_drops_part_pixels() -> None:
    grid = Grid((765, 700), "+proj=laea +units=m", (1000.0, 1000.0), 5.0, 7.0)
    assert coarser(grid, 2000.0) == Grid((382, 350), "+proj=laea +units=m", (2000.0, 2000.0), 5.0, 7.0)
    mrms = Grid((3500, 7000), "+proj=longlat", (0.01, 0.01), -130.0, 55.0)
    assert coarser(mrms, 0.02).shape == (1750, 3500) and coarser(mrms, 0.01).shape == (3500, 7000)


@pytest.mark.parametrize(
    ("pixel", "message"), [(500.0, "finer than the archive's 1000"), (9000.0, "leaves 1 x 1 pixels")]
)
def test_sizes_that_make_no_sense_are_refused(pixel: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        coarser(grid_of((12, 12)), pixel)
