"""One JSON file per run: DeepSpeed's own keys and a "nowcast" section, strict at every level."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from data_prep.errors import UserError
from ds_nowcast.config import learning_rate
from ds_nowcast.config.batch import Batch, solve_batch
from ds_nowcast.config.deepspeed_keys import DeepSpeedKeys
from ds_nowcast.config.json_file import read_json
from ds_nowcast.config.nowcast_keys import NowcastKeys
from ds_nowcast.config.overrides import override_in
from ds_nowcast.config.strict import parse

__all__ = ["Batch", "NowcastKeys", "RunConfig", "changed", "config_of", "load_config", "solve_batch"]


class RunConfig(DeepSpeedKeys):
    """The whole file."""

    schema_: str = Field(
        "", alias="$schema", description="where editors find the JSON Schema of this file; for them alone"
    )
    nowcast: NowcastKeys = Field(description="model, loss, data windows, evaluation, checkpoints, seed")

    @model_validator(mode="after")
    def _sections_go_together(self) -> Self:
        problems = [] if self.nowcast.ema is None else self._ema_problems()
        if self.nowcast.compute.compile and self.zero_optimization.stage == 3:
            problems.append(
                "nowcast.compute.compile cannot be used with zero_optimization.stage 3, whose gathering of weights ends torch's graph "
                "at every module: it compiles a few of them one by one and runs the rest as before; use stage 2 or leave compile out"
            )
        if self.nowcast.learning_rate is not None:
            problems += learning_rate.problems(self.nowcast.learning_rate, self.scheduler)
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _ema_problems(self) -> list[str]:
        """Where the optimizer's state, beside which the mean is kept, is not in fp32, in memory and in checkpoints."""
        weights, state = self.zero_optimization.offload_param, self.zero_optimization.offload_optimizer
        wrong = {
            "zero_optimization.offload_optimizer.device 'nvme', where weights are in memory only while they are updated; "
            "use device 'cpu'": state is not None and state.device == "nvme",
            "zero_optimization.offload_param.device 'nvme', as each evaluation would write all weights twice; use device 'cpu'": (
                weights is not None and weights.device == "nvme"
            ),
            "zero_optimization.offload_optimizer.ratio below 1, as DeepSpeed leaves the optimizer's state on the GPU out of "
            "its checkpoints; set it to 1": state is not None and state.ratio < 1,
            "zero_optimization.offload_optimizer.super_offload, which keeps the optimizer's state in another process; "
            "set it to false": state is not None and state.super_offload,
            "bf16.bf16_master_weights_and_grads, as the mean is of fp32 weights; set it to false": (
                self.bf16.bf16_master_weights_and_grads
            ),
        }
        return [
            f"nowcast.ema cannot be used with {what}, or leave nowcast.ema out"
            for what, holds in wrong.items()
            if holds
        ]

    def cautions(self, batch: Batch) -> list[str]:
        """What is allowed and rarely meant."""
        steps, rule, scheduler = self.nowcast.steps, self.nowcast.learning_rate, self.rates(batch).scheduler
        found = [] if rule is None else learning_rate.cautions(rule, self.scheduler, batch.total)
        warmup = getattr(scheduler.params, "warmup_num_steps", 0) if scheduler else 0
        if warmup != "auto" and warmup >= steps:
            name, advice = ("scheduler.params.warmup_num_steps", 'give less, or "auto"')
            if rule is not None and rule.warmup_samples is not None:
                name, advice = f"nowcast.learning_rate.warmup_samples {rule.warmup_samples}, in steps", "give less"
            found.append(f"{name} {warmup} is not below nowcast.steps {steps}: the learning rate only rises; {advice}")
        if len(self.nowcast.loss.weights) == 1 and "fourier_amplitude" in self.nowcast.loss.weights:
            found.append(
                "nowcast.loss has fourier_amplitude alone, which does not see where rain is; give another loss a weight too"
            )
        return found

    def batch(self, ranks: int) -> Batch:
        """Batch arithmetic at so many ranks. Raises UserError where it does not divide."""
        return solve_batch(
            ranks, self.train_batch_size, self.train_micro_batch_size_per_gpu, self.gradient_accumulation_steps
        )

    def batch_again(self, ranks: int, asked: Batch) -> tuple[Batch, Batch]:
        """Of a later launch, and what to remember as asked for; `asked` is what the config gave at an earlier launch.

        A config that still gives it at that number of ranks has not been changed: the total then stays as it is, whatever
        the number of ranks now. Else the config holds. Raises UserError.
        """
        try:
            unchanged = self.batch(asked.ranks) == asked
        except UserError:
            unchanged = False
        batch = asked.at(ranks) if unchanged else self.batch(ranks)
        return batch, asked if unchanged else batch

    def rates(self, batch: Batch) -> learning_rate.Rates:
        """Optimizer and scheduler with the learning rates that they have at these samples a step."""
        stated = learning_rate.Rates(self.optimizer, self.scheduler)
        return learning_rate.rates_at(self.nowcast.learning_rate, stated, batch.total)

    def to_dict(self) -> dict[str, Any]:
        """As written in a config file, but for what is an editor's: DeepSpeed's keys as given, ours with their defaults."""
        ours = self.nowcast.model_dump(mode="json")
        theirs = self.model_dump(mode="json", exclude_unset=True, exclude={"nowcast", "schema_"})
        return {**theirs, "nowcast": ours}

    def for_deepspeed(self, batch: Batch) -> dict[str, Any]:
        """What the engine is given: its own keys, the batch solved, the rates at that batch, "auto" filled in."""
        keys, steps, rates = self.to_dict(), self.nowcast.steps, self.rates(batch)
        del keys["nowcast"]
        keys["optimizer"] = rates.optimizer.model_dump(mode="json", exclude_unset=True)
        if rates.scheduler is None:
            keys.pop("scheduler", None)
        else:
            keys["scheduler"] = rates.scheduler.model_dump(mode="json", exclude_unset=True)
            params = keys["scheduler"].get("params", {})
            found = {"total_num_steps": steps, "warmup_num_steps": max(1, min(1000, steps // 10))}
            params |= {name: value for name, value in found.items() if params.get(name) == "auto"}
        return keys | {
            "train_batch_size": batch.total,
            "train_micro_batch_size_per_gpu": batch.micro,
            "gradient_accumulation_steps": batch.accumulation,
        }


def load_config(path: Path | str, overrides: Iterable[str] = ()) -> RunConfig:
    """Reads a config file, applies `key.path=value` overrides, checks all of it. Raises UserError."""
    path = Path(path)
    data = read_json(
        path, "config", give="give a JSON file such as those of ds_configs",
        mend="copy one of ds_configs, or mend it there",
    )  # fmt: skip
    if not isinstance(data, dict):
        raise UserError(f"config {path} holds a {type(data).__name__}; give a JSON object")
    return config_of(data, overrides, str(path))


def changed(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """The config with `key.path=value` overrides, checked as if all had been in the file. Raises UserError."""
    return config_of(config.to_dict(), overrides, "config")


def config_of(content: Mapping[str, Any], overrides: Iterable[str], where: str) -> RunConfig:
    """What a file holds, with `key.path=value` overrides, checked. where: the file, for errors. Raises UserError."""
    data = copy.deepcopy(dict(content))
    for override in overrides:
        override_in(data, override)
    config = parse(RunConfig, data, where=where)
    _check_tables(config, where)
    return config


def _check_tables(config: RunConfig, where: str) -> None:
    """Names and options that live in tables beside the config: the model and the losses."""
    from ds_nowcast import losses  # these import torch: only a config that is read needs them
    from ds_nowcast.models import checked_options, model_options

    model = config.nowcast.model
    try:
        model_options(model.name)
    except UserError as error:
        raise UserError(f"{where}: in nowcast: {error}") from None
    options = checked_options(model.name, model.options, where=f"{where}: in nowcast.model")
    if getattr(options, "norm", None) == "batch" and (config.bf16.enabled or config.fp16.enabled):
        raise UserError(
            f"{where}: nowcast.model.norm 'batch' fails under {'bf16' if config.bf16.enabled else 'fp16'}, which makes its weights "
            "16 bits wide and leaves its running statistics in fp32; use norm 'group', or torch_autocast instead"
        )
    losses.checked_options(config.nowcast.loss, where=f"{where}: in nowcast.loss")
