"""DeepSpeed's `zero_optimization` section: what training state is split over the ranks or put on CPU or NVMe."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ds_nowcast.config.strict import Size, Strict

Device = Literal["none", "cpu", "nvme"]


class Offload(Strict):
    """What both offload sections share."""

    device: Device = Field("none", description="where the state lives between uses: none (the GPU), cpu or nvme")
    nvme_path: str | None = Field(None, description="folder on the NVMe drive, needed with device nvme")
    pin_memory: bool = Field(
        True, description="use page-locked host memory: faster copies, but it cannot be swapped out"
    )

    @model_validator(mode="after")
    def _nvme_has_a_path(self) -> Self:
        if self.device == "nvme" and not self.nvme_path:
            raise ValueError("device 'nvme' needs nvme_path, a folder on the drive")
        return self


class OffloadParam(Offload):
    """Parameters kept off the GPU (ZeRO 3)."""

    buffer_count: int = Field(5, ge=0, description="number of buffers for reading parameters from NVMe")
    buffer_size: Size = Field(100_000_000, ge=0, description="elements in each of those buffers")
    max_in_cpu: Size = Field(
        1_000_000_000, ge=0, description="parameter elements held in host memory before NVMe is used"
    )


class OffloadOptimizer(Offload):
    """Optimizer state, and with it the optimizer's arithmetic, kept on the CPU (ZeRO 1 to 3)."""

    buffer_count: int = Field(
        4, ge=0, description="number of NVMe buffers, at least the optimizer's states per parameter"
    )
    pipeline_read: bool = Field(False, description="read the next tile from NVMe while this one is computed")
    pipeline_write: bool = Field(False, description="write the last tile to NVMe while the next is computed")
    fast_init: bool = Field(False, description="quicker set-up of optimizer state on NVMe")
    ratio: float = Field(
        1.0, ge=0, le=1, description="share of the parameters updated on the CPU (below 1: ZeRO 3 only)"
    )
    super_offload: bool = Field(False, description="offloading tuned for superchips such as GH200 (ZeRO 3 only)")
    cpuadam_cores_perc: float = Field(0.8, ge=0, le=1, description="share of the CPU cores super_offload may use")


class LeafModule(Strict):
    """Modules whose parameters ZeRO 3 fetches all at once."""

    classes: list[str] = Field(default_factory=list, description="class names with their package")
    names: list[str] = Field(default_factory=list, description="full names of modules")
    name_suffixes: list[str] = Field(default_factory=list, description="ends of module names")


