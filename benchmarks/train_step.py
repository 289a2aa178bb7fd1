"""The optimizer step through DeepSpeed's engine against the same model and batch in a plain PyTorch loop."""

from __future__ import annotations

import atexit
import copy
import sys
import time
from functools import cache
from pathlib import Path

import torch
from torch import nn

import ds_configs
from benchmarks.archive import SPLIT
from benchmarks.command import Setting, main
from benchmarks.report import Goal, Report
from benchmarks.timing import Contender, in_turns, spread
from data_prep.shards.index import Shards
from data_prep.shards.stored import read_sample
from ds_nowcast import ranks as process_group
from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.config.optimizer_keys import AdamParams
from ds_nowcast.engine import Engine
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.models import build_model
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.pipeline import StepCodes
from ds_nowcast.stream.windows import Sample
from ds_nowcast.training.step import TrainingStep

SIZE, SIZE_QUICK, MICRO, ACCUMULATION = 128, 64, 2, 4  # 384 pixels would take minutes on two cores
ENGINE, PLAIN = "engine", "plain PyTorch loop"
TINY, TINY_SIZE = ["nowcast.model.width=8"], 16  # almost nothing: what is left is what a step costs beside it


def run(setting: Setting) -> Report:
    """Measures both, after a check that they compute the same loss."""
    config, ranks, size = small_config(), joined(), SIZE_QUICK if setting.quick else SIZE
    model, shards = model_of(config), setting.archive.shards
    space, samples = space_of(setting, config, ranks), one_step(shards, config, size)
    plain = plain_step(copy.deepcopy(model).to(ranks.device), config, space, samples)
    ours = engine_step(model, config, space, ranks, samples)
    check_equal(plain(), ours())
    contenders: dict[str, Contender] = {
        PLAIN: lambda: MICRO * ACCUMULATION * bool(plain()),
        ENGINE: lambda: MICRO * ACCUMULATION * bool(ours()),
    }
    rates = in_turns(contenders, setting.rounds)
    parameters = sum(p.numel() for p in model.parameters())
    what = (
        f"optimizer step, unet of {parameters:,} parameters, fp32, {size} x {size} pixels, micro-batch {MICRO}, "
        f"accumulation {ACCUMULATION}, {ranks.threads} threads"
    )
    return Report("train_step", what, "samples/s", rates, [Goal(ENGINE, [PLAIN], 0.95)])


def overhead(setting: Setting) -> Report:
    """What the engine costs a step beside the model, at every ZeRO stage, in CPU time: a busy machine does not lengthen that."""
    configs = [small_config(*TINY, f"zero_optimization.stage={stage}") for stage in range(4)]
    ranks, steps = joined(), 2 if setting.quick else 10
    space, samples = space_of(setting, configs[0], ranks), one_step(setting.archive.shards, configs[0], TINY_SIZE)
    takes = {PLAIN: plain_step(model_of(configs[0]).to(ranks.device), configs[0], space, samples)}
    for stage, config in enumerate(configs):
        takes[f"ZeRO {stage}"] = engine_step(model_of(config), config, space, ranks, samples)
    first = {name: take() for name, take in takes.items()}
    for loss in first.values():
        check_equal(first[PLAIN], loss)
    contenders = {name: lambda take=take: sum(bool(take()) for _ in range(steps)) for name, take in takes.items()}
    rates = in_turns(contenders, setting.rounds, clock=time.process_time)
    seconds = {name: 1 / spread(found).median for name, found in rates.items()}
    beside = {name: f"{1e3 * (own - seconds[PLAIN]):+.1f} ms a step" for name, own in seconds.items() if name != PLAIN}
    what = f"CPU time of steps of a unet of width 8, fp32, {TINY_SIZE} x {TINY_SIZE} pixels, accumulation {ACCUMULATION}, one rank"
    return Report("step_overhead", what, "steps per CPU second", rates, [], beside)


@cache
def joined() -> Ranks:
    """One group for all of this process's engines: DeepSpeed keeps the first it meets."""
    ranks = process_group.join(always=True)
    atexit.register(process_group.leave)
    torch.set_num_threads(ranks.threads)
    return ranks


