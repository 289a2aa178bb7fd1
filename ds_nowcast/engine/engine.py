"""DeepSpeed's engine as the trainer sees it: steps, saves, loads, gives its weights out, alike at every ZeRO stage."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

# DeepSpeed compiles an operator for CPUs with ninja, which lies beside the interpreter whether or not its venv is active
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns on every rank that it found none

import deepspeed
from deepspeed.utils import safe_get_full_fp32_param
from torch import nn

from data_prep.errors import UserError
from ds_nowcast.config.nowcast_keys import ComputeKeys, EmaKeys
from ds_nowcast.engine import whole
from ds_nowcast.engine.ema import Ema
from ds_nowcast.engine.moving import Move, full_shape
from ds_nowcast.engine.starting import compiling, starting
from ds_nowcast.engine.writer import RememberingWriter
from ds_nowcast.launch.environment import host
from ds_nowcast.ranks import Ranks

# Without this a ZeRO 1/2 checkpoint cannot be turned into a universal one, which another world size needs.
UNIVERSAL_INFO = {"universal_checkpoint_info": {"universal_checkpoint_version": 0.2}}
_SCALER = "autocast_scaler"  # in the client state


@dataclass(frozen=True)
class Stepped:
    """What an optimizer step did."""

    applied: bool  # False where gradients overflowed and the weights stayed
    # before clipping; not finite where it overflowed; None where the config says not to compute it
    grad_norm: float | None
    lr: float  # of this step
    loss_scale: float  # for the next one; 1 but for float16


def _unlink_shared_memory(ranks: Ranks) -> None:
    """Takes away the name of the 64 MB through which DeepSpeed reduces between a host's CPU ranks, and never removes.

    All ranks have it open by now, and keep it; without a name it goes with the last of them, however that ends.
    """
    ranks.barrier()
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    name = f"deepspeed_allreduce_buffer_{os.getuid()}_{address}_{port}_{ranks.rank}"
    with suppress(OSError):
        Path("/dev/shm", name).unlink(missing_ok=True)


class Engine:
    """A DeepSpeed engine over one model."""

    def __init__(
        self,
        model: nn.Module,
        config: dict[str, Any],
        ranks: Ranks,
        *,
        compute: ComputeKeys | None = None,
        ema: EmaKeys | None = None,
    ) -> None:
        """compute: how to compute a step; ema: the running mean of the weights to keep, None keeps none.

        Raises UserError where DeepSpeed does not take the config here (float16 on most CPUs, say).
        """
        compute = compute or ComputeKeys()
        self._ranks = ranks
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        with starting(config):
            self._engine, *_ = deepspeed.initialize(model=model, model_parameters=self._parameters, config=config)
        _unlink_shared_memory(ranks)
        self._writer = RememberingWriter(self._engine._config)
        self._engine.checkpoint_engine = self._writer
        self._engine._copy_recovery_script = self._writer.remembering(self._engine._copy_recovery_script)
        self._hyperparameters = dict(config["optimizer"].get("params", {}))
        self._stage = int(self._engine.zero_optimization_stage())
        self._plain = self._stage == 0 and self.dtype == torch.float32
        self._scales_itself = self._stage == 0 and self.dtype == torch.float16
        self._memory_format = torch.channels_last if compute.channels_last else torch.preserve_format
        if self._plain:
            whole.guard(self._engine.optimizer)
        elif self._stage == 0:
            whole.undo_first_step(self._engine.optimizer, self._parameters)
        if compute.compile:
            self._engine.compile()
        self._ema = Ema(self._engine, ema)

    @property
    def steps(self) -> int:
        """Optimizer steps since the start of training."""
        return int(self._engine.global_steps)

    @property
    def samples(self) -> int:
        """Samples since the start of training, over all ranks: the position of the next one."""
        return int(self._engine.global_samples)

    @property
    def kind(self) -> dict[str, Any]:
        """What a checkpoint was saved with. Only ranks and stage may be others where it is loaded."""
        precision = str(self.dtype).removeprefix("torch.")
        optimizer, scheduler = self._engine.optimizer_name(), self._engine.scheduler_name()
        return {
            "ranks": self._ranks.world, "ZeRO stage": self._stage,
            "precision": precision, "optimizer": optimizer, "scheduler": scheduler,
        }  # fmt: skip

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in, but for autocast."""
        if self._engine.bfloat16_enabled():
            return torch.bfloat16
        return torch.float16 if self._engine.fp16_enabled() else torch.float32

    def __call__(self, past_BTHW: torch.Tensor) -> torch.Tensor:
        """The model's forecast of past frames, given in float32, in what the model computes in. Raises UserError."""
        past_BTHW = past_BTHW.to(dtype=self.dtype, memory_format=self._memory_format)
        with compiling():
            prediction: torch.Tensor = self._engine(past_BTHW)
        return prediction

    def train(self, mode: bool = True) -> None:
        """Training or evaluation mode."""
        self._engine.train(mode)

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulates gradients; DeepSpeed divides them by accumulation and averages over ranks.

        At ZeRO 0 in float16 it divides them by the loss scale too, but leaves it to us to multiply the loss by it.
        """
        with compiling():  # of the backward pass, in its turn
            self._engine.backward(loss * self._loss_scale() if self._scales_itself else loss)

    def step(self) -> Stepped | None:
        """After each backward; None before the last micro-batch of an optimizer step."""
        if not self._engine.is_gradient_accumulation_boundary():
            self._engine.step()
            return None
        lr, norm, scale = float(self._engine.get_lr()[0]), None, self._loss_scale()
        if self._plain:
            norm = whole.grad_norm(self._parameters) / scale
            self._engine.optimizer.overflow = not math.isfinite(norm)
        self._ema.before_step()
        self._engine.step()
        applied = bool(self._engine.was_step_applied())
        self._ema.after_step(applied)
        if norm is None:
            reported = self._engine.get_global_grad_norm()
            norm = None if reported is None else float(reported)
            if norm is not None and self._scales_itself and hasattr(self._engine.optimizer, "fp32_groups"):
                norm /= scale  # which its unfused optimizer leaves in
        return Stepped(applied, norm, lr, self._loss_scale())

    def pass_over(self) -> None:
        """Counts an optimizer step that makes no update: its samples are behind us, weights and schedule as they were."""
        self._engine.micro_steps += self._engine.gradient_accumulation_steps()
        self._engine.global_steps += 1
        self._engine.global_samples += self._engine.train_batch_size()

    def monitor(self, values: dict[str, float]) -> None:
        """Sends numbers to the monitors of the config (TensorBoard, CSV, W&B ...), if any."""
        if self._engine.monitor.enabled and self._ranks.first:
            self._engine.monitor.write_events(
                [(f"nowcast/{name}", value, self.samples) for name, value in values.items()]
            )

    def _loss_scale(self) -> float:
        """What DeepSpeed multiplies the next loss by; each of its optimizers keeps it elsewhere."""
        optimizer, scaler = self._engine.optimizer, self._autocast_scaler
        if scaler is not None:
            return float(scaler.get_scale())
        return (
            float(getattr(optimizer, "loss_scale_config", optimizer).cur_scale) if self._engine.fp16_enabled() else 1.0
        )

    @property
    def _autocast_scaler(self) -> torch.amp.GradScaler | None:
        """Of the loss under torch_autocast in float16; DeepSpeed does not save it."""
        scaler: torch.amp.GradScaler | None = self._engine.torch_autocast_z0_gradscaler
        return scaler

    def _scaler_state(self) -> dict[str, Any]:
        return {} if self._autocast_scaler is None else {_SCALER: self._autocast_scaler.state_dict()}

    def _apply_hyperparameters(self) -> None:
        """The config's, where a resume has changed them: a checkpoint brings its own. A scheduler makes its own lr."""
        if hasattr(self._engine.optimizer, "clip_grad"):
            self._engine.optimizer.clip_grad = self._engine.gradient_clipping()
        for group in self._engine.optimizer.param_groups:
            for name, value in self._hyperparameters.items():
                if name in group and (name != "lr" or self._engine.lr_scheduler is None):
                    group[name] = tuple(value) if isinstance(value, list) else value

    def averaged(self, *alike: type[Exception]) -> AbstractContextManager[None]:
        """Within it the running mean is in the place of the weights, for forecasts and for `weights`; if none is kept, they stay.

        Every rank must enter and leave. alike: exceptions that all ranks raise if one does.
        """
        return self._ema.in_place(*alike)

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The full fp32 weights by name, one after the other, on the CPU, on rank 0; elsewhere nothing comes.

        Every rank must go through to the end: all take part in putting each one together.
        """
        masters = whole.masters(self._engine.optimizer) if self._stage == 0 and not self._plain else {}
        for name, parameter in self._engine.module.named_parameters():
            full = masters.get(id(parameter), parameter) if self._stage == 0 else safe_get_full_fp32_param(parameter)
            if self._ranks.first:
                yield name, full.detach().float().cpu().reshape(full_shape(parameter))
        for name, buffer in self._engine.module.named_buffers():
            if self._ranks.first:
                yield name, self._as_exported(buffer.detach()).cpu()

    def layout(self) -> dict[str, torch.Tensor]:
        """What `weights` gives, without memory: shapes and types, in its order."""
        named = {name: full_shape(p) for name, p in self._engine.module.named_parameters()}
        layout = {name: torch.empty(shape, device="meta") for name, shape in named.items()}
        buffers = {name: self._as_exported(b.detach()).to("meta") for name, b in self._engine.module.named_buffers()}
        return layout | buffers

    @staticmethod
    def _as_exported(buffer: torch.Tensor) -> torch.Tensor:
        return buffer.float() if buffer.is_floating_point() else buffer

    def save(self, folder: Path, tag: str, client_state: dict[str, Any]) -> str | None:
        """Writes `folder/tag` without moving `latest`. Returns why this rank's write failed, None if it did not."""
        self._writer.failure = None
        self._engine.save_checkpoint(
            str(folder),
            tag=tag,
            client_state=client_state | UNIVERSAL_INFO | self._ema.saved | self._scaler_state(),
            save_latest=False,
        )
        return self._writer.failure

    def load(self, folder: Path, tag: str, saved_with: dict[str, Any] | None = None) -> dict[str, Any]:
        """Restores weights, optimizer, schedule and counters. Returns the client state it was saved with.

        saved_with: `kind` of the engine that saved; None means this one's. Bit for bit where ranks and ZeRO stage are as
        they were; else by way of `ds_nowcast.engine.moving`, to the order of summation. Raises UserError and SaveError.
        """
        saved_with = saved_with or self.kind
        move = Move(saved_with, self.kind, self._ranks, with_mean=self._ema.on)
        client_state = move.load(self._engine, folder, tag) if move.needed else self._load_as_saved(folder, tag)
        self._apply_hyperparameters()
        self._ema.restore(client_state)
        if self._autocast_scaler is not None and _SCALER in client_state:
            self._autocast_scaler.load_state_dict(client_state[_SCALER])
        return client_state

    def _load_as_saved(self, folder: Path, tag: str) -> dict[str, Any]:
        try:
            path, client_state = self._engine.load_checkpoint(str(folder), tag=tag)
        except OSError as error:
            raise UserError(
                f"{folder / tag} cannot be read on {host()} ({error}); run the same command again when it can, and see that the run "
                "folder is on a disk that all hosts share"
            ) from error
        assert path is not None, f"{folder}/{tag} was verified and then not loaded"
        return dict(client_state)
