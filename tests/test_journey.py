"""The four commands, end to end: build, train, evaluate, forecast; on simulated storms and on real archives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from PIL import Image

from tests.launching import ROOT, launch

# Few steps of a small model: plumbing is tested here, skill only where time is held out (make demo).
SMALL = [
    "nowcast.steps=4",
    "nowcast.model.width=8",
    "nowcast.log_every=2",
    "train_batch_size=4",
]


def command(module: str, *args: Any) -> str:
    """A command's output; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def journey(
    folder: Path, archive: str, source: Path, build: list[str], split: str, settings: list[str]
) -> dict[str, Any]:
    """Runs the four commands and returns scores.json."""
    shards, run = folder / "shards", folder / "run"
    command("data_prep", "build", "--format", archive, "--source", source, "--out", shards, *build)
    assert "is sound" in command("data_prep", "verify", shards)
    trained = launch(
        "ds_nowcast.train", "--deepspeed_config", "ds_configs/demo.json", "--shards", shards, "--run", run,
        "--set", *SMALL, f"nowcast.evaluation.split={split}", *settings,
    )  # fmt: skip
    assert trained.code == 0, trained.output[-3000:]
    table = command("ds_nowcast.evaluate", "--run", run, "--shards", shards, "--split", split)
    scores: dict[str, Any] = json.loads((run / "scores.json").read_text())
    assert f"split {split} ({scores['task']['data']})" in table
    assert {path.name for path in (run / "report").glob("*.png")} >= {"csi_by_lead.png", "case_median.png"}
    files = [run / name for name in ("forecast.nc", "forecast.png", "forecast.gif")]
    command(
        "ds_nowcast.forecast",
        "--run",
        run,
        "--format",
        archive,
        "--source",
        source,
        "--out",
        files[0],
        "--picture",
        files[1],
        "--gif",
        files[2],
    )
    with Image.open(files[1]) as picture, Image.open(files[2]) as animation:
        assert picture.size[0] > 600
        assert animation.n_frames == 25
    return scores


@pytest.mark.launch
def test_simulated_storms(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    command("data_prep", "simulate", "--out", archive, "--events", 12, "--size", 32, "--frames", 49)
    scores = journey(tmp_path, "sevir", archive, ["--samples-per-shard", "4"], "test", ["nowcast.evaluation.split=val"])
    assert scores["task"]["data"] == "held out"
    assert scores["task"]["thresholds"] == {"unit": "code", "values": [16, 74, 133, 160, 181, 219]}
    pixels = scores["model"]["counts"]["pixels"]
    assert pixels == scores["persistence"]["counts"]["pixels"] == [scores["task"]["windows"] * 32 * 32] * 12
    # an untrained residual model is persistence: four steps cannot have made it much worse
    assert scores["model"]["mse"] < 1.2 * scores["persistence"]["mse"]
    with xarray.open_dataset(tmp_path / "run/forecast.nc") as forecast:
        assert forecast["vil"].shape == (12, 32, 32)
        assert forecast["vil"].attrs["units"] == "kg m-2"


@pytest.mark.launch
def test_real_data_in_the_layout_of_sevir(radar_data: Path, tmp_path: Path) -> None:
    source = radar_data / "derived/sevir_layout"
    build = ["--split", "train", "--max-missing", "0.5", "--crop", "192"]
    scores = journey(tmp_path, "sevir", source, build, "train", [])
    assert scores["task"]["data"] == "training data"
    assert scores["task"]["windows"] == 12  # four events of three windows
    with xarray.open_dataset(tmp_path / "run/forecast.nc") as forecast:
        assert forecast["vil"].shape == (12, 384, 384)  # the whole domain, by tiles
        assert str(forecast["time"].values[0])[:16] == "2010-08-26T07:40"


@pytest.mark.launch
def test_real_dutch_rain(radar_data: Path, tmp_path: Path) -> None:
    scores = journey(
        tmp_path, "knmi", radar_data / "knmi", ["--split", "train", "--frames", "25", "--crop", "256"], "train", []
    )
    assert scores["task"]["data"] == "training data"
    assert scores["task"]["thresholds"]["unit"] == "mm/h"
    assert scores["task"]["windows"] == 3
    with xarray.open_dataset(tmp_path / "run/forecast.nc") as forecast:
        rain = forecast["rainfall_rate"]
        assert rain.shape == (12, 765, 700)
        assert str(forecast["time"].values[0])[:16] == "2010-08-26T07:40"
        share_without_data = float(np.isnan(rain[0]).mean())
        assert share_without_data == pytest.approx(
            0.7437, abs=2e-4
        )  # where the radars do not reach, nothing is claimed
        # De Bilt's radar lies in the middle of what is seen
        distance = (forecast["lat"] - 52.103) ** 2 + (forecast["lon"] - 5.179) ** 2
        row, column = np.unravel_index(int(distance.argmin()), rain.shape[1:])
        assert np.isfinite(rain[0, row, column])