def model_of(config: RunConfig) -> nn.Module:
    """The config's model with its weights."""
    data, model = config.nowcast.data, config.nowcast.model
    return build_model(model.name, model.options, data.input_frames, data.output_frames)


def space_of(setting: Setting, config: RunConfig, ranks: Ranks) -> ModelSpace:
    """What turns the archive's codes into the model's input."""
    return ModelSpace(setting.archive.shards.index.codes, config.nowcast.data.input_frames, ranks.device)


def small_config(*settings: str) -> RunConfig:
    """The committed fp32 run, cut down to one small step; without augmentation, which the plain loop has not."""
    path = Path(ds_configs.__file__).with_name("unet_fp32.json")
    batch = [f"train_batch_size={MICRO * ACCUMULATION}", f"train_micro_batch_size_per_gpu={MICRO}"]
    return load_config(
        path, [*batch, "nowcast.data.augment.flip=false", "nowcast.data.augment.rotate=false", *settings]
    )


def one_step(shards: Shards, config: RunConfig, size: int) -> StepCodes:
    """One step's windows, cut from the middle of the events."""
    window = config.nowcast.data.window
    top, left = ((side - size) // 2 for side in shards.index.shape)
    codes_BTHW = torch.empty((MICRO * ACCUMULATION, window, size, size), dtype=torch.uint8)
    # more rows not seen in each sample than in the one before: micro-batches differ in valid pixels
    for row, codes_THW in enumerate(codes_BTHW):
        event = read_sample(shards, SPLIT, row % shards.split(SPLIT).samples)[1]
        codes_THW.copy_(torch.from_numpy(event[:window, top : top + size, left : left + size]))
        codes_THW[:, : row * size // (2 * len(codes_BTHW))] = shards.index.codes.missing
    return StepCodes(codes_BTHW, [Sample(row, "", "", 0) for row in range(len(codes_BTHW))])


def engine_step(model: nn.Module, config: RunConfig, space: ModelSpace, ranks: Ranks, samples: StepCodes) -> Contender:
    """What `ds_nowcast.train` does in a step but for the logging; gives the loss."""
    batch = config.batch(1)
    engine = Engine(model, config.for_deepspeed(batch), ranks, compute=config.nowcast.compute)
    step = TrainingStep(engine, config.nowcast, space, batch, ranks)

    def take() -> float:
        codes_BTHW, valid = step.prepare(samples)
        return float(step.run(samples, codes_BTHW, valid).loss_sum)

    return take


def plain_step(model: nn.Module, config: RunConfig, space: ModelSpace, samples: StepCodes) -> Contender:
    """The same step without DeepSpeed: mean squared error over valid pixels, clipped, AdamW; gives the loss."""
    params = config.optimizer.params if config.optimizer else None
    assert isinstance(params, AdamParams)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=params.lr,
        betas=(params.betas[0], params.betas[1]),
        eps=params.eps,
        weight_decay=params.weight_decay,
    )
    device, inputs = next(model.parameters()).device, config.nowcast.data.input_frames

    def take() -> float:
        codes_BTHW = samples.codes_BTHW.to(device)
        valid = int((codes_BTHW[:, inputs:] < space.missing).sum())
        total = torch.zeros((), device=device)
        for micro_BTHW in torch.split(codes_BTHW, MICRO):
            w = space.windows(micro_BTHW)
            loss = ((model(w.past_BTHW) - w.target_BTHW) * w.valid_BTHW).square().sum() / valid
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clipping)
        optimizer.step()
        optimizer.zero_grad()
        return float(total)

    return take


def check_equal(plain: float, ours: float) -> None:
    """Raises RuntimeError where two losses of the same work are not the same."""
    if abs(ours / plain - 1) > 1e-4:
        raise RuntimeError(f"the engine's loss {ours} is not the plain loop's {plain}: they do not do the same work")


if __name__ == "__main__":
    sys.exit(main("benchmarks.train_step", {"train_step": run, "step_overhead": overhead}))
