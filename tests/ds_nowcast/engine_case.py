"""Run on ranks by test_engine: what the engine does at every ZeRO stage and precision, written down for the test."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from deepspeed.accelerator import get_accelerator
from safetensors.torch import save_file
from torch import nn

from ds_nowcast import ranks as process_group
from ds_nowcast.engine import WORKPLACE, Engine, Stepped
from ds_nowcast.errors import SaveError
from ds_nowcast.ranks import Ranks

ACCUMULATION, MICRO = 2, 2
CASES = [(precision, stage) for precision in ("fp32", "bf16") for stage in range(4)] + [("fp16", 0), ("fp16", 2)]
PRECISIONS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"bf16": {"enabled": True}},
    "fp16": {"fp16": {"enabled": True, "loss_scale": 0, "initial_scale_power": 8, "hysteresis": 1}},
}


def config_of(precision: str, stage: int, ranks: Ranks) -> dict[str, Any]:
    return {
        "train_batch_size": MICRO * ACCUMULATION * ranks.world,
        "train_micro_batch_size_per_gpu": MICRO,
        "gradient_accumulation_steps": ACCUMULATION,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
        "optimizer": {"type": "AdamW", "params": {"lr": 0.02, "weight_decay": 0.0, "torch_adam": True}},
        "scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 0.06, "warmup_num_steps": 16, "warmup_type": "linear"}},
        **PRECISIONS[precision],
    }  # fmt: skip


def weights_of(engine: Engine) -> dict[str, torch.Tensor]:
    """What is exported, all at once, and kept when training goes on; on rank 0."""
    return {name: tensor.clone() for name, tensor in engine.weights()}


class Training:
    """A net of a few weights that learns the mean of its two input frames; each rank has its own samples."""

    def __init__(self, precision: str, stage: int, ranks: Ranks) -> None:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 1, 1))
        model.register_buffer("scale", torch.tensor([1.5]))
        self.ranks, self.engine = ranks, Engine(model, config_of(precision, stage, ranks), ranks)

    def step(self, factor: float = 1.0) -> tuple[float, Stepped]:
        """One optimizer step; `factor` multiplies rank 1's loss. Returns the mean loss and what happened."""
        losses, stepped = [], []
        for micro in range(ACCUMULATION):
            number = (self.engine.steps * ACCUMULATION + micro) % 8 * self.ranks.world + self.ranks.rank
            past = torch.rand((MICRO, 2, 6, 6), generator=torch.Generator().manual_seed(number))
            prediction = self.engine(past.to(self.engine.dtype)).float()
            loss = (prediction - past.mean(1, keepdim=True)).square().mean()
            self.engine.backward(loss * (factor if self.ranks.rank == 1 else 1.0))
            losses.append(float(loss.detach()))
            stepped.append(self.engine.step())
        assert stepped[0] is None and stepped[1] is not None
        return self.ranks.sum([sum(losses)])[0] / ACCUMULATION / self.ranks.world, stepped[1]

    def state(self) -> dict[str, Any]:
        weights = weights_of(self.engine)
        return {
            "weights": weights,
            "steps": self.engine.steps,
            "samples": self.engine.samples,
        }


def learn(training: Training, out: Path, name: str) -> dict[str, Any]:
    steps = [training.step() for _ in range(10)]
    weights = weights_of(training.engine)
    if training.ranks.first:
        save_file(weights, out / f"{name}.safetensors")
    return {
        "losses": [loss for loss, _ in steps],
        "applied": [stepped.applied for _, stepped in steps],
        "grad_norms": [stepped.grad_norm for _, stepped in steps],
        "lrs": [stepped.lr for _, stepped in steps],
        "elsewhere": [len(names) for names in training.ranks.gather(list(weights))][1:],
    }


def overflow(training: Training) -> dict[str, Any]:
    """A step whose gradient is infinite on rank 1, then a sound one."""
    before = training.state()
    _, broken = training.step(float("inf"))
    between = training.state()
    _, sound = training.step()
    return {
        "applied": [broken.applied, sound.applied],
        "grad_norms": [broken.grad_norm, sound.grad_norm],
        "lrs": [broken.lr, sound.lr],
        "loss_scales": [broken.loss_scale, sound.loss_scale],
        "unchanged": all(torch.equal(between["weights"][name], tensor) for name, tensor in before["weights"].items()),
        "steps": between["steps"] - before["steps"],
        "samples": between["samples"] - before["samples"],
    }


def pass_over(training: Training) -> dict[str, Any]:
    """A step that is passed over, then one that is made."""
    before = training.state()
    training.engine.pass_over()
    between = training.state()
    _, after = training.step()
    moved = training.state()
    return {
        "unchanged": all(torch.equal(between["weights"][name], tensor) for name, tensor in before["weights"].items()),
        "moved": any(not torch.equal(moved["weights"][name], tensor) for name, tensor in before["weights"].items()),
        "applied": after.applied,
        "lr": after.lr,
        "steps": [between["steps"] - before["steps"], moved["steps"] - before["steps"]],
        "samples": [between["samples"] - before["samples"], moved["samples"] - before["samples"]],
    }


