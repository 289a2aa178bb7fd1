"""Shards and a config small enough to train in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ds_nowcast.made_model import THREE_TO_TWO, made_run
from tests.shard_maker import make_shards, moving_blobs

TINY: dict[str, Any] = {
    "train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "gradient_clipping": 1.0,
    "zero_optimization": {"stage": 2},
    "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "weight_decay": 0.01, "torch_adam": True}},
    "scheduler": {"type": "WarmupCosineLR", "params": {"total_num_steps": "auto", "warmup_num_steps": 2}},
    "nowcast": {
        "steps": 12,
        "log_every": 1,
        "model": {"name": "unet", "width": 8, "levels": 2, "residual": True},
        "data": {"input_frames": 4, "output_frames": 3, "window_stride": 4, "buffer_mb": 16},
        "evaluation": {"every": 6, "micro_batch": 2},
        "checkpoint": {"every": 5},
    },
}


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training and 5 validation and test sequences of 12 frames of 32 x 32 codes."""
    rng = np.random.default_rng(9)
    splits = {
        name: [moving_blobs(rng, frames=12, missing=0.2 * (i % 2)) for i in range(count)]
        for name, count in (("train", 24), ("val", 5), ("test", 5))
    }
    return make_shards(tmp_path_factory.mktemp("tiny") / "shards", splits)


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file of a training that takes a second."""
    path = tmp_path_factory.mktemp("config") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture(scope="session")
def dutch_run(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Path:
    """A run whose model takes three frames of rain rates on KNMI's pixels and forecasts the last of them twice."""
    folder = tmp_path_factory.mktemp("dutch")
    codes = [moving_blobs(np.random.default_rng(0), frames=5, size=8)]
    shards = make_shards(folder / "shards", {"train": codes}, encoding="dbz8")
    made_run(folder / "run", config, shards, THREE_TO_TWO, unit="mm/h")
    return folder / "run"
