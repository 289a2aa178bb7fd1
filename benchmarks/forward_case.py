"""Run on ranks by `benchmarks.large_model --forward-only`: a model that no rank holds whole makes one forecast at ZeRO 3."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import ds_nowcast.engine  # first: it sets up what deepspeed reads when it is imported

# isort: split
import deepspeed
import torch

from benchmarks.watching import CONSTRUCTED, FORECAST
from ds_nowcast import ranks as process_group
from ds_nowcast.config import load_config
from ds_nowcast.models import draw_weights, outline_of
from ds_nowcast.ranks import Ranks


def main() -> None:
    """Prints a line when the model is there, and one about its forecast."""
    options = argparse.ArgumentParser()
    options.add_argument("--local_rank")
    options.add_argument("config", type=Path)
    options.add_argument("size", type=int)
    options.add_argument("settings", nargs="*")
    args = options.parse_args()
    ranks = process_group.join()
    torch.set_num_threads(ranks.threads)
    forecast(args.config, args.settings, args.size, ranks)
    process_group.leave()


def forecast(path: Path, settings: list[str], size: int, ranks: Ranks) -> None:
    """Constructs the config's model in parts and runs it once, without an optimizer, on one sample a rank."""
    config = load_config(path, settings)
    keys, for_deepspeed = config.nowcast, config.for_deepspeed(config.batch(ranks.world))
    for section in ("optimizer", "scheduler"):  # DeepSpeed then holds the parameters' shares and no state
        for_deepspeed.pop(section, None)
    model = draw_weights(outline_of(keys), keys.seed, place=ds_nowcast.engine.placing(for_deepspeed))
    engine, *_ = deepspeed.initialize(model=model, config=for_deepspeed)
    ranks.barrier()
    total = sum(p.ds_numel for p in model.parameters())
    mine = sum(p.ds_tensor.numel() for p in model.parameters())
    held = sum(p.numel() for p in model.parameters())
    if ranks.first:
        print(f"{CONSTRUCTED}: {total:,} parameters, this rank's share {mine:,}, held whole {held:,}", flush=True)
    past_BTHW = torch.rand(1, keys.data.input_frames, size, size).to(next(model.parameters()).dtype)
    with torch.no_grad():
        future_BTHW = engine(past_BTHW).float()
    assert torch.isfinite(future_BTHW).all(), "the forecast is not finite"
    if ranks.first:
        shape = " x ".join(map(str, future_BTHW.shape))
        print(f"{FORECAST}: {shape}, {future_BTHW.min():.3f} to {future_BTHW.max():.3f}", flush=True)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    process_group.end_process(0)
