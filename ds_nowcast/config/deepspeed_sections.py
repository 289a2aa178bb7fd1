"""DeepSpeed's smaller sections: precision, activation checkpointing, files, compiling, profiling and monitors."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ds_nowcast.config.strict import NOT_NULL, Size, Strict

ShortDtype = Literal["fp32", "fp16", "bf16"]


class BF16(Strict):
    """Training in bfloat16 with fp32 master weights."""

    enabled: bool = Field(False, description="train in bfloat16")
    immediate_grad_update: bool = Field(False, description="add gradients to the fp32 copy as soon as they come")
    check_grad_overflow: bool = Field(True, description="skip a step whose gradients are not finite")
    bf16_master_weights_and_grads: bool = Field(
        False, description="master weights in bfloat16 too: half the memory, but small steps are lost (ZeRO 1 to 3)"
    )
    bf16_optimizer_states: bool = Field(False, description="optimizer state in bfloat16 too (with the key above)")

    @model_validator(mode="after")
    def _states_follow_master_weights(self) -> Self:
        if self.bf16_optimizer_states and not self.bf16_master_weights_and_grads:
            raise ValueError("bf16_optimizer_states needs bf16_master_weights_and_grads true")
        if self.bf16_master_weights_and_grads and not self.bf16_optimizer_states:
            raise ValueError(
                "bf16_master_weights_and_grads needs bf16_optimizer_states true: DeepSpeed would round fp32 moments to bf16 "
                "whenever it loads a checkpoint"
            )
        return self


class FP16(Strict):
    """Training in float16 with a loss scale and fp32 master weights."""

    refused: ClassVar[dict[str, str]] = {
        "fp16_master_weights_and_grads": "DeepSpeed loads Adam's second moments in float16, where they vanish: a resumed run diverges"
    }

    enabled: bool = Field(False, description="train in float16")
    auto_cast: bool = Field(False, description="convert the model's inputs to float16")
    loss_scale: float = Field(0.0, ge=0, description="fixed loss scale; 0 adapts it")
    initial_scale_power: int = Field(16, ge=0, le=32, description="an adaptive scale starts at 2 to this power")
    loss_scale_window: int = Field(1000, ge=1, description="optimizer steps without overflow before the scale doubles")
    hysteresis: int = Field(2, ge=1, description="overflows before the scale is halved")
    consecutive_hysteresis: bool = Field(False, description="count overflows anew after a good step")
    min_loss_scale: int = Field(1, ge=1, description="smallest adaptive scale")


class TorchAutocast(Strict):
    """torch.autocast: fp32 weights, low precision inside the listed modules."""

    enabled: bool = Field(False, description="run forward and loss under torch.autocast")
    dtype: Annotated[Literal["bfloat16", "float16", "bf16", "fp16"] | None, NOT_NULL] = Field(
        None, description="the low precision type"
    )
    lower_precision_safe_modules: list[str] = Field(
        default_factory=list, description="classes whose gradients are sent in it (absent: linear and conv layers)"
    )

    @model_validator(mode="after")
    def _has_a_type(self) -> Self:
        if self.enabled and self.dtype is None:
            raise ValueError("enabled needs dtype, 'bfloat16' or 'float16'")
        return self


class DataTypes(Strict):
    """Types of what DeepSpeed holds."""

    grad_accum_dtype: ShortDtype | None = Field(None, description="type gradients are summed in (absent: the model's)")
    param_dtype: ShortDtype | None = Field(None, description="type parameters are converted to under bf16 or fp16")
    buffer_dtype: ShortDtype | None = Field(None, description="type buffers are converted to (absent: as they are)")
    keep_in_fp32_modules: list[str] | Literal["auto"] = Field("auto", description="names of buffers that stay in fp32")


class Aio(Strict):
    """Asynchronous reads and writes on NVMe."""

    block_size: Size = Field(1_048_576, ge=1, description="bytes of one request")
    queue_depth: int = Field(8, ge=1, description="requests in flight per thread")
    intra_op_parallelism: int = Field(1, ge=1, description="threads that share one read or write")
    single_submit: bool = Field(False, description="submit requests one by one")
    overlap_events: bool = Field(True, description="submit new requests before the old ones are complete")
    use_gds: bool = Field(False, description="GPUDirect Storage: copy between drive and GPU (CUDA only)")


class Checkpoint(Strict):
    """How DeepSpeed saves and loads."""

    refused: ClassVar[dict[str, str]] = {
        "load_universal": "the trainer decides how a checkpoint is loaded",
        "writer": "the trainer's own writer lets all ranks agree that a save succeeded",
        "parallel_write": "it concerns pipeline parallelism, which is not used here",
        "use_node_local_storage": "all hosts save into one run folder, whose manifest lists every file",
    }

    tag_validation: Literal["Ignore", "Warn", "Fail", "IGNORE", "WARN", "FAIL"] = Field(
        "Warn", description="what to do when ranks save under different tags"
    )
    checkpoint_serialization: bool = Field(True, description="write torch's zip format")


class CommsLogger(Strict):
    """Log of collective operations."""

    enabled: bool = Field(False, description="log collectives")
    prof_all: bool = Field(True, description="log all of them, not only prof_ops")
    prof_ops: list[str] = Field(default_factory=list, description="names of the operations to log")
    verbose: bool = Field(False, description="print each operation as it happens")
    debug: bool = Field(False, description="add the calling function")


class FlopsProfiler(Strict):
    """Size of operations in one step."""

    enabled: bool = Field(False, description="profile one step")
    recompute_fwd_factor: float = Field(0.0, ge=0, description="forward passes repeated by activation checkpointing")
    profile_step: int = Field(1, ge=1, description="the step to profile")
    module_depth: int = Field(-1, ge=-1, description="depth of the module tree to print (-1: the deepest)")
    top_modules: int = Field(1, ge=1, description="modules to list at that depth")
    detailed: bool = Field(True, description="print the whole module tree")
    output_file: str | None = Field(None, description="file to write to (absent: the terminal)")


class ThroughputTimer(Strict):
    """DeepSpeed's samples-per-second timer."""

    enabled: bool = Field(True, description="measure throughput")
    synchronized: bool = Field(True, description="synchronize the device for exact times")


