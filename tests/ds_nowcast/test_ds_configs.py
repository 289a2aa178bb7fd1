"""Every committed config loads, solves its batch at usual numbers of ranks, and means what its README says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from deepspeed.runtime.config import DeepSpeedConfig

from ds_nowcast.config import load_config
from ds_nowcast.models import build_model
from tests.launching import ROOT

FOLDER = ROOT / "ds_configs"
CONFIGS = sorted(FOLDER.glob("*.json"))
EVERY_CONFIG = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


@EVERY_CONFIG
def test_it_loads_and_says_all_that_matters(path: Path) -> None:
    config = load_config(path)
    written = json.loads(path.read_text())
    for name in ("model", "loss", "data", "evaluation", "checkpoint", "seed", "steps", "log_every"):
        assert name in written["nowcast"], f"nowcast.{name} is not stated"
    assert config.nowcast.evaluation.every <= config.nowcast.steps


@EVERY_CONFIG
@pytest.mark.parametrize("ranks", [1, 2, 8])
def test_its_batch_solves_and_the_global_batch_is_that_of_one_rank(path: Path, ranks: int) -> None:
    config = load_config(path)
    batch = config.batch(ranks)
    assert batch.total == config.batch(1).total == batch.micro * batch.accumulation * ranks


@EVERY_CONFIG
def test_deepspeed_reads_it_as_it_is_meant(path: Path) -> None:
    config = load_config(path)
    batch = config.batch(1)
    theirs = DeepSpeedConfig(config.for_deepspeed(batch))
    assert theirs.train_batch_size == batch.total
    assert theirs.gradient_accumulation_steps == batch.accumulation
    assert theirs.zero_optimization_stage == config.zero_optimization.stage
    assert theirs.gradient_clipping == 1.0
    assert (theirs.bfloat16_config.enabled, theirs.float16_config.enabled) == (
        config.bf16.enabled,
        config.fp16.enabled,
    )
    assert theirs.scheduler_params["total_num_steps"] == config.nowcast.steps
    assert config.nowcast.steps > theirs.scheduler_params["warmup_num_steps"]


@EVERY_CONFIG
def test_its_name_says_its_model_stage_and_precision(path: Path) -> None:
    config = load_config(path)
    match = re.fullmatch(r"(\w+?)(?:_zero(\d))?_(fp32|bf16|fp16)", path.stem)
    if path.stem == "demo":
        return
    assert match is not None
    precision = "bf16" if config.bf16.enabled else "fp16" if config.fp16.enabled else "fp32"
    assert (match[1], int(match[2] or 0), match[3]) == (
        config.nowcast.model.name,
        config.zero_optimization.stage,
        precision,
    )


def test_the_unet_is_the_baseline_of_the_published_tables() -> None:
    keys = load_config(FOLDER / "unet_fp32.json").nowcast
    with torch.device("meta"):
        model = build_model(keys.model.name, keys.model.options, keys.data.input_frames, keys.data.output_frames)
    assert sum(p.numel() for p in model.parameters()) == 16_556_044
    assert keys.data.window == 25


def test_the_readme_lists_every_config_and_no_other() -> None:
    named = set(re.findall(r"^\| `(\w+\.json)`", (FOLDER / "README.md").read_text(), re.MULTILINE))
    assert named == {path.name for path in CONFIGS}
