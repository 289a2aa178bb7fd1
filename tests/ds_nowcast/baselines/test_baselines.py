"""What holds for every baseline, and the two that need no motion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import baselines as benchmark
from data_prep.shards.index import open_shards
from ds_nowcast.baselines import BASELINES, climatology, extrapolation, persistence
from ds_nowcast.baselines.climatology import Absent
from ds_nowcast.model_space import ModelSpace, Windows
from tests.ds_nowcast.baselines.fields import LEADS, echoes, frames_of, shift, windows_of
from tests.shard_maker import make_shards, moving_blobs

FORECASTS: dict[str, Callable[[Windows], Tensor]] = {
    "persistence": lambda windows: persistence.forecast(windows, LEADS),
    "extrapolation": lambda windows: extrapolation.forecast(windows, LEADS),
    "climatology": lambda windows: climatology.forecast(windows, LEADS, 0.25),
}


def test_every_baseline_is_tested_here() -> None:
    assert FORECASTS.keys() == BASELINES.keys()


def three(rows: int, columns: int) -> Windows:
    """Three unlike samples: one moves fast, one is empty, one has holes that come and go."""
    fast = frames_of(shift(5, -3), rows, columns, seed=1)
    frames = torch.cat([fast, torch.zeros_like(fast), frames_of(shift(-1.3, 2.2), rows, columns, seed=2)])
    seen = torch.ones_like(frames, dtype=torch.bool)
    seen[2] = torch.rand(seen[2].shape, generator=torch.Generator().manual_seed(0)) > 0.3
    return windows_of(frames, seen)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("shape", [(64, 96), (45, 37), (3, 5), (1, 1)])
def test_a_forecast_is_float32_in_model_space_of_every_lead(name: str, shape: tuple[int, int]) -> None:
    forecast_BTHW = FORECASTS[name](three(*shape))
    assert forecast_BTHW.shape == (3, LEADS, *shape) and forecast_BTHW.dtype == torch.float32
    assert forecast_BTHW.min() >= 0 and forecast_BTHW.max() <= 1


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("shape", [(64, 96), (45, 37)])
def test_a_windows_forecast_is_the_same_in_any_batch_and_with_any_threads(name: str, shape: tuple[int, int]) -> None:
    windows, threads = three(*shape), torch.get_num_threads()
    together_BTHW = FORECASTS[name](windows)
    try:
        for torch_threads in (1, 2):
            torch.set_num_threads(torch_threads)
            for number in range(3):
                alone = Windows(*(tensor[number : number + 1] for tensor in windows))
                assert torch.equal(FORECASTS[name](alone)[0], together_BTHW[number])
    finally:
        torch.set_num_threads(threads)


def test_persistence_is_the_last_frame_at_every_lead() -> None:
    windows = three(16, 16)
    for lead_BHW in persistence.forecast(windows, LEADS).unbind(1):
        assert torch.equal(lead_BHW, windows.past_BTHW[:, -1])


def test_climatology_is_the_mean_of_the_training_split_without_what_nobody_saw(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    train = [moving_blobs(rng, frames=8, size=16, missing=0.3) for _ in range(3)]
    test = [np.full((8, 16, 16), 200, np.uint8)]
    index = open_shards(make_shards(tmp_path / "shards", {"train": train, "test": test})).index
    mean = climatology.training_mean(index)
    codes = np.stack(train)
    assert mean == pytest.approx(float(codes[codes < 255].mean()) / 255, rel=1e-6)
    assert isinstance(mean, float)
    windows = ModelSpace(index.codes, 4, torch.device("cpu")).windows(torch.from_numpy(np.stack(test)))
    assert torch.equal(climatology.forecast(windows, 4, mean), torch.full((1, 4, 16, 16), mean))


@pytest.mark.parametrize(
    ("split", "reason"),
    [
        ("train", "the shards have no split 'train' to take the mean of; they have test, blind"),
        ("blind", "no pixel of"),
    ],
)
def test_climatology_is_absent_where_the_index_knows_no_mean(tmp_path: Path, split: str, reason: str) -> None:
    echo, nobody = np.full((4, 8, 8), 9, np.uint8), np.full((4, 8, 8), 255, np.uint8)
    index = open_shards(make_shards(tmp_path / "shards", {"test": [echo], "blind": [nobody]})).index
    absent = climatology.training_mean(index, split)
    assert isinstance(absent, Absent) and reason in absent.reason


def test_windows_of_a_model_space_know_where_each_input_frame_was_seen(tmp_path: Path) -> None:
    codes = torch.from_numpy(np.random.default_rng(1).choice([0, 80, 255], (2, 7, 4, 4)).astype(np.uint8))
    index = open_shards(make_shards(tmp_path / "shards", {"train": list(codes.numpy())})).index
    windows = ModelSpace(index.codes, 5, torch.device("cpu")).windows(codes)
    assert torch.equal(windows.past_seen, codes[:, :5] < 255)
    as_the_last = Windows(*windows[:4]).past_seen
    assert torch.equal(as_the_last, windows.seen_BHW[:, None].expand(-1, 5, -1, -1))


def test_made_echoes_have_dry_and_wet_pixels() -> None:
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    assert 0.2 < float((echoes(x, y) > 0).float().mean()) < 0.8


@pytest.mark.slow
def test_the_benchmark_tells_skill_and_time_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    rng = np.random.default_rng(0)
    shards = make_shards(tmp_path / "shards", {"test": [moving_blobs(rng, frames=25, size=48) for _ in range(2)]})
    assert benchmark.main(["--shards", str(shards), "--split", "test"]) == 0
    out = capsys.readouterr().out
    assert "2 windows" in out and all(word in out for word in ("persistence", "extrapolation", "CSI 133"))
    short = make_shards(tmp_path / "short", {"test": [moving_blobs(rng, frames=24, size=16)]})
    assert benchmark.main(["--shards", str(short), "--split", "test"]) == 2
    assert "sequences have 24 frames; give shards of 25 or more" in capsys.readouterr().err
