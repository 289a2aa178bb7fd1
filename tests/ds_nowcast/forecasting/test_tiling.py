"""Tiles over a domain of any size: each of a size the model takes, blended without a seam, cropped back."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds_nowcast.forecasting.tiling import forecast_domain


class Echo:
    """Forecasts the last frame and twice of it, and remembers what it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, past_BTHW: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(past_BTHW.shape))
        return torch.cat([past_BTHW[:, -1:], 2 * past_BTHW[:, -1:]], dim=1)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 4, 8]), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)
)  # fmt: skip
def test_a_forecast_made_pixel_by_pixel_is_that_of_the_whole_domain(
    rows: int, columns: int, stride: int, high: int, wide: int, batch: int
) -> None:
    past_THW, echo = torch.rand(3, rows, columns), Echo()
    tile = (high * stride, wide * stride)
    forecast_LHW = forecast_domain(echo, past_THW, tile, stride, batch)
    assert forecast_LHW.shape == (2, rows, columns)
    torch.testing.assert_close(forecast_LHW, torch.stack([past_THW[-1], 2 * past_THW[-1]]), rtol=1e-5, atol=1e-6)
    for shape in echo.shapes:
        assert shape[0] <= batch and shape[1] == 3
        assert all(side % stride == 0 and side <= full for side, full in zip(shape[2:], tile, strict=True))


def test_a_domain_of_the_models_size_is_forecast_in_one_piece_as_it_is() -> None:
    past_THW = torch.rand(3, 16, 24)
    seen = []

    def whole(past_BTHW: torch.Tensor) -> torch.Tensor:
        seen.append(past_BTHW)
        return (past_BTHW + past_BTHW.mean((2, 3), keepdim=True))[:, -2:]  # depends on all of the image

    forecast_LHW = forecast_domain(whole, past_THW, (16, 24), 8)
    assert len(seen) == 1 and torch.equal(seen[0][0], past_THW)
    torch.testing.assert_close(forecast_LHW, whole(past_THW[None])[0])


def test_a_small_domain_is_padded_with_no_echo_at_its_south_and_east() -> None:
    past_THW, given_ = torch.rand(2, 5, 13) + 0.1, []

    def remember(past_BTHW: torch.Tensor) -> torch.Tensor:
        given_.append(past_BTHW[0])
        return past_BTHW

    forecast_domain(remember, past_THW, (32, 32), 4)
    assert given_[0].shape == (2, 8, 16)
    assert torch.equal(given_[0][:, :5, :13], past_THW)
    assert not given_[0][:, 5:].any() and not given_[0][:, :, 13:].any()


def test_overlapping_tiles_fade_into_each_other() -> None:
    number = iter(range(100))

    def numbered(past_BTHW: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.full((1, 32, 32), float(next(number))) for _ in past_BTHW])

    row = forecast_domain(numbered, torch.zeros(1, 32, 80), (32, 32), 8)[0, 16]
    assert row[0] == 0.0 and row[-1] == 2.0  # the outer pixels are one tile's alone
    steps = row.diff()
    assert (steps >= -1e-6).all()
    assert steps.max() < 0.35  # of a difference of 1 between tiles: no seam


def test_tiles_overlap_by_at_least_a_quarter() -> None:
    starts = []

    def where(past_BTHW: torch.Tensor) -> torch.Tensor:
        starts.extend(int(tile[0, 0, 0]) for tile in past_BTHW)
        return past_BTHW

    columns = torch.arange(200.0).expand(1, 32, 200)
    forecast_domain(where, columns, (32, 32), 8)
    assert starts[0] == 0 and starts[-1] == 168
    assert max(b - a for a, b in pairwise(starts)) <= 24


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (100, 1)])
def test_a_sliver_is_forecast_too(size: tuple[int, int]) -> None:
    assert forecast_domain(Echo(), torch.rand(2, *size), (16, 16), 16).shape == (2, *size)
