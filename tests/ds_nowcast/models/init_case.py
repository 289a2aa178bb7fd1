"""Run on ranks by test_zero_init: every small model drawn under `deepspeed.zero.Init`, and run once."""

from __future__ import annotations

import deepspeed
import torch

from ds_nowcast import ranks as process_group
from ds_nowcast.models import build_model
from tests.ds_nowcast.models.test_models import SMALL

CONFIG = {
    "train_micro_batch_size_per_gpu": 1,
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
}


def check(kind: str) -> str:
    """A line of what differs from the same model built whole."""
    name, options = SMALL[kind]
    torch.manual_seed(0)
    whole = build_model(name, options, 5, 3)
    torch.manual_seed(0)
    with deepspeed.zero.Init(config_dict_or_path=CONFIG):
        parted = build_model(name, options, 5, 3)
    held = sum(parameter.numel() for parameter in parted.parameters())
    differing = []
    for (key, parameter), expected in zip(parted.named_parameters(), whole.parameters(), strict=True):
        with deepspeed.zero.GatheredParameters(parameter):
            if not torch.equal(parameter, expected):
                differing.append(key)
    engine, *_ = deepspeed.initialize(model=parted, config=CONFIG)
    past = torch.rand(1, 5, 2 * parted.stride, 2 * parted.stride)
    with torch.no_grad():
        forecast = torch.equal(engine(past), whole(past))
    return f"CHECKED {kind}: held whole {held}, differing {differing}, equal forecast {forecast}"


def main() -> None:
    ranks = process_group.join()
    torch.set_num_threads(1)
    for kind in SMALL:
        lines = ranks.gather(check(kind))
        if ranks.first:
            print(*lines, sep="\n", flush=True)
    process_group.leave()


if __name__ == "__main__":
    main()
    process_group.end_process(0)
