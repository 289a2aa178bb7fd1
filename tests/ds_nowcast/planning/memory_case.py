"""Run on ranks by test_measured: the growth of each rank's memory over trainings, and the size of their checkpoints."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch

from data_prep.encoding import encoding_named
from ds_nowcast import ranks as process_group
from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.engine import Engine, placing
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.models import draw_weights, outline_of
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.pipeline import StepCodes
from ds_nowcast.training.step import TrainingStep

PARAMETERS = {"nowcast.model.width": 40, "nowcast.model.levels": 4, "size": 32}  # 26 M, on images of nothing
ACTIVATIONS = {
    "nowcast.model.width": 16,
    "nowcast.model.levels": 3,
    "size": 256,
    "train_micro_batch_size_per_gpu": 4,
    "nowcast.steps": 1,
}
BF16, STAGE = {"bf16.enabled": True}, "zero_optimization.stage"
THROUGHOUT = {
    **BF16, "bf16.bf16_master_weights_and_grads": True, "bf16.bf16_optimizer_states": True,
}  # fmt: skip
CHECKPOINTING = {"nowcast.compute.activation_checkpointing": True}
SMALL_BUCKETS = {
    "zero_optimization.reduce_bucket_size": 2_000_000,
    "zero_optimization.stage3_prefetch_bucket_size": 1_000_000,
    "zero_optimization.stage3_max_reuse_distance": 0,
}
MEMORY: dict[str, dict[str, Any]] = {
    **{f"parameters, fp32, stage {stage}": PARAMETERS | {STAGE: stage} for stage in range(4)},
    **{f"parameters, bf16, stage {stage}": PARAMETERS | BF16 | {STAGE: stage} for stage in (0, 1, 3)},
    "parameters, fp32, stage 2, accumulation 2": PARAMETERS | {STAGE: 2, "gradient_accumulation_steps": 2},
    "parameters, fp32, stage 3, small buckets": PARAMETERS | SMALL_BUCKETS | {STAGE: 3},
    "parameters, autocast, stage 1": PARAMETERS
    | {STAGE: 1, "torch_autocast.enabled": True, "torch_autocast.dtype": "bfloat16"},
    **{
        f"parameters, bf16, stage {stage}, optimizer offloaded": PARAMETERS
        | BF16
        | {
            STAGE: stage,
            "zero_optimization.offload_optimizer.device": "cpu",
            "zero_optimization.offload_optimizer.pin_memory": False,
        }
        for stage in (1, 2)
    },
    "parameters, bf16, stage 3, all offloaded": PARAMETERS
    | BF16
    | {
        STAGE: 3,
        "zero_optimization.offload_optimizer.device": "cpu",
        "zero_optimization.offload_optimizer.pin_memory": False,
        "zero_optimization.offload_param.device": "cpu",
        "zero_optimization.offload_param.pin_memory": False,
    },
    **{f"parameters, bf16 throughout, stage {stage}": PARAMETERS | THROUGHOUT | {STAGE: stage} for stage in (1, 3)},
    "parameters, fp32, stage 2, mean of the weights": PARAMETERS | {STAGE: 2, "nowcast.ema.decay": 0.99},
    "activations, fp32, stage 0": ACTIVATIONS | {STAGE: 0},
    "activations, fp32, stage 0, computed again": ACTIVATIONS | CHECKPOINTING | {STAGE: 0},
    "activations, bf16, stage 1": ACTIVATIONS | BF16 | {STAGE: 1},
}
DISK: dict[str, dict[str, Any]] = {
    f"{name}, stage {stage}": {"nowcast.model.width": 16, "nowcast.model.levels": 3, "size": 32, STAGE: stage} | precision
    for name, precision in (("fp32", {}), ("bf16", BF16))
    for stage in range(4)
}  # fmt: skip
BASE: dict[str, Any] = {
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 1,
    "gradient_clipping": 1.0,
    "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "weight_decay": 0.0, "torch_adam": True}},
    "nowcast": {"steps": 2},
}


def config_of(base: Path, case: dict[str, Any]) -> RunConfig:
    """The config of a case: a file that holds BASE, overridden. `size`, the images' pixels, is no part of it."""
    return load_config(base, [f"{k}={json.dumps(v)}" for k, v in case.items() if k != "size"])


def status(name: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since `reset`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def train(config: RunConfig, size: int, ranks: Ranks) -> Engine:
    """The config's steps; the first makes the moments, so that with many parameters the second needs the most."""
    keys, batch = config.nowcast, config.batch(ranks.world)
    for_deepspeed = config.for_deepspeed(batch)
    model = draw_weights(outline_of(keys), keys.seed, place=placing(for_deepspeed))
    engine = Engine(model, for_deepspeed, ranks, compute=keys.compute, ema=keys.ema)
    step = TrainingStep(
        engine, keys, ModelSpace(encoding_named("dbz8"), keys.data.input_frames, ranks.device), batch, ranks
    )
    engine.train()
    for _ in range(keys.steps):
        codes_BTHW = torch.randint(0, 200, (batch.per_rank, keys.data.window, size, size), dtype=torch.uint8)
        step.run(StepCodes(codes_BTHW), codes_BTHW, codes_BTHW[:, keys.data.input_frames :].numel())
    return engine


def growth(config: RunConfig, size: int, ranks: Ranks) -> int:
    """Bytes by which this rank's memory grew at most."""
    gc.collect()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    engine = train(config, size, ranks)
    most = status("VmHWM") - before
    engine._engine.destroy()
    return most


def saved(config: RunConfig, size: int, ranks: Ranks, folder: Path) -> int:
    """Bytes of a checkpoint of all ranks."""
    engine = train(config, size, ranks)
    assert engine.save(folder, "saved", {}) is None
    ranks.barrier()
    engine._engine.destroy()
    return sum(path.stat().st_size for path in (folder / "saved").rglob("*") if path.is_file())


def main(out: Path) -> None:
    ranks, base = process_group.join(), out / "base.json"
    torch.set_num_threads(1)
    # first, so that what libraries take once is there before memory is measured
    on_disk = {name: saved(config_of(base, case), case["size"], ranks, out / name) for name, case in DISK.items()}
    memory = {
        name: max(ranks.gather(growth(config_of(base, case), case["size"], ranks))) for name, case in MEMORY.items()
    }
    if ranks.first:
        (out / "report.json").write_text(json.dumps({"memory": memory, "disk": on_disk}))
    process_group.leave()


if __name__ == "__main__":
    main(Path(next(argument for argument in sys.argv[1:] if not argument.startswith("--local_rank"))))
    process_group.end_process(0)
