"""A checkpoint that other ranks saved, or another ZeRO stage: one way for every change, over its universal form.

DeepSpeed's own way, `load_universal` in the config, takes another number of ranks but no other ZeRO stage, nothing saved at
ZeRO 0, and a run prepared by hand before each change. What stops it are a few files beside the weights, not the weights. So
there is one way here for ranks, for stages and for both at once, and DeepSpeed's parts do the work where they can: rank 0
writes the universal form aside (`ds_nowcast.engine.portable`), every rank reads its share of it into the new engine.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_prep.errors import UserError
from ds_nowcast.engine.portable import OPTIMIZERS, model_file, read_universal, trained, write_universal
from ds_nowcast.errors import SaveError
from ds_nowcast.ranks import Ranks

WORKPLACE = ".universal"  # in the folder of checkpoints, only while one is being moved


@dataclass(frozen=True)
class Move:
    """From the engine that saved a checkpoint to this one; both described by `Engine.kind`."""

    saved_with: dict[str, Any]
    kind: dict[str, Any]
    ranks: Ranks
    with_mean: bool = False  # whether a running mean of the weights is wanted, if there is one

    @property
    def needed(self) -> bool:
        """Whether the number of ranks or the ZeRO stage is another."""
        return any(self.saved_with[key] != self.kind[key] for key in ("ranks", "ZeRO stage"))

    @property
    def stage(self) -> int:
        """The ZeRO stage of this engine."""
        return int(self.kind["ZeRO stage"])

    def load(self, engine: Any, folder: Path, tag: str) -> dict[str, Any]:
        """Sets checkpoint `folder/tag` into DeepSpeed's new engine. Returns its content, the client state within.

        Every rank must call. Raises UserError where it cannot be, SaveError where writing or reading fails, on all ranks.
        """
        self._check(engine, folder / tag)
        universal = folder / WORKPLACE / tag
        try:
            self.ranks.on_first(lambda: self._write(engine, folder / tag, universal))
            return self._read(engine, folder / tag, universal)
        finally:
            if self.ranks.first:
                shutil.rmtree(universal.parent, ignore_errors=True)

    def _check(self, engine: Any, checkpoint: Path) -> None:
        """Raises UserError where the optimizer's state is not of the kind that the universal form holds."""
        offload = engine._config.zero_config.offload_optimizer
        reasons = {
            f"optimizer {self.kind['optimizer']}": self.kind["optimizer"] not in OPTIMIZERS,
            "amsgrad": any(group.get("amsgrad") for group in engine.optimizer.param_groups),
            "offloading to NVMe": offload is not None and offload.device == "nvme",
        }
        why = " and ".join(name for name, holds in reasons.items() if holds)
        if why:
            raise UserError(
                f"{checkpoint} was saved by {_at(self.saved_with)} and cannot be resumed by {_at(self.kind)}: that is not possible "
                f"with {why}; launch it as it was saved"
            )

    def _write(self, engine: Any, checkpoint: Path, universal: Path) -> None:
        """On rank 0. Raises SaveError whatever goes wrong: the other ranks wait for a word."""
        shutil.rmtree(universal.parent, ignore_errors=True)
        shapes = {name: full_shape(parameter) for name, parameter in trained(engine).items()}
        try:
            write_universal(checkpoint, self.saved_with["ZeRO stage"], shapes, universal, with_mean=self.with_mean)
        except Exception as error:
            raise SaveError(
                f"{checkpoint} could not be made ready in {universal} for {_at(self.kind)} ({in_one_line(error)}; {room(checkpoint)}); "
                f"make room if the disk is full, or launch {_at(self.saved_with)}, as it was saved"
            ) from error

    def _read(self, engine: Any, checkpoint: Path, universal: Path) -> dict[str, Any]:
        """On every rank. Raises SaveError on all of them where one cannot read."""
        failure, saved = None, dict[str, Any]()
        if self.stage == 3:
            engine.optimizer.checkpoint_event_prologue()  # partitions what is gathered
        try:
            read_universal(engine.optimizer, self.stage, trained(engine), universal)
            saved = model_file(checkpoint)
            _set_common(engine, saved)
        except Exception as error:
            failure = f"rank {self.ranks.rank}: {in_one_line(error)}"
        failures = self.ranks.reasons(failure)
        if failures:
            raise SaveError(
                f"{universal} could not be read ({'; '.join(failures.values())}); run the same command again when it can, and see that the "
                "run folder is on a disk that all hosts share"
            ).at(min(failures))
        if self.stage == 3:
            engine.optimizer.checkpoint_event_epilogue()  # gathers it again
        elif self.stage > 0:
            engine.optimizer.update_lp_params()  # the model's weights from the fp32 ones of all ranks
        return saved


def _set_common(engine: Any, saved: dict[str, Any]) -> None:
    """What all ranks have alike: buffers, schedule, counters."""
    for name, buffer in engine.module.named_buffers():
        buffer.copy_(saved["module"][name])
    if engine.lr_scheduler is not None:
        engine.lr_scheduler.load_state_dict(saved["lr_scheduler"])
    for name in ("global_steps", "global_samples", "skipped_steps"):
        setattr(engine, name, saved[name])


def _at(kind: dict[str, Any]) -> str:
    return f"{kind['ranks']} ranks at ZeRO {kind['ZeRO stage']}"


def full_shape(parameter: nn.Parameter) -> torch.Size:
    """A parameter's shape, also where ZeRO 3 holds only a part of it."""
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape


def in_one_line(error: Exception) -> str:
    """An unforeseen error within a sentence."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def room(path: Path) -> str:
    """What is free on the disk of a file: torch's writer does not say that a full disk was the reason."""
    try:
        return f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB are free there"
    except OSError as error:
        return f"the room there cannot be told ({error.strerror})"
