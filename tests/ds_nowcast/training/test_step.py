"""The optimizer step over ranks against a plain one-process PyTorch loop over the same global batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data_prep.encoding import ENCODINGS
from data_prep.shards.index import open_shards
from ds_nowcast.config import Batch, NowcastKeys, RunConfig, load_config
from ds_nowcast.engine import Engine, Stepped
from ds_nowcast.losses.facl import takes_amplitude
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.models import build_model
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.pipeline import StepCodes, training_stream
from ds_nowcast.stream.windows import Sample
from ds_nowcast.training.step import TrainingStep
from tests.launching import launch
from tests.shard_maker import make_shards, moving_blobs

STEPS = 20
LOSS = {
    "mse": 1.0, "mae": 0.5, "huber": 0.3, "balanced_mse": 0.2, "fourier_amplitude": 0.7, "fourier_correlation": 0.1,
}  # fmt: skip
BALANCE = {"thresholds": {"unit": "code", "values": [60, 120]}, "weights": [1, 3, 10]}


@pytest.fixture(scope="module")
def masked_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences whose missing shares differ widely, so that ranks have unequal valid counts."""
    rng = np.random.default_rng(5)
    sequences = [moving_blobs(rng, frames=8, size=32, missing=0.9 * (i % 5) / 4) for i in range(40)]
    return make_shards(tmp_path_factory.mktemp("masked") / "shards", {"train": sequences}, per_shard=8)


@pytest.fixture(scope="module")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps({
        "train_batch_size": 8, "gradient_accumulation_steps": 2, "gradient_clipping": 1.0,
        "zero_optimization": {"stage": 0},
        "optimizer": {"type": "AdamW", "params": {"lr": 3e-4, "weight_decay": 0.01, "torch_adam": True}},
        "scheduler": None,
        "nowcast": {
            "steps": STEPS, "seed": 3, "model": {"name": "unet", "width": 8, "levels": 2, "groups": 2},
            "loss": {"weights": LOSS, "options": {"huber": {"delta": 0.1}, "balanced_mse": BALANCE}},
            "data": {"input_frames": 4, "output_frames": 4, "buffer_mb": 16},
        },
    }))  # fmt: skip
    return path


def plain_loss(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """The combination of LOSS over one global batch, written plainly."""
    error, balance = (prediction - target)[valid], 1 + 2.0 * (target >= 60 / 255) + 7.0 * (target >= 120 / 255)
    huber = torch.where(error.abs() <= 0.1, error**2 / 2, 0.1 * error.abs() - 0.005)
    images = prediction * valid, target * valid
    spectra = [torch.fft.fft2(image, norm="ortho") for image in images]
    amplitude = (spectra[0].abs() - spectra[1].abs()).square().sum() / valid.sum()
    energy = [spectrum.abs().square().sum((2, 3)) for spectrum in spectra]
    wet = energy[1] > 0
    cosine = (spectra[0] * spectra[1].conj()).sum((2, 3)).real[wet] / (energy[0] * energy[1])[wet].sqrt()
    correlation = ((1 - cosine) * valid.sum((2, 3))[wet]).sum() / valid.sum()
    plain = error.square().mean() + 0.5 * error.abs().mean() + 0.3 * huber.mean()
    return plain + 0.2 * (balance[valid] * error**2).mean() + 0.7 * amplitude + 0.1 * correlation


def plain_loop(config: RunConfig, shards_path: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    """First gradients and losses of the same training in plain PyTorch, one process, no accumulation."""
    keys, shards, total = config.nowcast, open_shards(shards_path), config.train_batch_size
    assert total is not None
    model = build_model(
        keys.model.name, keys.model.options, keys.data.input_frames, keys.data.output_frames, seed=keys.seed
    )
    model.double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.01)
    gradients: dict[str, torch.Tensor] = {}
    losses = []
    with training_stream(shards, keys.data, keys.seed, batch=total, rank=0, world=1, start=0, threads=1) as stream:
        for _ in range(STEPS):
            codes = next(stream).codes_BTHW
            valid = codes[:, 4:] != 255
            values = torch.where(codes != 255, codes.double() / 255, 0.0)
            loss = plain_loss(model(values[:, :4]), values[:, 4:], valid)
            optimizer.zero_grad()
            loss.backward()
            gradients = gradients or {
                name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None
            }
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
    return gradients, losses


class FrozenEngine:
    """As far as a step needs one: predicts what it is given to, and goes a step on at every second micro-batch."""

    dtype = torch.float32

    def __init__(self, steps: int, output_frames: int) -> None:
        self.steps, self._micro_batches, self._output_frames = steps, 0, output_frames

    def __call__(self, past_BTHW: torch.Tensor) -> torch.Tensor:
        return past_BTHW[:, : self._output_frames].flip(-1)

    def backward(self, loss: torch.Tensor) -> None: ...

    def step(self) -> Stepped:
        self._micro_batches += 1
        self.steps += self._micro_batches % 2 == 0
        return Stepped(True, None, 0.0, 1.0)


def test_all_micro_batches_of_a_step_take_the_loss_of_that_step_wherever_a_run_begins() -> None:
    keys = NowcastKeys.model_validate({
        "steps": STEPS, "seed": 3, "loss": {"weights": {"facl": 1.0}}, "data": {"input_frames": 2, "output_frames": 2},
    })  # fmt: skip
    space, ranks = ModelSpace(ENCODINGS["vil255"], 2, torch.device("cpu")), Ranks(0, 1, 0, 1, torch.device("cpu"))
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (4, 4, 8, 8), np.uint8))
    batch = StepCodes(codes, [Sample(row, "", "", 0) for row in range(4)])

    def made(engine: FrozenEngine) -> float:
        step = TrainingStep(cast(Engine, engine), keys, space, Batch(4, 2, 2, 1), ranks)
        return float(step.run(batch, codes, 4 * 2 * 64).loss_sum)

    losses = [made(FrozenEngine(step, 2)) for step in range(STEPS)]
    amplitude, correlation = (
        next(loss for step, loss in enumerate(losses) if takes_amplitude(step, STEPS, 0.1, 3) == which)
        for which in (True, False)
    )
    assert amplitude != correlation
    assert losses == [amplitude if takes_amplitude(s, STEPS, 0.1, 3) else correlation for s in range(STEPS)]


@pytest.mark.launch
def test_every_zero_stage_equals_a_plain_loop_on_unequal_masks(
    masked_shards: Path, config_path: Path, tmp_path: Path
) -> None:
    ended = launch("tests.ds_nowcast.zero_stages_case", config_path, masked_shards, tmp_path, STEPS)
    assert ended.code == 0, ended.output[-3000:]
    gradients, losses = plain_loop(load_config(config_path), masked_shards)
    for stage in range(4):
        theirs = load_file(tmp_path / f"stage{stage}.safetensors")
        report = json.loads((tmp_path / f"stage{stage}.json").read_text())
        assert any(a != b for a, b in report["valid"]), "the ranks' valid counts were equal: the test tests nothing"
        assert theirs.keys() == gradients.keys()
        whole = torch.cat([g.flatten() for g in gradients.values()])
        difference = torch.cat([(theirs[name] - gradients[name]).flatten() for name in gradients])
        assert difference.norm() / whole.norm() < 1e-6
        relative = np.abs(np.array(report["losses"]) / np.array(losses) - 1)
        print(
            f"ZeRO {stage}: gradients {difference.norm() / whole.norm():.1e}, losses {relative[:3].max():.1e} {relative.max():.1e}"
        )
        assert relative[:3].max() < 1e-6
        assert relative.max() < 2e-4
