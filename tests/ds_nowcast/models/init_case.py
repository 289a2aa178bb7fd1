"""Run on ranks by test_zero_init: every small model drawn in parts, as at ZeRO 3, and run once."""

from __future__ import annotations

from typing import Any

import deepspeed
import torch

from ds_nowcast import ranks as process_group
from ds_nowcast.engine import placing
from ds_nowcast.models import build_model, draw_weights, outline
from tests.ds_nowcast.models.test_models import SMALL

SEED = 5
PRECISIONS: list[tuple[dict[str, Any], torch.dtype]] = [
    ({}, torch.float32),
    ({"bf16": {"enabled": True}}, torch.bfloat16),
]
HALVED = ("unet", "convnext_unet")  # these in bf16, too


def check(kind: str, precision: dict[str, Any], dtype: torch.dtype) -> str:
    """A line of what differs from the same model built whole."""
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
        **precision,
    }
    name, options = SMALL[kind]
    whole = build_model(name, options, 5, 3, seed=SEED).to(dtype)
    most, place = 0, placing(config)

    def placed(module: torch.nn.Module) -> None:
        nonlocal most
        most = max(most, sum(p.numel() for p in parted.parameters() if not p.is_meta))
        place(module)

    parted = outline(name, options, 5, 3)
    draw_weights(parted, SEED, place=placed)
    held = sum(parameter.numel() for parameter in parted.parameters())
    one = max(sum(p.numel() for p in module.parameters(recurse=False)) for module in whole.modules())
    differing = []
    for (key, parameter), expected in zip(parted.named_parameters(), whole.parameters(), strict=True):
        with deepspeed.zero.GatheredParameters(parameter):
            if not torch.equal(parameter, expected):
                differing.append(key)
    engine, *_ = deepspeed.initialize(model=parted, config=config)
    past = torch.rand(1, 5, 2 * parted.stride, 2 * parted.stride).to(dtype)
    with torch.no_grad():
        equal = torch.equal(engine(past), whole(past))
    return f"CHECKED {kind} {dtype}: held whole {held}, more than a module {most > one}, differing {differing}, equal {equal}"


def main() -> None:
    ranks = process_group.join()
    torch.set_num_threads(1)
    for kind in SMALL:
        for precision, dtype in PRECISIONS[: 2 if kind in HALVED else 1]:
            lines = ranks.gather(check(kind, precision, dtype))
            if ranks.first:
                print(*lines, sep="\n", flush=True)
    process_group.leave()


if __name__ == "__main__":
    main()
    process_group.end_process(0)
