"""Learning rates for large batches: rates stated for a base batch follow the samples of a step by a rule.

With k = samples of a step / base batch, "linear" multiplies rates by k (Goyal et al. 2017, "Accurate, Large Minibatch SGD",
section 2.1, with a gradual warm-up of 5 epochs, section 2.2), "square_root" by the root of k (Krizhevsky 2014, "One weird
trick for parallelizing convolutional neural networks", section 5, which keeps the variance of SGD's step; Malladi et al.
2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", for Adam, without its change of betas and eps).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from pydantic import Field

from ds_nowcast.config.optimizer_keys import (
    LRRangeTestParams,
    OneCycleParams,
    Optimizer,
    Scheduler,
    Steps,
    WarmupParams,
)
from ds_nowcast.config.strict import Strict

_RATES = ("warmup_min_lr", "warmup_max_lr", "cycle_min_lr", "cycle_max_lr")
"""Parameters of schedulers that are rates; all others are ratios to a rate, or steps."""


class LearningRateKeys(Strict):
    """How the rates of `optimizer` and `scheduler` follow the samples of a step, whatever the number of ranks."""

    rule: Literal["none", "linear", "square_root"] = Field(
        description="rates are multiplied by train_batch_size / base_batch (linear), its root, or not at all (none)"
    )
    base_batch: Steps = Field(description="samples of a step for which the config's rates are stated")
    warmup_samples: Steps | None = Field(
        None,
        description="samples over which the rate rises, such as 5 epochs' windows, in place of scheduler.params.warmup_num_steps",
    )

    def factor(self, total: int) -> float:
        """What rates are multiplied by at so many samples a step."""
        growth = total / self.base_batch
        return {"none": 1.0, "linear": growth, "square_root": math.sqrt(growth)}[self.rule]


class Rates(NamedTuple):
    """The optimizer and the scheduler of a run, with rates as they are at some number of samples a step."""

    optimizer: Optimizer
    scheduler: Scheduler | None
    told: str | None = None  # what a rule made of the rate, for people

    @property
    def full(self) -> float | None:
        """The highest rate of the schedule; None where it grows without end."""
        params = None if self.scheduler is None else self.scheduler.params
        if isinstance(params, LRRangeTestParams):
            return None
        highest = getattr(params, "cycle_max_lr", None), getattr(params, "warmup_max_lr", None)
        return next((rate for rate in highest if rate is not None), self.optimizer.params.lr)


def rates_at(keys: LearningRateKeys | None, stated: Rates, total: int) -> Rates:
    """The rates at `total` samples a step, of those stated for the base batch; without keys as they are stated."""
    if keys is None:
        return stated
    factor, params, scheduler = keys.factor(total), stated.optimizer.params, stated.scheduler
    optimizer = stated.optimizer.model_copy(update={"params": params.model_copy(update={"lr": params.lr * factor})})
    if scheduler is not None:
        course = scheduler.params
        changes = {name: getattr(course, name) * factor for name in _RATES if getattr(course, name, None) is not None}
        if keys.warmup_samples is not None:
            changes["warmup_num_steps"] = warmup_steps(keys.warmup_samples, total)
        scheduler = scheduler.model_copy(update={"params": course.model_copy(update=changes)})
    rates = Rates(optimizer, scheduler)
    return rates._replace(told=_told(keys, stated, rates, total))


def warmup_steps(samples: int, total: int) -> int:
    """In which so many samples are seen at `total` a step; the last one counts that is begun."""
    return -(-samples // total)


def _told(keys: LearningRateKeys, stated: Rates, rates: Rates, total: int) -> str:
    was, full = stated.full, rates.full
    if was is None or full is None:  # no rule goes with that scheduler
        return "as stated"
    rise = "" if keys.warmup_samples is None else f", risen to after {warmup_steps(keys.warmup_samples, total):,} steps"
    rule = f"rule {keys.rule}: {total} samples a step, stated for {keys.base_batch}"
    return f"{full:.6g} = {was:g} x {keys.factor(total):.6g} ({rule}){rise}"


def problems(keys: LearningRateKeys, scheduler: Scheduler | None) -> list[str]:
    """A line for each setting that contradicts the rule."""
    name = "null" if scheduler is None else scheduler.type
    warm_up = scheduler.params if scheduler is not None and isinstance(scheduler.params, WarmupParams) else None
    steps = warm_up.warmup_num_steps if warm_up and "warmup_num_steps" in warm_up.model_fields_set else "auto"
    samples = keys.warmup_samples
    wrong = {
        f"nowcast.learning_rate.rule '{keys.rule}' cannot be used with scheduler LRRangeTest, which looks for the rate that the "
        "batch bears; use rule 'none'": keys.rule != "none" and name == "LRRangeTest",
        "nowcast.learning_rate.warmup_samples needs a scheduler with a warm-up (WarmupLR, WarmupDecayLR or WarmupCosineLR), "
        f"scheduler is {name}; leave it out, or use one of these": samples is not None and warm_up is None,
        f"nowcast.learning_rate.warmup_samples {samples} and scheduler.params.warmup_num_steps {steps} both say how long the rate "
        'rises; leave one of them out, or set warmup_num_steps to "auto"': samples is not None and steps != "auto",
    }
    return [message for message, holds in wrong.items() if holds]


def cautions(keys: LearningRateKeys, scheduler: Scheduler | None, total: int) -> list[str]:
    """What the rule allows and is rarely meant."""
    factor = keys.factor(total)
    if factor <= 1 or (scheduler is not None and isinstance(scheduler.params, WarmupParams | OneCycleParams)):
        return []
    return [
        f"nowcast.learning_rate multiplies the rate by {factor:g} and nothing lets it rise to that: trainings begin badly at such a "
        "rate; use a scheduler with a warm-up, such as WarmupCosineLR"
    ]