def resume(training: Training, precision: str, stage: int, folder: Path) -> dict[str, Any]:
    """Saves, goes on; a new engine loads and goes on."""
    failure = training.engine.save(folder, "saved", {"nowcast": {"best": 3}})
    on = [training.step()[0] for _ in range(4)]
    again = Training(precision, stage, training.ranks)
    client_state = again.engine.load(folder, "saved")
    return {
        "failure": failure,
        "client_state": client_state["nowcast"],
        "latest": (folder / "latest").exists(),
        "on": on,
        "again": [again.step()[0] for _ in range(4)],
        "counters": [again.engine.steps == training.engine.steps, again.engine.samples == training.engine.samples],
    }


def move(training: Training, precision: str, stage: int, folder: Path) -> dict[str, Any]:
    """A new engine at another ZeRO stage loads what was saved and goes on beside the old one."""
    other = next(s for p, s in [*CASES, *CASES][CASES.index((precision, stage)) + 1 :] if p == precision)
    return beside(training, Training(precision, other, training.ranks), folder)


def beside(training: Training, again: Training, folder: Path) -> dict[str, Any]:
    """Moves what one saves into the other; both go on."""
    kind = training.engine.kind
    failure = training.engine.save(folder, "moved", {"nowcast": {"best": 3}})
    client_state = again.engine.load(folder, "moved", kind)
    ours, theirs = again.state(), training.state()
    return {
        "moved": again.engine.kind["ZeRO stage"] != kind["ZeRO stage"],
        "failure": failure,
        "client_state": client_state["nowcast"],
        "equal": all(torch.equal(ours["weights"][name], tensor) for name, tensor in theirs["weights"].items()),
        "counters": [ours[name] == theirs[name] for name in ("steps", "samples")],
        "on": [recorded(*training.step()) for _ in range(4)],
        "again": [recorded(*again.step()) for _ in range(4)],
        "left": (folder / WORKPLACE).exists(),
    }


def recorded(loss: float, stepped: Stepped) -> list[float]:
    return [loss, stepped.lr, stepped.loss_scale]


def around_a_fused_optimizer(precision: str, ranks: Ranks, folder: Path) -> dict[str, Any]:
    """To ZeRO 0 as it is on a GPU, where one flat optimizer holds all parameters, and back to ZeRO 2."""
    zero2 = Training(precision, 2, ranks)
    for _ in range(3):
        zero2.step()
    with patch("deepspeed.runtime.engine.FusedAdam", torch.optim.AdamW):
        flat = Training(precision, 0, ranks)
    return {
        "to": beside(zero2, flat, folder),
        "from": beside(flat, Training(precision, 2, ranks), folder),
        "flat": hasattr(flat.engine._engine.optimizer, "fp32_groups_flat"),
    }


def failing_moves(ranks: Ranks, folder: Path) -> dict[str, list[str]]:
    """What each rank is told where rank 0 cannot write the universal form, and where rank 1 cannot read it."""
    saved = Training("fp32", 2, ranks)
    saved.step()
    saved.engine.save(folder, "saved", {})
    told = {}
    for name, rank in (("write_universal", 0), ("read_universal", 1)):
        broken = patch(f"ds_nowcast.engine.moving.{name}", side_effect=RuntimeError("unexpected pos 704"))
        with broken if ranks.rank == rank else nullcontext():
            try:
                Training("fp32", 3, ranks).engine.load(folder, "saved", saved.engine.kind)
                told[name] = ranks.gather("nothing")
            except SaveError as error:
                told[name] = ranks.gather(str(error))
    return told | {"left": [str(path) for path in folder.glob(f"{WORKPLACE}/**/*")]}


def main(out: Path) -> None:
    ranks = process_group.join()
    torch.set_num_threads(1)
    # DeepSpeed refuses fp16 on a CPU without its instructions; torch computes it on any, slowly
    type(get_accelerator()).is_fp16_supported = lambda self: True
    for precision, stage in CASES:
        name = f"{precision}_{stage}"
        training = Training(precision, stage, ranks)
        report = {
            "learn": learn(training, out, name),
            "overflow": overflow(training),
            "pass_over": pass_over(training),
            "resume": resume(training, precision, stage, out / name),
            "move": move(training, precision, stage, out / name),
        }
        if ranks.first:
            (out / f"{name}.json").write_text(json.dumps(report))
    told = failing_moves(ranks, out / "failing")
    if ranks.first:
        (out / "failing.json").write_text(json.dumps(told))
    for precision in ("bf16", "fp16"):
        report = around_a_fused_optimizer(precision, ranks, out / f"{precision}_flat")
        if ranks.first:
            (out / f"{precision}_flat.json").write_text(json.dumps(report))
    ranks.barrier()
    if ranks.first:
        named = [path.name for path in Path("/dev/shm").glob(f"deepspeed_*_{os.environ['MASTER_PORT']}_*")]
        (out / "shared_memory.json").write_text(json.dumps(named))
    process_group.leave()


if __name__ == "__main__":
    main(Path(next(argument for argument in sys.argv[1:] if not argument.startswith("--local_rank"))))
    process_group.end_process(0)
