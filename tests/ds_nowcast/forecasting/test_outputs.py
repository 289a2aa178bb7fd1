"""Names of a forecast's files."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from data_prep.errors import UserError
from ds_nowcast.forecasting.outputs import Outputs

TIME = datetime(2010, 8, 26, 9, 35, tzinfo=timezone(timedelta(hours=2)))


def test_codes_in_names_stand_for_the_time_of_the_last_observation_in_utc(tmp_path: Path) -> None:
    asked = Outputs(tmp_path / "r_%Y%m%dT%H%M.nc", None, tmp_path / "rain.png", mp4=tmp_path / "%j %%.mp4")
    asked.check()
    named = asked.at(TIME)
    assert [path.name for path in named.named] == ["r_20100826T0735.nc", "rain.png", "238 %.mp4"]
    assert named.geotiff is None and {path.parent for path in named.named} == {tmp_path}


def test_a_folder_that_is_called_like_a_time_is_no_pattern(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only a file's name may hold codes of a time"):
        Outputs(tmp_path / "%Y" / "f.nc").check()
    (tmp_path / "%Y").mkdir()
    Outputs(tmp_path / "%Y" / "f.nc").check()


def test_a_code_that_makes_a_name_end_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.nc"):
        Outputs(tmp_path / "rain.%H").check()


@pytest.mark.parametrize("name", ["rain_%Y%m%dT%H%M.nc", "ra*n[%H].nc", "100%%.nc", "rain.nc"])
def test_what_a_killed_process_left_is_taken_away_and_nothing_else(tmp_path: Path, name: str) -> None:
    outputs = Outputs(tmp_path / name)
    left = tmp_path / f".{outputs.at(TIME).netcdf.name}.partial"
    others = [tmp_path / other for other in (".other.nc.partial", outputs.at(TIME).netcdf.name, ".rain_.png.partial")]
    for path in (left, *others):
        path.touch()
    outputs.clear()
    assert sorted(tmp_path.iterdir()) == sorted(others)
