"""DeepSpeed's `optimizer` and `scheduler` sections: each type with the parameters that its code takes.

An optimizer DeepSpeed builds in several ways (fused on the GPU, on the CPU when offloaded, torch's own) is given the
parameters that all of them take; a parameter that only one of them takes is checked against the others.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ds_nowcast.config.strict import Strict

LearningRate = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[list[Share], Field(min_length=2, max_length=2)]
Steps = Annotated[int, Field(ge=1)]
TORCH_ADAM_ONLY, OWN_ADAM_ONLY = {"amsgrad", "foreach", "fused"}, {"bias_correction", "set_grad_none"}
"""Parameters of Adam that torch's alone takes, and DeepSpeed's alone."""


class OptimizerParams(Strict):
    """What every optimizer takes."""

    refused: ClassVar[dict[str, str]] = {
        "max_grad_norm": "use the top-level key gradient_clipping",
    }

    lr: LearningRate = Field(1e-3, description="learning rate; a scheduler may replace it step by step")
    weight_decay: float = Field(0.0, ge=0, description="weight decay per unit of learning rate")


class AdamParams(OptimizerParams):
    """Parameters of Adam, which DeepSpeed runs as AdamW unless adam_w_mode is false."""

    weight_decay: float = Field(0.0, ge=0, description="weight decay; state it: torch's AdamW takes 0.01 if absent")
    betas: Betas = Field([0.9, 0.999], description="decay of the running mean and square of the gradient")
    eps: float = Field(1e-8, gt=0, description="added to the root of the mean square, against division by zero")
    adam_w_mode: bool = Field(True, description="decoupled weight decay (AdamW); false adds it to the gradient")
    torch_adam: bool = Field(False, description="use torch's Adam; false compiles or loads DeepSpeed's own op")
    fp32_optimizer_states: bool = Field(True, description="fp32 moments when offloaded to the CPU")
    bias_correction: bool = Field(True, description="correct the moments' start at zero (not with torch_adam)")
    set_grad_none: bool = Field(True, description="drop gradients instead of zeroing them (fused GPU op only)")
    amsgrad: bool = Field(False, description="keep the maximum of the mean square (torch_adam only)")
    foreach: bool = Field(True, description="update all parameters in few kernels (torch_adam only)")
    fused: bool = Field(False, description="torch's fused kernel (torch_adam only)")

    @model_validator(mode="after")
    def _fits_the_implementation(self) -> Self:
        wrong = self.model_fields_set & (OWN_ADAM_ONLY if self.torch_adam else TORCH_ADAM_ONLY)
        if wrong:
            names, needed = " and ".join(sorted(wrong)), "false" if self.torch_adam else "true"
            raise ValueError(f"{names} cannot be used without torch_adam {needed}; set that or remove {names}")
        if self.torch_adam and self.foreach and self.fused and "foreach" in self.model_fields_set:
            raise ValueError("foreach and fused exclude each other; set one of them")
        return self


class AdamWParams(AdamParams):
    """Parameters of AdamW."""

    @model_validator(mode="after")
    def _is_decoupled(self) -> Self:
        if not self.adam_w_mode:
            raise ValueError("adam_w_mode false has no effect on AdamW; use the optimizer type Adam")
        return self


class SGDParams(OptimizerParams):
    """Parameters of torch's SGD."""

    momentum: float = Field(0.0, ge=0, description="share of the last step kept")
    dampening: float = Field(0.0, description="share of the gradient left out of the momentum")
    nesterov: bool = Field(False, description="look ahead along the momentum")

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("nesterov needs a momentum above 0 and dampening 0")
        return self


class AdagradParams(OptimizerParams):
    """Parameters of Adagrad."""

    lr: LearningRate = Field(1e-2, description="learning rate; a scheduler may replace it step by step")
    eps: float = Field(1e-10, gt=0, description="added to the root of the summed squares, against division by zero")


class LionParams(OptimizerParams):
    """Parameters of Lion."""

    betas: Betas = Field([0.9, 0.999], description="weight of the momentum in the step, and its decay")


