"""An ensemble: the members' mean and spread, and members that do not belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.errors import UserError
from ds_nowcast.forecasting.members import forecast_of, open_members
from ds_nowcast.forecasting.outputs import source_of
from tests.ds_nowcast.exporting.made import trained

CPU = torch.device("cpu")
CODES = np.random.default_rng(0).integers(0, 256, (4, 20, 24), dtype=np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three members, of two models."""
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for path, kind in zip(paths, ("unet", "unet, batch norm", "simvp gsta"), strict=True):
        trained(path, kind)
    return paths


def test_an_ensemble_gives_its_members_mean_and_standard_deviation(files: list[Path]) -> None:
    each = [forecast_of(open_members([], [file], "tiles", CPU), CODES, "tiles", CPU) for file in files]
    assert all(one.spread_LHW is None for one in each)
    made = forecast_of(open_members([], files, "tiles", CPU), CODES, "tiles", CPU)
    stacked = np.stack([one.values_LHW for one in each]).astype(np.float64)
    seen = np.broadcast_to(CODES[-1] < 255, made.values_LHW.shape)
    assert np.isnan(made.values_LHW[~seen]).all() and made.spread_LHW is not None
    assert np.isnan(made.spread_LHW[~seen]).all()
    np.testing.assert_allclose(made.values_LHW[seen], stacked.mean(0)[seen], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made.spread_LHW[seen], stacked.std(0, ddof=1)[seen], rtol=1e-4, atol=1e-5)
    assert made.spread_LHW[seen].max() > 0.01


def test_turned_each_member_forecasts_its_mean_over_quarter_turns(files: list[Path]) -> None:
    made = forecast_of(open_members([], files[:1], "tiles", CPU, turned=True), CODES, "tiles", CPU).values_LHW
    of_turned = forecast_of(
        open_members([], files[:1], "tiles", CPU, turned=True), np.rot90(CODES, 1, (1, 2)).copy(), "tiles", CPU
    ).values_LHW
    np.testing.assert_allclose(np.rot90(of_turned, -1, (1, 2)), made, rtol=1e-3, atol=1e-3)
    plain = forecast_of(open_members([], files[:1], "tiles", CPU), CODES, "tiles", CPU).values_LHW
    assert np.nanmax(np.abs(made - plain)) > 0.1


def test_what_made_the_forecast_names_each_member(files: list[Path]) -> None:
    members = open_members([], files[:2], "tiles", CPU)
    assert source_of(members[:1]).startswith("DS-Nowcast unet, ")
    assert source_of(members).startswith("DS-Nowcast, mean of 2: unet, ") and source_of(members).count("step 7") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cadence_s": 600}, "cadence_s 600 where"),
        ({"unit": "dBZ"}, "unit dBZ where"),
        ({"pixel": (2000.0, 1000.0)}, r"pixel \(2000.0, 1000.0\) where"),
    ],
)
def test_members_of_other_kinds_are_refused_naming_both(
    files: list[Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    trained(tmp_path / "other.safetensors", "unet", **changes)
    with pytest.raises(UserError, match=rf"other.safetensors has {message} .*a.safetensors has .*; give members"):
        open_members([], [*files, tmp_path / "other.safetensors"], "tiles", CPU)


def test_a_member_given_twice_is_refused(files: list[Path]) -> None:
    with pytest.raises(UserError, match=r"a\.safetensors is given twice"):
        open_members([], [files[0], files[1], files[0]], "tiles", CPU)


def test_whole_domains_are_refused_where_one_member_sees_all_of_the_image(files: list[Path]) -> None:
    open_members([], [files[1]], "whole", CPU)
    with pytest.raises(UserError, match="--mode whole is not for model simvp"):
        open_members([], [files[1], files[2]], "whole", CPU)