class Timers(Strict):
    """DeepSpeed's timers."""

    throughput: ThroughputTimer = Field(default_factory=ThroughputTimer, description="the throughput timer")


class TensorBoard(Strict):
    """Scalars for TensorBoard."""

    enabled: bool = Field(False, description="write TensorBoard events")
    output_path: str = Field("", description="folder to write to")
    job_name: str = Field("DeepSpeedJobName", description="folder inside output_path")


class CSVMonitor(Strict):
    """Scalars as CSV files."""

    enabled: bool = Field(False, description="write a CSV file per scalar")
    output_path: str = Field("", description="folder to write to")
    job_name: str = Field("DeepSpeedJobName", description="folder inside output_path")


class Wandb(Strict):
    """Scalars for Weights & Biases."""

    enabled: bool = Field(False, description="log to Weights & Biases")
    group: str | None = Field(None, description="name of a group of runs")
    team: str | None = Field(None, description="name of the team")
    project: str = Field("deepspeed", description="name of the project")


class Comet(Strict):
    """Scalars for Comet."""

    refused: ClassVar[dict[str, str]] = {
        "api_key": "the config is saved and shared with the run; set the variable COMET_API_KEY"
    }

    enabled: bool = Field(False, description="log to Comet")
    samples_log_interval: int = Field(100, ge=1, description="samples between two submissions")
    project: str | None = Field(None, description="name of the project")
    workspace: str | None = Field(None, description="name of the workspace")
    experiment_name: str | None = Field(None, description="name of the experiment")
    experiment_key: str | None = Field(None, description="key of the experiment, 32 to 50 letters and digits")
    online: bool | None = Field(None, description="send to the server (false: store on this machine)")
    mode: Literal["get", "create", "get_or_create"] | None = Field(None, description="continue or begin an experiment")