class LambParams(OptimizerParams):
    """Parameters of Lamb (a CUDA op; not tested by DeepSpeed under ZeRO)."""

    betas: Betas = Field([0.9, 0.999], description="decay of the running mean and square of the gradient")
    eps: float = Field(1e-8, gt=0, description="added to the mean square's root, against division by zero")
    eps_inside_sqrt: bool = Field(False, description="add eps below the root")
    bias_correction: bool = Field(True, description="correct the moments' start at zero")
    max_coeff: float = Field(10.0, gt=0, description="largest ratio of weight norm to step norm")
    min_coeff: float = Field(0.01, ge=0, description="smallest ratio of weight norm to step norm")


class OptimizerForm(Strict):
    """What the forms of the section share."""

    refused_tags: ClassVar[dict[str, str]] = {
        "Muon": "DeepSpeed's Muon fails on convolution filters; use AdamW",
        "OneBitAdam": "DeepSpeed has removed it; use Adam",
        "OneBitLamb": "DeepSpeed has removed it; use Lamb",
        "ZeroOneAdam": "DeepSpeed has removed it; use Adam",
        "MuAdam": "these models are not parametrized for it; use Adam",
        "MuAdamW": "these models are not parametrized for it; use AdamW",
        "MuSGD": "these models are not parametrized for it; use SGD",
    }


class Adam(OptimizerForm):
    """Adam."""

    type: Literal["Adam"] = Field(description="the optimizer's name")
    params: AdamParams = Field(default_factory=AdamParams, description="the optimizer's parameters")


class AdamW(OptimizerForm):
    """Adam with decoupled weight decay."""

    type: Literal["AdamW"] = Field(description="the optimizer's name")
    params: AdamWParams = Field(default_factory=AdamWParams, description="the optimizer's parameters")


class SGD(OptimizerForm):
    """Stochastic gradient descent."""

    type: Literal["SGD"] = Field(description="the optimizer's name")
    params: SGDParams = Field(default_factory=SGDParams, description="the optimizer's parameters")


class Adagrad(OptimizerForm):
    """Adagrad."""

    type: Literal["Adagrad"] = Field(description="the optimizer's name")
    params: AdagradParams = Field(default_factory=AdagradParams, description="the optimizer's parameters")


class Lion(OptimizerForm):
    """Lion."""

    type: Literal["Lion"] = Field(description="the optimizer's name")
    params: LionParams = Field(default_factory=LionParams, description="the optimizer's parameters")


class Lamb(OptimizerForm):
    """Lamb."""

    type: Literal["Lamb"] = Field(description="the optimizer's name")
    params: LambParams = Field(default_factory=LambParams, description="the optimizer's parameters")


Optimizer = Annotated[Adam | AdamW | SGD | Adagrad | Lion | Lamb, Field(discriminator="type")]
ZERO_UNTESTED = frozenset({"SGD", "Lamb"})
"""Optimizers that DeepSpeed's ZeRO takes only with zero_allow_untested_optimizer."""


class SchedulerParams(Strict):
    """What no scheduler takes from a config."""

    refused: ClassVar[dict[str, str]] = {"last_batch_iteration": "the schedule's position comes from the checkpoint"}


class LRRangeTestParams(SchedulerParams):
    """Parameters of the learning rate range test."""

    lr_range_test_min_lr: LearningRate = Field(1e-3, description="learning rate at the first step")
    lr_range_test_step_size: Steps = Field(2000, description="optimizer steps per unit of growth")
    lr_range_test_step_rate: float = Field(1.0, ge=0, description="growth per unit, as a share of the first rate")
    lr_range_test_staircase: bool = Field(False, description="grow in stairs instead of at every step")


