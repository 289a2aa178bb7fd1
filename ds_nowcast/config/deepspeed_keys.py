"""The top level of DeepSpeed's JSON config, as far as this trainer supports it (DeepSpeed 0.19).

DeepSpeed passes over unknown top-level keys, misspelled ones included, and takes the default. Here every key is known,
refused with a reason, or an error that names the nearest right one.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ds_nowcast.config import deepspeed_sections as sections
from ds_nowcast.config.optimizer_keys import (
    ZERO_UNTESTED,
    AdamW,
    AdamWParams,
    Optimizer,
    Scheduler,
    WarmupCosineLR,
    WarmupCosineLRParams,
)
from ds_nowcast.config.precision_rules import precision_problems
from ds_nowcast.config.strict import Strict
from ds_nowcast.config.zero_keys import ZeroOptimization

_REMOVED = "DeepSpeed has removed it"
_ONE_IMAGE = "these models are convolutions on one image per sample; ZeRO splits what does not fit"
_OWN_STREAM = "the trainer's own stream decides the order and the batches; see nowcast.data"

UNSUPPORTED: dict[str, str] = {
    "activation_checkpointing": "use nowcast.compute.activation_checkpointing, which is torch's own",
    "allgather_size": "use zero_optimization.allgather_bucket_size",
    "amp": f"{_REMOVED}; use bf16, fp16 or torch_autocast",
    "autotuning": "it restarts the training by itself",
    "bfloat16": "use bf16",
    "compile": "use nowcast.compute.compile",
    "compression_training": _REMOVED,
    "curriculum_learning": f"{_REMOVED}; {_OWN_STREAM}",
    "data_efficiency": _OWN_STREAM,
    "data_parallel_size": _ONE_IMAGE,
    "dataloader_drop_last": _OWN_STREAM,
    "datastates_ckpt": "checkpoints are written by DeepSpeed's own engine, then hashed",
    "disable_allgather": "DeepSpeed reads it and does nothing with it",
    "eigenvalue": _REMOVED,
    "elasticity": _REMOVED,
    "expert_parallel": "there are no experts in these models",
    "gradient_allreduce_op": "the loss is scaled for the mean over ranks",
    "graph_harvesting": _REMOVED,
    "hybrid_engine": "it is for generating text",
    "managed_gradient_accumulation": "the trainer lets DeepSpeed count the micro-steps",
    "nebula": _REMOVED,
    "pipeline": _ONE_IMAGE,
    "progressive_layer_drop": _REMOVED,
    "quantize_training": _REMOVED,
    "seq_parallel_communication_data_type": _ONE_IMAGE,
    "sequence_parallel_size": _ONE_IMAGE,
    "sparse_attention": _REMOVED,
    "sparse_gradients": f"{_REMOVED}; the models here have no embeddings",
    "tensor_parallel": _ONE_IMAGE,
    "use_data_before_expert_parallelism": "there are no experts in these models",
    "vocabulary_size": "there is no vocabulary here",
    "weight_quantization": "it is for inference with text models",
}
"""Top-level keys that DeepSpeed knows, or knew, and that this trainer refuses, with the reason."""

BatchSize = Annotated[int, Field(ge=1, le=1_000_000_000)]  # its divisors are named where it does not divide


class DeepSpeedKeys(Strict):
    """The keys of a run's config that DeepSpeed reads; `model_dump(exclude_unset=True)` is what it is given."""

    refused: ClassVar[dict[str, str]] = UNSUPPORTED

    train_batch_size: BatchSize | None = Field(None, description="samples per optimizer step over all ranks")
    train_micro_batch_size_per_gpu: BatchSize | None = Field(None, description="samples per forward pass of one rank")
    gradient_accumulation_steps: BatchSize | None = Field(None, description="forward passes per optimizer step")
    optimizer: Optimizer = Field(
        default_factory=lambda: AdamW(type="AdamW", params=AdamWParams(weight_decay=0.01, torch_adam=True)),
        description="the optimizer: its type and params (absent: torch's AdamW, learning rate 1e-3, weight decay 0.01)",
    )
    scheduler: Scheduler | None = Field(
        default_factory=lambda: WarmupCosineLR(
            type="WarmupCosineLR",
            params=WarmupCosineLRParams(
                total_num_steps="auto", warmup_num_steps="auto", warmup_type="linear", cos_min_ratio=0.01
            ),
        ),
        description="the learning rate's course: its type and params (null: constant; absent: warm-up, then a cosine)",
    )
    gradient_clipping: float = Field(
        ge=0, description="largest global gradient norm, 0 for no clipping; DeepSpeed clips at 1.0 if it is not stated"
    )

    bf16: sections.BF16 = Field(default_factory=sections.BF16, description="bfloat16 training")
    fp16: sections.FP16 = Field(default_factory=sections.FP16, description="float16 training")
    torch_autocast: sections.TorchAutocast = Field(
        default_factory=sections.TorchAutocast, description="torch.autocast with fp32 weights"
    )
    data_types: sections.DataTypes = Field(default_factory=sections.DataTypes, description="types held by DeepSpeed")
    communication_data_type: sections.ShortDtype | None = Field(
        None, description="type gradients are sent in (absent: the training type)"
    )
    prescale_gradients: bool = Field(False, description="divide gradients before they are summed over ranks")
    gradient_predivide_factor: float = Field(1.0, gt=0, description="what gradients are divided by before the sum")

    zero_optimization: ZeroOptimization = Field(
        default_factory=ZeroOptimization, description="ZeRO: split training state over the ranks"
    )
    zero_allow_untested_optimizer: bool = Field(
        False, description="allow ZeRO with an optimizer it was not tested with"
    )
    zero_force_ds_cpu_optimizer: bool = Field(True, description="insist on DeepSpeed's CPU optimizer when offloading")
    aio: sections.Aio = Field(default_factory=sections.Aio, description="reads and writes on NVMe")
    checkpoint: sections.Checkpoint = Field(
        default_factory=sections.Checkpoint, description="how checkpoints are written"
    )

    steps_per_print: int | None = Field(None, ge=1, description="optimizer steps between DeepSpeed's own log lines")
    wall_clock_breakdown: bool = Field(False, description="log the time of forward, backward and step")
    memory_breakdown: bool = Field(False, description="log memory at several points of a step")
    dump_state: bool = Field(False, description="print DeepSpeed's state after set-up")
    disable_python_gc: bool = Field(False, description="switch Python's cyclic garbage collection off in training")
    log_level: Literal["debug", "info", "warning", "error", "critical"] | None = Field(
        None, description="DeepSpeed's log level"
    )
    timers: sections.Timers = Field(default_factory=sections.Timers, description="DeepSpeed's timers")
    comms_logger: sections.CommsLogger = Field(default_factory=sections.CommsLogger, description="log of collectives")
    flops_profiler: sections.FlopsProfiler = Field(
        default_factory=sections.FlopsProfiler, description="count of operations in one step"
    )
    tensorboard: sections.TensorBoard = Field(default_factory=sections.TensorBoard, description="TensorBoard monitor")
    csv_monitor: sections.CSVMonitor = Field(default_factory=sections.CSVMonitor, description="CSV monitor")
    wandb: sections.Wandb = Field(default_factory=sections.Wandb, description="Weights & Biases monitor")
    comet: sections.Comet = Field(default_factory=sections.Comet, description="Comet monitor")

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        problems = [*precision_problems(self), *self._zero_problems()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _zero_problems(self) -> list[str]:
        zero, name = self.zero_optimization, self.optimizer.type
        scatters = zero.stage >= 2 and zero.reduce_scatter
        wrong = {
            f"optimizer.type {name} is not tested by DeepSpeed under ZeRO; set zero_allow_untested_optimizer to true "
            "or zero_optimization.stage to 0": (
                zero.stage > 0 and name in ZERO_UNTESTED and not self.zero_allow_untested_optimizer
            ),
            f"optimizer.type {name} cannot be resumed at zero_optimization.stage 3: DeepSpeed does not load the state that it "
            "saved there; use stage 2, or AdamW": zero.stage == 3 and name == "Adagrad",
            "zero_optimization.compute_grad_norm false leaves nothing to clip by; set gradient_clipping to 0": (
                not zero.compute_grad_norm and self.gradient_clipping > 0
            ),
            f"gradient_predivide_factor must be 1.0 at ZeRO stage {zero.stage} with zero_optimization.reduce_scatter": (
                scatters and self.gradient_predivide_factor != 1.0
            ),
            f"prescale_gradients must be false at ZeRO stage {zero.stage} with zero_optimization.reduce_scatter": (
                scatters and self.prescale_gradients
            ),
        }
        return [message for message, holds in wrong.items() if holds]
