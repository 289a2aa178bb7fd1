"""Run on ranks by training/test_step: the same training at ZeRO 0 to 3, its first gradients and its losses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from deepspeed.utils import safe_get_full_grad
from safetensors.torch import save_file

from data_prep.shards.index import open_shards
from ds_nowcast import ranks as process_group
from ds_nowcast.config import load_config
from ds_nowcast.engine import Engine, Stepped, placing
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.models import draw_weights, outline_of
from ds_nowcast.stream.pipeline import training_stream
from ds_nowcast.training.step import TrainingStep


class TappedEngine(Engine):
    """Keeps the full averaged gradients as they are just before the first optimizer step."""

    first_gradients: dict[str, torch.Tensor] | None = None

    def step(self) -> Stepped | None:
        if self.first_gradients is None and self._engine.is_gradient_accumulation_boundary():
            self.first_gradients = {
                name: (p.grad if self._plain else safe_get_full_grad(p)).detach().float().clone()
                for name, p in self._engine.module.named_parameters()
            }
        return super().step()


def main(config_path: str, shards_path: str, out: Path, steps: int) -> None:
    ranks = process_group.join()
    torch.set_num_threads(1)
    shards = open_shards(shards_path)
    for stage in (3, 0, 1, 2):  # 3 first: as in a training, nothing has set DeepSpeed up yet
        config = load_config(config_path, [f"zero_optimization.stage={stage}"])
        keys, batch = config.nowcast, config.batch(ranks.world)
        for_deepspeed = config.for_deepspeed(batch)
        model = draw_weights(outline_of(keys), keys.seed, place=placing(for_deepspeed))
        engine = TappedEngine(model, for_deepspeed, ranks)
        space = ModelSpace(shards.index.codes, keys.data.input_frames, ranks.device)
        step = TrainingStep(engine, keys, space, batch, ranks)
        losses, valid_by_rank = [], []
        stream = training_stream(
            shards, keys.data, keys.seed, batch=batch.per_rank, rank=ranks.rank, world=ranks.world, start=0, threads=1
        )
        with stream:
            for _ in range(steps):
                codes_batch = next(stream)
                codes_BTHW, valid = step.prepare(codes_batch)
                valid_by_rank.append(ranks.gather(valid))
                result = step.run(codes_batch, codes_BTHW, int(ranks.sum([valid])[0]))
                losses.append(ranks.sum([float(result.loss_sum)])[0])
        assert engine.first_gradients is not None
        if ranks.first:
            save_file(
                {name: tensor.contiguous() for name, tensor in engine.first_gradients.items()},
                out / f"stage{stage}.safetensors",
            )
            (out / f"stage{stage}.json").write_text(json.dumps({"losses": losses, "valid": valid_by_rank}))
    process_group.leave()


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")]
    main(arguments[0], arguments[1], Path(arguments[2]), int(arguments[3]))
    process_group.end_process(0)
