"""Run on ranks by test_precision: one training in every precision, ZeRO stage and offload, and the same in plain PyTorch.

The plain loop is one process with the samples of all ranks. In 16 bits it keeps, as DeepSpeed does, fp32 weights that begin
as the rounded ones, sums the gradients of micro-batches in 16 bits, and scales a float16 loss with torch's own scaler.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from deepspeed.accelerator import get_accelerator
from torch import nn

from ds_nowcast import ranks as process_group
from ds_nowcast.engine import Engine
from ds_nowcast.ranks import Ranks
from tests.ds_nowcast.engine_case import weights_of

STEPS, ACCUMULATION, MICRO, RANKS = 30, 2, 2, 2
ADAM, CLIPPING = {"lr": 5e-3, "weight_decay": 0.05}, 0.3
SCALE_POWER = 20  # so high that float16 overflows at first
FP16 = {"enabled": True, "loss_scale": 0, "initial_scale_power": SCALE_POWER, "hysteresis": 1}
SHORT = {"enabled": True, "bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
PRECISIONS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"bf16": {"enabled": True}},
    "bf16 summed in fp32": {"bf16": {"enabled": True}, "data_types": {"grad_accum_dtype": "fp32"}},
    "bf16 throughout": {"bf16": SHORT},
    "fp16": {"fp16": FP16},
    # last, as DeepSpeed takes no engine of a process for one without autocast after them
    "autocast bf16": {"torch_autocast": {"enabled": True, "dtype": "bfloat16"}},
    "autocast fp16": {"torch_autocast": {"enabled": True, "dtype": "float16"}},
}
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
CPU = {"device": "cpu", "pin_memory": False}
OFFLOADS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "optimizer": {"offload_optimizer": CPU},
    "parameters": {"offload_param": CPU},
    "both": {"offload_optimizer": CPU, "offload_param": CPU},
}


class Case(NamedTuple):
    """One training."""

    precision: str
    stage: int
    offload: str = "nothing"
    torch_adam: bool = True

    @property
    def is_resumed(self) -> bool:
        """Whether a new engine loads its checkpoint: what test_engine resumes is not resumed again."""
        other = self.precision not in ("fp32", "bf16", "fp16", "autocast bf16")
        return other or self.offload == "both" or (not self.torch_adam and self.stage == 2)

    def __str__(self) -> str:
        return f"{self.precision}, ZeRO {self.stage}, {self.offload} offloaded{'' if self.torch_adam else ', CPU Adam'}"


_PLACES = [(stage, "nothing") for stage in range(4)] + [(stage, "optimizer") for stage in (1, 2, 3)]
_PLACES += [(3, "parameters"), (3, "both")]
GROUPS: dict[str, list[Case]] = {
    "torch": [
        *(Case(precision, *place) for precision in ("fp32", "bf16", "fp16") for place in _PLACES),
        *(Case("bf16 summed in fp32", stage) for stage in (1, 2, 3)),
        *(Case("bf16 throughout", stage) for stage in (1, 2, 3)),
        *(Case("autocast bf16", *place) for place in _PLACES),
        Case("autocast fp16", 0),
    ],
    "CPU Adam": [
        Case("fp32", 2, "optimizer", False),
        *(Case("bf16", stage, "optimizer", False) for stage in (1, 2, 3)),
        Case("fp16", 1, "optimizer", False),
        Case("bf16", 3, "both", False),
        *(Case("bf16 throughout", stage, "optimizer", False) for stage in (1, 3)),
    ],
}


def config_of(case: Case) -> dict[str, Any]:
    """The engine's config of a case."""
    return {
        "train_batch_size": MICRO * ACCUMULATION * RANKS,
        "train_micro_batch_size_per_gpu": MICRO,
        "gradient_accumulation_steps": ACCUMULATION,
        "gradient_clipping": CLIPPING,
        "zero_optimization": {
            "stage": case.stage, "stage3_param_persistence_threshold": 0, **OFFLOADS[case.offload],
        },
        "optimizer": {"type": "AdamW", "params": ADAM | ({"torch_adam": True} if case.torch_adam else {})},
        **PRECISIONS[case.precision],
    }  # fmt: skip


def first_model() -> nn.Module:
    torch.manual_seed(1)
    blocks = [[nn.Conv2d(width, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU()] for width in (2, 16)]
    return nn.Sequential(*blocks[0], *blocks[1], nn.Conv2d(16, 2, 1))


def micro_batch(step: int, micro: int, rank: int) -> torch.Tensor:
    number = (step * ACCUMULATION + micro) * RANKS + rank
    return torch.rand((MICRO, 2, 16, 16), generator=torch.Generator().manual_seed(number))


def loss_of(model: Callable[[torch.Tensor], torch.Tensor], past_BTHW: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Of guessing what moved one pixel to the right, in reverse order, three times as strong."""
    return (model(past_BTHW.to(dtype)).float() - 3 * past_BTHW.flip(1).roll(1, -1)).square().mean()


class Seen:
    """What a training reports at each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float | None, bool, float]] = []  # loss, gradient norm, applied, loss scale

    def as_dict(self) -> dict[str, Any]:
        names = ("losses", "grad_norms", "applied", "loss_scales")
        return dict(zip(names, map(list, zip(*self.steps, strict=True)), strict=True))


