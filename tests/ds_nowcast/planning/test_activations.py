"""Activations and operations of the models, found without data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.encoding import encoding_named
from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.losses import LOSSES
from ds_nowcast.planning.activations import Activations

pytestmark = pytest.mark.slow  # torch's modules for it take seconds to import
BASE: dict[str, Any] = {
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 1,
    "gradient_clipping": 1.0,
    "optimizer": {"type": "AdamW", "params": {"torch_adam": True}},
    "nowcast": {"steps": 2, "model": {"name": "unet", "width": 16, "levels": 3}},
}


def config_with(folder: Path, *settings: str) -> RunConfig:
    (folder / "config.json").write_text(json.dumps(BASE))
    return load_config(folder / "config.json", settings)


def most(activations: Activations, micro: int) -> int:
    return max(moment.peak for moment in activations.at(micro))


def test_the_reference_net_has_the_operations_that_its_authors_state(tmp_path: Path) -> None:
    config = config_with(tmp_path, 'nowcast.model={"name": "unet"}', "nowcast.compute.activation_checkpointing=true")
    forward, training = Activations(config, (384, 384), "cuda").flops
    assert forward == pytest.approx(2 * 32.7e9, rel=0.002)
    assert training == pytest.approx(196e9, rel=0.01)  # what is computed again does not count
    first = 2 * 9 * 13 * 32 * 384 * 384  # the gradient of the input is not asked for
    assert training == 3 * forward - first


@pytest.mark.parametrize(
    "model",
    [{"name": "convnext_unet", "preset": "tiny"}, {"name": "simvp", "spatial_width": 8}, {"name": "evolution_unet"}],
    ids=lambda model: str(model["name"]),
)
def test_a_training_step_has_three_times_the_operations_of_a_forecast_whatever_the_layers(
    model: dict[str, object], tmp_path: Path
) -> None:
    config = config_with(tmp_path, f"nowcast.model={json.dumps(model)}")
    forward, training = Activations(config, (64, 64), "cuda").flops
    assert 2.7 * forward < training < 3 * forward  # the gradient of the input is not asked for


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("autocast", [False, True])
def test_every_loss_can_be_imagined(loss: str, autocast: bool, tmp_path: Path) -> None:
    settings = ["torch_autocast.enabled=true", "torch_autocast.dtype=bfloat16"] if autocast else []
    config = config_with(tmp_path, f'nowcast.loss.weights={{"{loss}": 1.0}}', *settings)
    assert most(Activations(config, (32, 32), "cpu"), 1) > 12 * 32 * 32 * 4


def test_a_loss_in_a_unit_of_other_shards_is_refused(tmp_path: Path) -> None:
    options = '{"balanced_mse": {"thresholds": {"unit": "kg/m2", "values": [1.0]}, "weights": [1, 2]}}'
    config = config_with(tmp_path, 'nowcast.loss.weights={"balanced_mse": 1.0}', f"nowcast.loss.options={options}")
    Activations(config, (32, 32), "cpu")  # there is an encoding with it
    with pytest.raises(UserError, match="shards of encoding dbz8 have"):
        Activations(config, (32, 32), "cpu", encoding_named("dbz8"))


def test_larger_micro_batches_lie_on_a_line(tmp_path: Path) -> None:
    activations, again = (Activations(config_with(tmp_path), (64, 64), "cpu") for _ in range(2))
    direct = again._measure(16)
    assert most(activations, 16) == pytest.approx(max(moment.peak for moment in direct), rel=0.001)
    sizes = [most(activations, micro) for micro in (1, 2, 4, 8, 16, 32)]
    assert sizes == sorted(sizes) and sizes[5] == pytest.approx(2 * sizes[4], rel=0.05)


def test_half_precision_and_computing_again_need_less(tmp_path: Path) -> None:
    plain = most(Activations(config_with(tmp_path), (64, 64), "cpu"), 4)
    half = most(Activations(config_with(tmp_path, "bf16.enabled=true"), (64, 64), "cpu"), 4)
    again = config_with(tmp_path, "nowcast.compute.activation_checkpointing=true")
    autocast = config_with(tmp_path, "torch_autocast.enabled=true", "torch_autocast.dtype=bfloat16")
    assert 0.4 < half / plain < 0.75
    assert most(Activations(again, (64, 64), "cpu"), 4) < 0.65 * plain
    assert half < most(Activations(autocast, (64, 64), "cpu"), 4) < plain


def test_on_a_gpu_an_allowance_for_cudnn_is_made(tmp_path: Path) -> None:
    config = config_with(tmp_path, "nowcast.compute.activation_checkpointing=true")
    assert most(Activations(config, (64, 64), "cuda"), 4) > most(Activations(config, (64, 64), "cpu"), 4)


def test_codes_take_a_byte_a_pixel(tmp_path: Path) -> None:
    assert Activations(config_with(tmp_path), (64, 32), "cpu").input_bytes(3) == 3 * 25 * 64 * 32


def test_under_autocast_a_gpu_keeps_norms_in_fp32_and_so_needs_more(tmp_path: Path) -> None:
    autocast = config_with(tmp_path, "torch_autocast.enabled=true", "torch_autocast.dtype=bfloat16")
    sizes = {device: most(Activations(autocast, (64, 64), device), 4) for device in ("cpu", "cuda")}  # type: ignore[arg-type]
    assert sizes["cuda"] > 1.2 * sizes["cpu"]
