"""Every committed config loads, solves its batch at usual numbers of ranks, and means what its README says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.runtime.config import DeepSpeedConfig

from ds_nowcast.config import load_config
from ds_nowcast.models import build_model, outline_of
from ds_nowcast.models.convnext_unet import PRESETS as SIZES
from tests.ds_nowcast.config_files import CONFIGS, FOLDER, PRESETS, SCALES, gpus_of, scaled

WINDOWS = 35_718  # of SEVIR's training split
OF_PLACE = {"train_micro_batch_size_per_gpu", "zero_optimization.overlap_comm"}
OF_BATCH = {
    "train_batch_size",
    "optimizer.params.lr",
    "scheduler.params.warmup_num_steps",
    "nowcast.steps",
    "nowcast.ema.decay",
    "nowcast.evaluation.every",
    "nowcast.checkpoint.every",
    "nowcast.log_every",
}
EVERY_CONFIG = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


@EVERY_CONFIG
def test_it_loads_and_says_all_that_matters(path: Path) -> None:
    config = load_config(path)
    written = json.loads(path.read_text())
    for name in ("model", "loss", "data", "evaluation", "checkpoint", "seed", "steps", "log_every"):
        assert name in written["nowcast"], f"nowcast.{name} is not stated"
    assert config.nowcast.evaluation.every <= config.nowcast.steps


@EVERY_CONFIG
def test_its_batch_solves_and_the_global_batch_is_the_same_at_each_number_of_gpus(path: Path) -> None:
    config = load_config(path)
    for ranks in gpus_of(path):
        batch = config.batch(ranks)
        assert batch.total == config.train_batch_size == batch.micro * batch.accumulation * ranks


@EVERY_CONFIG
def test_deepspeed_reads_it_as_it_is_meant(path: Path) -> None:
    config = load_config(path)
    batch = config.batch(1)
    theirs = DeepSpeedConfig(config.for_deepspeed(batch))
    assert theirs.train_batch_size == batch.total
    assert theirs.gradient_accumulation_steps == batch.accumulation
    assert theirs.zero_optimization_stage == config.zero_optimization.stage
    assert theirs.zero_config.reduce_bucket_size == config.zero_optimization.reduce_bucket_size
    assert theirs.gradient_clipping == 1.0
    assert (theirs.bfloat16_config.enabled, theirs.float16_config.enabled) == (
        config.bf16.enabled,
        config.fp16.enabled,
    )
    assert theirs.scheduler_params["total_num_steps"] == config.nowcast.steps
    assert config.nowcast.steps > theirs.scheduler_params["warmup_num_steps"]


@EVERY_CONFIG
def test_its_name_says_its_model_and_what_else_it_names(path: Path) -> None:
    config = load_config(path)
    model = config.nowcast.model
    if path.stem == "demo":
        return
    match = re.fullmatch(r"([a-z_]+?)(?:_zero(\d))?_(fp32|bf16|fp16)", path.stem)
    if match is None:
        match = re.fullmatch(r"([a-z_]+)_([a-z]+)_(gpu|node|cluster)", path.stem)
        assert match is not None
        assert (match[1], match[2], config.bf16.enabled) == (model.name, model.preset, True)
        return
    precision = "bf16" if config.bf16.enabled else "fp16" if config.fp16.enabled else "fp32"
    assert (match[1], match[3]) == (model.name, precision)
    assert match[2] is None or int(match[2]) == config.zero_optimization.stage


def test_there_is_a_file_for_each_preset_and_scale() -> None:
    assert list(SIZES) == list(PRESETS)
    assert {scaled(preset, scale) for preset in PRESETS for scale in SCALES} == {
        path for path in CONFIGS if path.stem.startswith("convnext")
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_files_of_one_preset_differ_only_in_what_the_scale_decides(preset: str) -> None:
    gpu, node, cluster = (_leaves(json.loads(scaled(preset, scale).read_text())) for scale in SCALES)
    assert _differing(gpu, node) <= OF_PLACE
    assert _differing(node, cluster) == OF_BATCH & (gpu.keys() | cluster.keys())


@pytest.mark.parametrize("scale", SCALES)
def test_files_of_one_scale_differ_only_in_what_the_size_decides(scale: str) -> None:
    of_size = {"nowcast.model.preset", "nowcast.ema.decay", "optimizer.params.lr", "train_micro_batch_size_per_gpu"}
    base = _leaves(json.loads(scaled("base", scale).read_text()))
    for preset in PRESETS:
        other = _leaves(json.loads(scaled(preset, scale).read_text()))
        assert {name for name in _differing(base, other) if not name.startswith("zero_optimization.")} <= of_size


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("preset", PRESETS)
def test_rates_warm_up_and_length_follow_the_readmes_rules(preset: str, scale: str) -> None:
    config = load_config(scaled(preset, scale))
    assert config.optimizer is not None and config.scheduler is not None
    params, total = config.scheduler.params.model_dump(), config.batch(gpus_of(scaled(preset, scale))[-1]).total
    by_rule = 5e-4 * (112 / SIZES[preset]["width"]) * (total / 64) ** 0.5
    assert config.optimizer.params.lr == pytest.approx(by_rule, rel=0.04)
    assert config.nowcast.steps * total / WINDOWS == pytest.approx(100, abs=0.1)
    assert params["warmup_num_steps"] * total / WINDOWS == pytest.approx(5, abs=0.05)
    assert config.nowcast.evaluation.every * total / WINDOWS == pytest.approx(10, abs=0.05)
    if config.nowcast.ema is not None:
        assert config.nowcast.ema.decay == pytest.approx(0.9999 ** (total / 64), abs=5e-5)


@EVERY_CONFIG
def test_its_bucket_holds_the_largest_weight_and_is_no_multiple_of_the_model(path: Path) -> None:
    config = load_config(path)
    if path.stem in ("demo", "unet_fp32"):  # for CPUs, or without ZeRO: no bucket is taken whole
        return
    sizes = [parameter.numel() for parameter in outline_of(config.nowcast).parameters()]
    assert max(sizes) <= config.zero_optimization.reduce_bucket_size < sum(sizes)


def test_the_unet_is_the_baseline_of_the_published_tables() -> None:
    keys = load_config(FOLDER / "unet_fp32.json").nowcast
    with torch.device("meta"):
        model = build_model(keys.model.name, keys.model.options, keys.data.input_frames, keys.data.output_frames)
    assert sum(p.numel() for p in model.parameters()) == 16_556_044
    assert keys.data.window == 25


def test_the_readme_lists_every_config_and_no_other() -> None:
    named = set(re.findall(r"^\| `(\w+\.json)`", (FOLDER / "README.md").read_text(), re.MULTILINE))
    assert named == {path.name for path in CONFIGS}


def _leaves(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every setting by its whole path."""

    def found() -> Iterator[tuple[str, Any]]:
        for key, value in section.items():
            if isinstance(value, dict):
                yield from _leaves(value, f"{prefix}{key}.").items()
            else:
                yield prefix + key, value

    return dict(found())


def _differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