@cache
def plain(precision: str, averaged_first: bool) -> dict[str, Any]:
    """The training in plain PyTorch. averaged_first: ranks divide before they sum up, as ZeRO does, which overflows later."""
    kind, *how = precision.split()
    half = HALVES.get(kind)
    low = HALVES[how[0]] if kind == "autocast" else None
    model = first_model().to(half or torch.float32)
    masters = copy.deepcopy(model)
    masters.to(half if precision == "bf16 throughout" and half else torch.float32)
    optimizer = torch.optim.AdamW(masters.parameters(), **ADAM)
    scaled = torch.float16 in (half, low)
    first = 2.0**SCALE_POWER if half else 2.0**16  # DeepSpeed leaves torch's default to autocast
    scaler = torch.amp.GradScaler("cpu", init_scale=first, growth_interval=1000, enabled=scaled)
    seen, early = Seen(), RANKS if averaged_first else 1
    for step in range(STEPS):
        losses = []
        for past_BTHW in (micro_batch(step, micro, rank) for rank in range(RANKS) for micro in range(ACCUMULATION)):
            with torch.autocast("cpu", low) if low else nullcontext():
                loss = loss_of(model, past_BTHW, half or torch.float32)
            scaler.scale(loss / ACCUMULATION / early).backward()
            losses.append(float(loss.detach()))
        for parameter, master in zip(model.parameters(), masters.parameters(), strict=True):
            assert parameter.grad is not None
            master.grad, parameter.grad = parameter.grad.to(master.dtype) / (RANKS // early), None
        scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(masters.parameters(), CLIPPING))
        scaler.step(optimizer)
        scaler.update()
        for parameter, master in zip(model.parameters(), masters.parameters(), strict=True):
            parameter.data.copy_(master.data)
        seen.steps.append(
            (sum(losses) / len(losses), norm, bool(torch.isfinite(torch.tensor(norm))), scaler.get_scale())
        )
    return seen.as_dict()


def one_step(engine: Engine, ranks: Ranks, seen: Seen, factor: float = 1.0) -> None:
    """An optimizer step of the engine. factor: what the loss of the second rank is multiplied by."""
    total, step = 0.0, engine.steps
    for micro in range(ACCUMULATION):
        loss = loss_of(engine, micro_batch(step, micro, ranks.rank), engine.dtype)
        engine.backward(loss * (factor if ranks.rank == 1 else 1.0))
        total += float(loss.detach())
        stepped = engine.step()
    assert stepped is not None
    loss_mean = ranks.sum([total])[0] / ACCUMULATION / RANKS
    seen.steps.append((loss_mean, stepped.grad_norm, stepped.applied, stepped.loss_scale))


def trained(case: Case, ranks: Ranks, folder: Path) -> dict[str, Any]:
    """The training by the engine, then a step whose gradient is infinite on one rank, then a checkpoint in a new engine."""
    engine, seen, after = Engine(first_model(), config_of(case), ranks), Seen(), Seen()
    for _ in range(STEPS):
        one_step(engine, ranks, seen)
    before = weights_of(engine)
    one_step(engine, ranks, after, float("inf"))
    between = weights_of(engine)
    report = seen.as_dict() | {
        "dtype": str(engine.dtype),
        "overflow": after.as_dict(),
        "unchanged": all(torch.equal(between[name], weight) for name, weight in before.items()),
    }
    if case.is_resumed:
        engine.save(folder, "saved", {})
        again, on, resumed = Engine(first_model(), config_of(case), ranks), Seen(), Seen()
        again.load(folder, "saved")
        for _ in range(3):
            one_step(engine, ranks, on)
            one_step(again, ranks, resumed)
        report |= {"on": on.as_dict(), "resumed": resumed.as_dict()}
    return report


def main(out: Path, group: str) -> None:
    ranks = process_group.join()
    torch.set_num_threads(1)
    # DeepSpeed refuses fp16 on a CPU without its instructions; torch computes it on any, slowly
    type(get_accelerator()).is_fp16_supported = lambda self: True
    reports = {}
    for case in GROUPS[group]:
        reports[str(case)] = {
            "plain": plain(case.precision.removesuffix(" summed in fp32"), case.stage > 0),
            "ours": trained(case, ranks, out / "checkpoints"),
        }
    if ranks.first:
        (out / "reports.json").write_text(json.dumps(reports))
    process_group.leave()


if __name__ == "__main__":
    place, name = (argument for argument in sys.argv[1:] if not argument.startswith("--local_rank"))
    main(Path(place), name)
    process_group.end_process(0)