class ZeroOptimization(Strict):
    """ZeRO: stage 1 splits optimizer state over the ranks, 2 also gradients, 3 also parameters."""

    refused: ClassVar[dict[str, str]] = {
        "cpu_offload": "use offload_optimizer with device 'cpu'",
        "cpu_offload_param": "use offload_param with device 'cpu'",
        "cpu_offload_use_pin_memory": "use pin_memory inside offload_optimizer or offload_param",
        "elastic_checkpoint": "the trainer itself carries a checkpoint to another number of ranks",
        "legacy_stage1": "DeepSpeed has removed the old stage 1",
        "mics_shard_size": "DeepSpeed has removed MiCS",
        "mics_hierarchical_params_gather": "DeepSpeed has removed MiCS",
        "pipeline_loading_checkpoint": "there is no pipeline parallelism here",
        "round_robin_gradients": "DeepSpeed then reads fp32 weights back in another order: exports would hold wrong ones",
        "stage3_gather_fp16_weights_on_model_save": "use stage3_gather_16bit_weights_on_model_save",
        "zenflow": "its asynchronous updates break the rule that every optimizer step sees one global batch",
        "zeropp_loco_param": "DeepSpeed has removed it",
    }

    stage: Literal[0, 1, 2, 3] = Field(
        0, description="0 none, 1 optimizer state, 2 and gradients, 3 and parameters split"
    )
    contiguous_gradients: bool = Field(
        True, description="copy gradients into one buffer as they come: less fragmentation"
    )
    reduce_scatter: bool = Field(True, description="average gradients by reduce-scatter instead of all-reduce")
    reduce_bucket_size: Size = Field(500_000_000, gt=0, description="gradient elements reduced at a time")
    use_multi_rank_bucket_allreduce: bool = Field(True, description="one all-reduce for the buckets of several ranks")
    allgather_partitions: bool = Field(True, description="gather updated parameters by all-gather, not by broadcasts")
    allgather_bucket_size: Size = Field(500_000_000, ge=0, description="parameter elements gathered at a time")
    overlap_comm: bool | None = Field(None, description="reduce gradients during backward (absent: only at stage 3)")
    compute_grad_norm: bool = Field(
        True, description="compute the global gradient norm (false: stages 1, 2, no clipping)"
    )
    load_from_fp32_weights: bool = Field(True, description="restore fp32 weights from a checkpoint's fp32 copy")
    offload_param: OffloadParam | None = Field(None, description="keep parameters in host memory or on NVMe (stage 3)")
    offload_optimizer: OffloadOptimizer | None = Field(None, description="keep optimizer state there (stages 1 to 3)")
    sub_group_size: Size = Field(1_000_000_000, ge=0, description="parameter elements updated at a time at stage 3")
    stage3_prefetch_bucket_size: Size = Field(50_000_000, ge=0, description="parameter elements fetched ahead of use")
    stage3_param_persistence_threshold: Size = Field(
        100_000, ge=0, description="parameters with fewer elements stay whole on every rank"
    )
    stage3_model_persistence_threshold: Size = Field(
        2**63 - 1, ge=0, description="limit on all elements that stay whole under the threshold above"
    )
    stage3_max_live_parameters: Size = Field(
        1_000_000_000, ge=0, description="gathered parameter elements held at once"
    )
    stage3_max_reuse_distance: Size = Field(
        1_000_000_000, ge=0, description="keep a gathered parameter that is used again within so many elements"
    )
    stage3_gather_16bit_weights_on_model_save: bool = Field(
        False, description="let save_16bit_model gather the whole 16-bit weights"
    )
    stage3_module_granularity_threshold: Size = Field(
        0, ge=0, description="modules with fewer elements per submodule are fetched as a whole (0: off)"
    )
    stage3_use_all_reduce_for_fetch_params: bool = Field(False, description="fetch parameters by all-reduce")
    stage3_allgather_sequential: bool = Field(False, description="gather parameter by parameter: slower, less memory")
    ignore_unused_parameters: bool = Field(True, description="train on when a parameter gets no gradient")
    parameter_alignment: bool = Field(False, description="start each parameter at 16 bytes in the flat buffers (1, 2)")
    zero_hpz_partition_size: int = Field(1, ge=1, description="ranks of a second partition inside a host (ZeRO++)")
    zero_quantized_weights: bool = Field(False, description="send parameters quantized (ZeRO++)")
    zero_quantized_nontrainable_weights: bool = Field(False, description="hold frozen parameters quantized")
    zero_quantized_gradients: bool = Field(False, description="send gradients quantized (ZeRO++)")
    memory_efficient_linear: bool = Field(True, description="linear layers that keep less for backward at stage 3")
    override_module_apply: bool = Field(True, description="let Module.apply gather parameters at stage 3")
    log_trace_cache_warnings: bool = Field(False, description="warn when the order of fetching changes")
    enable_sanity_checks: bool = Field(False, description="DeepSpeed's internal checks, for debugging")
    save_muon_momentum_buffer_in_memory: bool = Field(False, description="keep Muon's momentum off NVMe at stage 3")
    leaf_module: LeafModule = Field(default_factory=LeafModule, description="modules fetched all at once at stage 3")

    @property
    def offloads_optimizer(self) -> bool:
        """Whether the optimizer runs on the CPU."""
        return self.offload_optimizer is not None and self.offload_optimizer.device != "none"

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        problems = self._contradictions()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _contradictions(self) -> list[str]:
        stage, optimizer = self.stage, self.offload_optimizer
        wrong = {
            f"offload_param needs stage 3, stage is {stage}; set stage to 3 or leave it out": (
                self.offload_param is not None and self.offload_param.device != "none" and stage != 3
            ),
            "offload_optimizer needs stage 1, 2 or 3, stage is 0; set a stage or leave it out": (
                self.offloads_optimizer and stage == 0
            ),
            f"offload_optimizer.ratio below 1 needs stage 3, stage is {stage}": (
                optimizer is not None and optimizer.ratio < 1 and stage != 3
            ),
            f"offload_optimizer.super_offload needs stage 3, stage is {stage}": (
                optimizer is not None and optimizer.super_offload and stage != 3
            ),
            f"compute_grad_norm false needs stage 1 or 2, stage is {stage}": (
                not self.compute_grad_norm and stage not in (1, 2)
            ),
            "compute_grad_norm false cannot be used with offload_optimizer; remove one of them": (
                not self.compute_grad_norm and self.offloads_optimizer
            ),
        }
        return [message for message, holds in wrong.items() if holds]
