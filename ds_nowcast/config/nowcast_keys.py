"""The "nowcast" section of a config: what is trained on what, for how long, and how it is judged.

DeepSpeed's own keys (batch sizes, optimizer, precision, ZeRO ...) stay outside this section, in `deepspeed_keys`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from data_prep.encoding import known_units
from ds_nowcast.config.learning_rate import LearningRateKeys
from ds_nowcast.config.strict import Strict

Count = Annotated[int, Field(ge=1)]


class ModelKeys(Strict, extra="allow"):
    """Which CNN; further keys are that model's own options, checked against its file."""

    name: str = Field("unet", description="a model of ds_nowcast/models")
    preset: str | None = Field(
        None, description="one of the model's named sizes; options beside it are changes to it (None: its defaults)"
    )

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside `name`, as given."""
        return dict(self.model_extra or {}) | ({} if self.preset is None else {"preset": self.preset})


class AugmentOptions(Strict):
    """Random symmetries and crops of training samples, drawn from (seed, position) on the device."""

    flip: bool = Field(False, description="mirror left-right with probability 1/2")
    rotate: bool = Field(False, description="turn by a random multiple of 90 degrees (square images only)")
    crop: Count | None = Field(None, description="side in pixels of a random square; None keeps the whole image")


class DataKeys(Strict):
    """Which windows of the shards are seen, and how they are read."""

    split: str = Field("train", description="split of the shards folder to train on")
    input_frames: Count = Field(13, description="frames the model sees")
    output_frames: Count = Field(12, description="frames it predicts (lead times, in steps of the archive's cadence)")
    window_stride: Count = Field(12, description="frames between the starts of a sequence's windows: 0, 12, 24 ...")
    windows: Literal["all", "one"] = Field(
        "all",
        description="windows of a sequence that a training epoch shows: all of these, or one at a frame drawn per epoch",
    )
    shuffle_shards: Count | None = Field(
        None,
        description="shards whose samples are shuffled together (G); None shuffles all: reads jump over the whole split",
    )
    augment: AugmentOptions = Field(default_factory=lambda: AugmentOptions(), description="random symmetries and crops")
    buffer_mb: Count = Field(512, description="most megabytes of decoded codes held ahead of the step, per rank")
    threads: Count | None = Field(None, description="decoding threads per rank; None takes the cores of the rank")
    max_bad_samples: Annotated[int, Field(ge=0)] = Field(
        0, description="samples that cannot be decoded before the run ends (each counts as all missing), over all ranks"
    )
    verify_hashes: bool = Field(
        False, description="compare each shard's sha256 with the index before its first sample is used"
    )
    requests: Count = Field(16, description="most reads under way at once per rank, of shards that lie elsewhere")
    retries: Annotated[int, Field(ge=0)] = Field(
        5,
        description="times that such a read is made again, with growing pauses (five bridge a minute), before the run ends",
    )
    cache_dir: str | None = Field(
        None, description="folder for shards of sources that give no byte ranges; None takes one below the user's cache"
    )
    cache_mb: Count = Field(20_000, description="most megabytes in that folder, over all ranks of a host")
    allow_pipe: bool = Field(False, description="whether --shards may be pipe:COMMAND, which runs a shell command")

    @property
    def window(self) -> int:
        """Frames of one training sample."""
        return self.input_frames + self.output_frames


class LossKeys(Strict):
    """What is minimised: losses of ds_nowcast/losses by weight."""

    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=lambda: {"mse": 1.0},
        min_length=1,
        description="loss name -> weight; the weighted sum is minimised",
    )
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="loss name -> that loss's own options, checked against its file"
    )


class Thresholds(Strict):
    """Where "rain" begins, for yes/no scores."""

    unit: str = Field(
        description='a unit of the shards\' encoding ("mm/h", "dBZ", "kg/m2") or "code" for its integer codes',
        json_schema_extra={"enum": [*known_units(), "code"]},
    )
    values: list[float] = Field(min_length=1, description="ascending thresholds; a pixel at or above counts")

    @model_validator(mode="after")
    def _ascending(self) -> Thresholds:
        if sorted(set(self.values)) != self.values:
            raise ValueError(f"values must ascend, given {self.values}")
        if self.unit not in (known := [*known_units(), "code"]):
            raise ValueError(f"unit {self.unit!r} is no unit of any encoding; give {', '.join(known)}")
        return self


class EvaluationKeys(Strict):
    """When and how the model is scored while it trains."""

    every: Count = Field(1000, description="optimizer steps between evaluations; the last step is always evaluated")
    split: str = Field("val", description="split scored while training")
    micro_batch: Count = Field(4, description="windows a rank predicts at a time")
    max_windows: Count | None = Field(
        None, description="score so many windows only, spread over the split; None scores all"
    )
    select: Literal["csi_pooled", "csi_lead_mean", "mse", "mae"] = Field(
        "csi_pooled", description="score (mean over thresholds) by which the best step is exported"
    )
    thresholds: Thresholds | None = Field(None, description="None takes the customary ones of the shards' encoding")


class CheckpointKeys(Strict):
    """When the state of training is saved."""

    every: Count = Field(1000, description="optimizer steps between checkpoints; the last step is always saved")
    keep: Annotated[int, Field(ge=2)] = Field(
        3, description="newest checkpoints kept beside the best step's; 2 or more, so a damaged one has a predecessor"
    )


class ComputeKeys(Strict):
    """How a step is computed; none of these changes what is computed but for rounding."""

    activation_checkpointing: bool = Field(
        False, description="keep only the inputs of the model's blocks and compute the rest again in the backward pass"
    )
    compile: bool = Field(
        False,
        description="torch.compile the model at its first step and first evaluation (ZeRO 0 to 2; needs a C++ compiler)",
    )
    channels_last: bool = Field(False, description="give the model its input with channels last in memory")


class EmaKeys(Strict):
    """A running mean of the weights, in fp32: evaluated while training, and in model.safetensors and last.safetensors."""

    decay: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.999, description="share of the mean kept at each optimizer step; less in the first steps, (1 + n) / (10 + n)"
    )


class NowcastKeys(Strict):
    """The whole section."""

    seed: Annotated[int, Field(ge=0)] = Field(0, description="seeds weights, the order of samples and augmentation")
    steps: Count = Field(description="optimizer steps of the whole training")
    model: ModelKeys = Field(default_factory=lambda: ModelKeys(name="unet"), description="which CNN")
    loss: LossKeys = Field(default_factory=lambda: LossKeys(), description="what is minimised")
    compute: ComputeKeys = Field(default_factory=lambda: ComputeKeys(), description="memory and speed of a step")
    learning_rate: LearningRateKeys | None = Field(
        None, description="a rule by which learning rates follow the samples of a step (None: they are as stated)"
    )
    ema: EmaKeys | None = Field(
        None,
        description="a running mean of the weights, evaluated and exported in their place (4 bytes a parameter; None: none)",
    )
    data: DataKeys = Field(default_factory=lambda: DataKeys(), description="windows, shuffling, augmentation")
    evaluation: EvaluationKeys = Field(default_factory=lambda: EvaluationKeys(), description="scores while training")
    checkpoint: CheckpointKeys = Field(default_factory=lambda: CheckpointKeys(), description="saving")
    log_samples: bool = Field(
        False, description="write what each step saw to samples/, in the form of `python -m ds_nowcast.order --json`"
    )
    heartbeat_timeout_s: Annotated[int, Field(ge=10)] = Field(
        30, description="seconds of silence after which a rank counts as lost and the launch ends on all hosts"
    )
    log_every: Count = Field(10, description="optimizer steps between lines of metrics.jsonl and of the display")
    max_skipped_steps: Count = Field(
        20, description="optimizer steps in a row skipped for overflowing gradients before the run ends"
    )
