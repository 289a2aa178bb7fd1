"""One way of training on a device, timed: through our engine, or the same in a plain PyTorch loop."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import nn

import ds_configs
from data_prep.encoding import Encoding
from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.config.optimizer_keys import AdamParams
from ds_nowcast.engine import Engine, placing
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.models import draw_weights, outline_of
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.pipeline import StepCodes
from ds_nowcast.stream.windows import Sample
from ds_nowcast.training.step import TrainingStep

STEPS, WARM_UP = 20, 4
Take = Callable[[], float]  # makes an optimizer step; its mean loss


class Way(NamedTuple):
    """How to train."""

    stage: int | None  # of ZeRO; None: a plain PyTorch loop
    micro: int
    channels_last: bool = False
    fused: bool = False
    compile: bool = False

    def __str__(self) -> str:
        options = [name for name in ("channels_last", "fused", "compile") if getattr(self, name)]
        return f"{'plain PyTorch' if self.stage is None else f'ZeRO {self.stage}'}, {' + '.join(options) or 'as it is'}"


@dataclass
class Timed:
    """What came of a way; without seconds it says why."""

    way: Way
    seconds: float | None = None  # of an optimizer step, median
    loss: float | None = None  # of the first step
    memory: int | None = None  # most bytes of a GPU's allocator
    said: str = ""

    @property
    def rate(self) -> float | None:
        """Samples a second, at accumulation 1."""
        return None if self.seconds is None else self.way.micro / self.seconds


def config_of(way: Way, model: str, settings: list[str]) -> RunConfig:
    """The committed bf16 run in that way, a micro-batch a step, without augmentation, which a plain loop has not."""
    path = Path(ds_configs.__file__).with_name("unet_zero2_bf16.json")
    batch = [f"train_batch_size={way.micro}", f"train_micro_batch_size_per_gpu={way.micro}"]
    words = [f"zero_optimization.stage={way.stage or 0}", f"optimizer.params.fused={str(way.fused).lower()}"]
    compute = {"channels_last": way.channels_last, "compile": way.compile and way.stage is not None}
    switches = [f"nowcast.compute.{name}={str(on).lower()}" for name, on in compute.items()]
    no_augmentation = ["nowcast.data.augment.flip=false", "nowcast.data.augment.rotate=false"]
    own = [] if model == "unet" else [f'nowcast.model={{"name": "{model}"}}']
    return load_config(path, [*own, *batch, *words, *switches, *no_augmentation, *settings])


def timed(way: Way, config: RunConfig, ranks: Ranks, encoding: Encoding, size: int, steps: int = STEPS) -> Timed:
    """Takes steps in that way. Where the memory of the GPU does not do, the result says so."""
    found, allocated = Timed(way), _begin(ranks.device)
    samples = _samples(way.micro, config, encoding, size, pinned=ranks.device.type == "cuda")
    space = ModelSpace(encoding, config.nowcast.data.input_frames, ranks.device)
    try:
        take, end = (_plain if way.stage is None else _ours)(way, config, space, ranks, samples)
        found.loss, seconds = take(), list[float]()
        for number in range(1 - WARM_UP, steps):
            _wait(ranks.device)
            started = time.perf_counter()
            take()
            _wait(ranks.device)
            if number >= 0:
                seconds.append(time.perf_counter() - started)
        found.seconds = median(seconds)
        end()
    except torch.OutOfMemoryError:
        found.said = "out of memory"
    if ranks.device.type == "cuda":
        found.memory = torch.cuda.max_memory_allocated() - allocated
    torch.compiler.reset()
    return found


def matrix_rate(device: torch.device, side: int, rounds: int = 20) -> float:
    """Floating point operations a second of the product of two bf16 matrices, the most that a card does in practice."""
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    seconds = []
    for _ in range(rounds):
        _wait(device)
        started = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / median(seconds)


def _begin(device: torch.device) -> int:
    """Lets go of what the way before left; bytes that stay taken on a GPU."""
    gc.collect()
    if device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _samples(count: int, config: RunConfig, encoding: Encoding, size: int, *, pinned: bool) -> StepCodes:
    shape_BTHW = (count, config.nowcast.data.window, size, size)
    codes_BTHW = torch.randint(
        0, encoding.missing, shape_BTHW, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    codes_BTHW[..., : size // 8] = encoding.missing
    samples = [Sample(row, "", "", 0) for row in range(count)]
    return StepCodes(codes_BTHW.pin_memory() if pinned else codes_BTHW, samples)


def _ours(
    way: Way, config: RunConfig, space: ModelSpace, ranks: Ranks, samples: StepCodes
) -> tuple[Take, Callable[[], None]]:
    keys, batch = config.nowcast, config.batch(1)
    for_deepspeed = config.for_deepspeed(batch)
    model = draw_weights(outline_of(keys), keys.seed, place=placing(for_deepspeed))
    engine = Engine(model, for_deepspeed, ranks, compute=keys.compute)
    engine.train()
    step = TrainingStep(engine, keys, space, batch, ranks)

    def take() -> float:
        codes_BTHW, valid = step.prepare(samples)
        return float(step.run(samples, codes_BTHW, valid).loss_sum)

    return take, engine._engine.destroy


def _plain(
    way: Way, config: RunConfig, space: ModelSpace, ranks: Ranks, samples: StepCodes
) -> tuple[Take, Callable[[], None]]:
    """What DeepSpeed does in bf16: weights in 16 bits, and AdamW on copies of them in fp32."""
    keys, device = config.nowcast, ranks.device
    model: nn.Module = draw_weights(outline_of(keys), keys.seed).to(device, torch.bfloat16).train()
    weights = list(model.parameters())
    masters = [weight.detach().float() for weight in weights]
    optimizer = _adamw(masters, config, way.fused)
    layout = torch.channels_last if way.channels_last else torch.preserve_format
    computed = torch.compile(model) if way.compile else model

    def take() -> float:
        codes_BTHW = samples.codes_BTHW.to(device, non_blocking=True)
        w = space.windows(codes_BTHW)
        prediction_BTHW = computed(w.past_BTHW.to(dtype=torch.bfloat16, memory_format=layout))
        loss = ((prediction_BTHW - w.target_BTHW) * w.valid_BTHW).square().sum() / w.valid_BTHW.sum()
        loss.backward()
        for master, weight in zip(masters, weights, strict=True):
            assert weight.grad is not None
            master.grad, weight.grad = weight.grad.float(), None
        nn.utils.clip_grad_norm_(masters, config.gradient_clipping)
        optimizer.step()
        torch._foreach_copy_([weight.detach() for weight in weights], masters)
        return float(loss.detach())

    return take, lambda: None


def _adamw(masters: list[torch.Tensor], config: RunConfig, fused: bool) -> torch.optim.AdamW:
    params = config.optimizer.params
    assert isinstance(params, AdamParams)
    betas = (params.betas[0], params.betas[1])
    return torch.optim.AdamW(
        masters, lr=params.lr, betas=betas, eps=params.eps, weight_decay=params.weight_decay, fused=fused or None
    )