class OneCycleParams(SchedulerParams):
    """Parameters of one cycle up and down with a decay after it."""

    cycle_min_lr: LearningRate = Field(description="learning rate at both ends of the cycle")
    cycle_max_lr: LearningRate = Field(description="learning rate in the middle of the cycle")
    decay_lr_rate: float = Field(0.0, ge=0, description="decay of the learning rate after the cycle, per decay step")
    cycle_first_step_size: Steps = Field(2000, description="optimizer steps of the rise")
    cycle_second_step_size: int | None = Field(
        None, ge=0, description="optimizer steps of the fall (absent: as the rise)"
    )
    cycle_first_stair_count: int = Field(0, ge=0, description="stairs of the rise (0: smooth)")
    cycle_second_stair_count: int | None = Field(None, ge=0, description="stairs of the fall (absent: as the rise)")
    decay_step_size: int = Field(0, ge=0, description="optimizer steps per decay step (0: no decay)")
    cycle_momentum: bool = Field(True, description="move the first beta against the learning rate")
    cycle_min_mom: Share = Field(0.8, description="first beta in the middle of the cycle")
    cycle_max_mom: Share = Field(0.9, description="first beta at both ends of the cycle")
    decay_mom_rate: float = Field(0.0, ge=0, description="decay of the first beta after the cycle, per decay step")


class WarmupParams(SchedulerParams):
    """What the warm-up schedulers share."""

    warmup_num_steps: Steps | Literal["auto"] = Field(
        1000, description="optimizer steps until the full learning rate; auto is a tenth of nowcast.steps, 1000 at most"
    )
    warmup_type: Literal["log", "linear"] = Field("log", description="shape of the rise")


class WarmupLRParams(WarmupParams):
    """Parameters of a warm-up to a constant rate."""

    warmup_min_lr: LearningRate = Field(0.0, description="learning rate at the first step")
    warmup_max_lr: LearningRate | None = Field(None, description="rate after the warm-up (absent: the optimizer's lr)")


class WarmupDecayLRParams(WarmupParams):
    """Parameters of a warm-up and a linear decay to zero."""

    total_num_steps: Steps | Literal["auto"] = Field(description="optimizer steps until zero; auto is nowcast.steps")
    warmup_min_lr: LearningRate = Field(0.0, description="learning rate at the first step")
    warmup_max_lr: LearningRate = Field(1e-3, description="learning rate after the warm-up")


class WarmupCosineLRParams(WarmupParams):
    """Parameters of a warm-up and a cosine decay; the full rate is the optimizer's lr."""

    total_num_steps: Steps | Literal["auto"] = Field(description="optimizer steps until the end; auto is nowcast.steps")
    warmup_min_ratio: float = Field(0.0, ge=0, le=1, description="first learning rate as a share of the full one")
    cos_min_ratio: float = Field(1e-4, ge=0, le=1, description="last learning rate as a share of the full one")


class LRRangeTest(Strict):
    """Growing learning rate, to find the largest that trains."""

    type: Literal["LRRangeTest"] = Field(description="the scheduler's name")
    params: LRRangeTestParams = Field(description="the scheduler's parameters")


class OneCycle(Strict):
    """One cycle up and down, then decay."""

    type: Literal["OneCycle"] = Field(description="the scheduler's name")
    params: OneCycleParams = Field(description="the scheduler's parameters")


class WarmupLR(Strict):
    """Warm-up, then constant."""

    type: Literal["WarmupLR"] = Field(description="the scheduler's name")
    params: WarmupLRParams = Field(description="the scheduler's parameters")


class WarmupDecayLR(Strict):
    """Warm-up, then linear decay to zero."""

    type: Literal["WarmupDecayLR"] = Field(description="the scheduler's name")
    params: WarmupDecayLRParams = Field(description="the scheduler's parameters")


class WarmupCosineLR(Strict):
    """Warm-up, then cosine decay."""

    type: Literal["WarmupCosineLR"] = Field(description="the scheduler's name")
    params: WarmupCosineLRParams = Field(description="the scheduler's parameters")


Scheduler = Annotated[LRRangeTest | OneCycle | WarmupLR | WarmupDecayLR | WarmupCosineLR, Field(discriminator="type")]
