"""Run on ranks by test_compute: the same small training at every ZeRO stage, computed in each way there is."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from ds_nowcast import ranks as process_group
from ds_nowcast.config.nowcast_keys import ComputeKeys
from ds_nowcast.engine import Engine, placing
from ds_nowcast.models import draw_weights, outline
from ds_nowcast.ranks import Ranks

STEPS, ACCUMULATION, MICRO = 4, 2, 2
WAYS = {
    "plain": ComputeKeys(),
    "checkpointed": ComputeKeys(activation_checkpointing=True),
    "channels_last": ComputeKeys(channels_last=True),
    "compiled": ComputeKeys(compile=True),
    "all": ComputeKeys(activation_checkpointing=True, channels_last=True, compile=True),
}
CASES = [  # stage 3 first: its weights are drawn before DeepSpeed's engine has set anything up
    *((stage, way, "fp32") for stage in (3, 0, 1, 2) for way in ("plain", "checkpointed", "channels_last")),
    *((stage, way, "bf16") for stage in (2, 3) for way in ("plain", "checkpointed", "channels_last")),
]
COMPILED = [(2, "plain", "fp32"), (2, "all", "fp32")]  # minutes on CPUs


def train(stage: int, compute: ComputeKeys, precision: str, ranks: Ranks) -> dict[str, Any]:
    """Losses of a few steps, forecasts in evaluation mode between them, and the bytes kept for a backward pass."""
    config = {
        "train_batch_size": MICRO * ACCUMULATION * ranks.world,
        "train_micro_batch_size_per_gpu": MICRO,
        "gradient_accumulation_steps": ACCUMULATION,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
        "optimizer": {"type": "AdamW", "params": {"lr": 0.003, "torch_adam": True}},
    }
    model = outline("unet", {"width": 4, "levels": 1, "groups": 2}, 4, 3)
    model.checkpoints_activations = compute.activation_checkpointing
    engine = Engine(draw_weights(model, 1, place=placing(config)), config, ranks, compute=compute)
    losses, kept = [], list[int]()
    for _ in range(STEPS):
        for micro in range(ACCUMULATION):
            number = (engine.steps * ACCUMULATION + micro) * ranks.world + ranks.rank
            past_BTHW = torch.rand((MICRO, 4, 16, 16), generator=torch.Generator().manual_seed(number))
            kept.clear()
            counting = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t)
            with nullcontext() if compute.compile else counting:
                loss = (engine(past_BTHW).float() - past_BTHW[:, 1:]).square().mean()
            engine.backward(loss)
            losses.append(ranks.sum([float(loss.detach())])[0])
            engine.step()
        engine.train(False)
        with torch.no_grad():
            losses.append(float(engine(torch.full((1, 4, 16, 16), 0.3)).float().std()))  # another batch size
        engine.train(True)
    return {"losses": losses, "kept": sum(kept)}


def main(out: Path) -> None:
    ranks = process_group.join()
    torch.set_num_threads(1)
    cases = COMPILED if out.stem == "compiled" else CASES
    report = {
        f"{stage} {way} {precision}": train(stage, WAYS[way], precision, ranks) for stage, way, precision in cases
    }
    if ranks.first:
        out.write_text(json.dumps(report))
    process_group.leave()


if __name__ == "__main__":
    main(Path(next(argument for argument in sys.argv[1:] if not argument.startswith("--local_rank"))))
    process_group.end_process(0)
