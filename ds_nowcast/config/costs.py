"""What settings cost: memory, speed, accuracy, disk. Where a figure stands, it follows from arithmetic or was measured.

The arithmetic is that of `ds_nowcast.planning`, the measurements are in docs/performance.md. Of a setting that is not here no
cost is known; many have none.
"""

from __future__ import annotations

_COPIES = "memory: while it steps, 4 bytes for each of the rank's parameters, on a GPU"
_STATE = "divided over the ranks at ZeRO 1 to 3"
_MEAN = f"memory: 4 bytes a parameter, {_STATE}; disk: as many in each checkpoint"
_WAITS = "speed: waits for the device"

COSTS: dict[str, str] = {
    "train_batch_size": "accuracy: fewer steps for the same samples; rate and warm-up go with it",
    "train_micro_batch_size_per_gpu": "memory: activations grow in proportion to it",
    "gradient_accumulation_steps": "time: a step has so many forward and backward passes; at ZeRO 2 and 3 each sends gradients",
    "optimizer.type": f"memory: moments, 8 bytes a parameter for Adam, AdamW, Lamb, 4 for Adagrad, Lion; {_STATE}",
    "optimizer.params.amsgrad": f"memory: 4 bytes a parameter, {_STATE}",
    "optimizer.params.momentum": f"memory: 4 bytes a parameter where above 0, {_STATE}",
    "optimizer.params.foreach": _COPIES,
    "optimizer.params.torch_adam": f"{_COPIES} (none with fused); false: DeepSpeed's operator, compiled at the first start",
    "gradient_clipping": "accuracy: larger gradients are shortened",
    "bf16.enabled": "memory: weights and gradients 2 bytes a parameter instead of 4, and an fp32 copy of the weights "
    f"(4 bytes, {_STATE}); accuracy: 8 significant bits in forward and backward",
    "bf16.bf16_master_weights_and_grads": "accuracy: small steps are lost; spares, with bf16_optimizer_states, 6 of "
    "Adam's 12 bytes a parameter",
    "fp16.enabled": "memory: weights and gradients 2 bytes a parameter instead of 4, and an fp32 copy of the weights "
    f"(4 bytes, {_STATE}); accuracy: 11 significant bits up to 65504, steps that overflow are skipped",
    "torch_autocast.enabled": "memory: weights keep 4 bytes a parameter; accuracy: that of dtype inside most operations",
    "communication_data_type": "accuracy: gradients are rounded to it; speed: bytes sent are in proportion to its width",
    "data_types.grad_accum_dtype": "memory: gradients that are summed have its width",
    "zero_optimization.stage": "memory a rank: 1 divides the optimizer's state (of Adam 8 bytes a parameter, 12 with bf16 or "
    "fp16) by the ranks, 2 gradients too, 3 weights too, each but for buffers; speed: 0 to 2 send alike, 3 half as much again",
    "zero_optimization.reduce_bucket_size": "memory: so many elements on a GPU, in the type that is sent (1 GB in 16 bit by "
    "default), twice with overlap_comm",
    "zero_optimization.overlap_comm": "memory: a second bucket of reduce_bucket_size elements, on a GPU",
    "zero_optimization.offload_optimizer": "speed: copies over the host's bus at each step; spares the device the optimizer's state",
    "zero_optimization.offload_optimizer.device": "memory: the optimizer's state is in the host's instead; speed: gradients and "
    "weights are copied over the host's bus at each step",
    "zero_optimization.offload_param": "speed: weights are copied over the host's bus at each pass; spares the device a rank's share",
    "zero_optimization.offload_param.device": "memory: a rank's share of the weights is in the host's instead; speed: copies over "
    "the host's bus at each pass",
    "zero_optimization.offload_param.buffer_size": "memory: so many elements for each of buffer_count, with device nvme",
    "zero_optimization.sub_group_size": "memory: while it steps at stage 3, fp32 gradients of so many elements",
    "zero_optimization.stage3_prefetch_bucket_size": "memory: so many gathered elements, and the buffer they come in",
    "zero_optimization.stage3_max_live_parameters": "memory: up to so many elements of weights at once",
    "zero_optimization.stage3_max_reuse_distance": "memory: up to half of so many elements of weights stay; speed: below it "
    "they are gathered twice",
    "zero_optimization.stage3_param_persistence_threshold": "memory: such parameters are whole on every rank",
    "zero_optimization.zero_quantized_weights": "accuracy: weights are rounded to 8 bits when they are sent",
    "zero_optimization.zero_quantized_gradients": "accuracy: gradients are rounded when they are sent",
    "wall_clock_breakdown": _WAITS,
    "timers.throughput.synchronized": _WAITS,
    "comms_logger.enabled": f"{_WAITS} at each collective",
    "nowcast.ema": _MEAN,
    "nowcast.ema.decay": _MEAN,
    "nowcast.compute.activation_checkpointing": "speed: one more forward pass of each micro-batch; spares most activations",
    "nowcast.compute.compile": "time: 20 to 40 s at the start on two cores; there, steps took 0.97 to 1.33 times as long",
    "nowcast.compute.channels_last": "speed: on a CPU steps took 0.96 to 1.43 times as long; GPUs are not measured",
    "nowcast.model.width": "memory and time: twice the width has about 4 times the parameters and operations",
    "nowcast.model.depth": "memory and time: twice the depth has nearly 2 times the parameters and operations",
    "nowcast.model.levels": "memory: one more has 4 times the parameters",
    "nowcast.model.norm": "accuracy: batch depends on how samples are cut into micro-batches",
    "nowcast.model.spatial_width": "time: twice the width has 2.5 times the operations",
    "nowcast.model.temporal_width": "memory and time: twice the width has 3.1 times the parameters, 2.5 times the operations",
    "nowcast.model.temporal_depth": "memory and time: twice the depth has 1.8 times the parameters, 1.6 times the operations",
    "nowcast.data.input_frames": "memory: a byte a pixel of each sample's frame",
    "nowcast.data.output_frames": "memory: a byte a pixel of each sample's frame, and the model's outputs",
    "nowcast.data.windows": "time: with one, an epoch has fewer samples of the same sequences",
    "nowcast.data.shuffle_shards": "speed: reads jump over that many shards, with null over the whole split",
    "nowcast.data.augment.crop": "accuracy: the model sees no more than that; memory and time: in proportion to its area",
    "nowcast.data.buffer_mb": "memory: up to so much of the host's, per rank",
    "nowcast.data.threads": "speed: cores that decode are not free for a model on CPUs",
    "nowcast.data.verify_hashes": "speed: each shard is read whole once, before its first sample",
    "nowcast.data.cache_mb": "disk: up to so much, on each host",
    "nowcast.data.max_bad_samples": "accuracy: bad samples teach nothing",
    "nowcast.evaluation.every": "time: all windows of the split are predicted each time (see max_windows)",
    "nowcast.evaluation.micro_batch": "memory: outputs and activations of so many windows, forward only",
    "nowcast.evaluation.max_windows": "accuracy: scores of fewer windows vary more",
    "nowcast.checkpoint.every": "time: all ranks wait while one is written; work lost at a crash is up to so many steps",
    "nowcast.checkpoint.keep": "disk: so many checkpoints, and two more (the best step's and the one being written)",
    "nowcast.log_samples": "disk: a line of each sample",
}  # fmt: skip
