"""The universal form of a checkpoint: the same at every ZeRO stage and number of ranks, a file per parameter and kind of state.

Written by `ds_to_universal` where ZeRO cut the state up, here where it lies whole (ZeRO 0), and then made alike, as what
DeepSpeed's ZeRO 1 and 2 read is not what it writes of a save at ZeRO 3. Read by DeepSpeed's ZeRO optimizers, each rank its
share, one parameter at a time; at ZeRO 0 here.

<folder>/zero/<parameter>/{fp32,exp_avg,exp_avg_sq}.pt   {"param": tensor in the parameter's shape}
<folder>/zero/<parameter>/ema.pt                         the same, where a running mean of the weights goes along
<folder>/zero/optimizer_state.pt                         what is not per parameter: step, groups, loss scale
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from deepspeed import __version__ as deepspeed_version
from torch import nn

from ds_nowcast.engine import fragments

OPTIMIZERS = ("adam", "adamw")  # those whose state is the two moments that ds_to_universal carries over

MEAN = "ema"  # the optimizer's state of this name is the running mean of `ds_nowcast.engine.ema`
MEAN_UPDATES = "ema_updates"  # how often it was moved, in a checkpoint's client state

_MOMENTS = ("exp_avg", "exp_avg_sq")
_SLOTS = ("fp32", *_MOMENTS)
_SCALE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")  # of a dynamic loss scale


def trained(engine: Any) -> dict[str, nn.Parameter]:
    """The parameters of DeepSpeed's engine that are trained, by name, in the optimizer's order."""
    return {name: p for name, p in engine.module.named_parameters() if p.requires_grad}


def model_file(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint holds that is not cut up: counters, schedule, buffers, client state (at ZeRO 0 all). Mapped, not read."""
    [first] = [
        *checkpoint.glob("mp_rank_00_model_states.pt"),
        *checkpoint.glob("zero_pp_rank_0_mp_rank_00_model_states.pt"),
    ]
    content: dict[str, Any] = _load(first, mmap=True)
    return content


def write_universal(
    checkpoint: Path, stage: int, shapes: Mapping[str, torch.Size], out: Path, *, with_mean: bool = False
) -> None:
    """Writes the universal form of a checkpoint saved at a ZeRO stage. shapes: of all parameters, in the optimizer's order.

    with_mean: a running mean of the weights goes along if there is one.
    """
    zero = out / "zero"
    zero.mkdir(parents=True)
    slots = (*_SLOTS, MEAN) if with_mean and model_file(checkpoint).get(MEAN_UPDATES) else _SLOTS
    step, groups, scale = (_from_whole if stage == 0 else _from_zero)(checkpoint, stage, shapes, out, slots)
    for name in shapes:
        missing = [slot for slot in slots if not (zero / name / f"{slot}.pt").is_file()]
        if missing:
            raise ValueError(f"the optimizer has no {' and '.join(missing)} of {name}: it has not made a step yet")
    common = {
        "ds_version": deepspeed_version,
        "param_groups": groups,  # ZeRO 1 and 2 look here, ZeRO 3 there
        "optimizer_state_dict": {"param_groups": groups, "state": {0: {"step": step}}},
        "scale": scale,
    }
    (zero / "optimizer_state.pt").unlink(missing_ok=True)
    torch.save(common, zero / "optimizer_state.pt")


Common = tuple[int, list[dict[str, Any]], dict[str, Any]]  # the optimizer's step, its groups, its loss scale


def _from_zero(
    checkpoint: Path, stage: int, shapes: Mapping[str, torch.Size], out: Path, slots: tuple[str, ...]
) -> Common:
    """Of a save at ZeRO 1 to 3, whose partitions DeepSpeed puts together, but for the mean's."""
    from deepspeed.checkpoint import ds_to_universal

    options = SimpleNamespace(
        input_folder=str(checkpoint), output_folder=str(out), keep_temp_folder=False, strict=True,
        inject_missing_state=False, num_extract_workers=1, num_merge_workers=1,  # 1: in this process, no fork
    )  # fmt: skip
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it tells of its progress
        ds_to_universal.main(options)
    saved = _load(out / "zero/optimizer_state.pt", mmap=True)
    if stage < 3:
        step = _load(out / "zero" / next(iter(shapes)) / "step.pt")
    else:  # flat, and the step elsewhere
        step = saved["optimizer_state_dict"]["state"][0]["step"]
        for name, shape in shapes.items():
            for slot in _SLOTS:
                path = out / "zero" / name / f"{slot}.pt"
                torch.save({"param": _load(path).view(shape)}, path)
    if MEAN in slots:
        param_shapes = model_file(checkpoint)["param_shapes"]
        for name, tensor in fragments.whole(checkpoint, stage, MEAN, shapes, param_shapes):
            torch.save({"param": tensor}, out / "zero" / name / f"{MEAN}.pt")
    scaler = saved.get("loss_scaler")
    return int(step), saved["param_groups"], {name: getattr(scaler, name) for name in _SCALE if hasattr(scaler, name)}


def _from_whole(
    checkpoint: Path, stage: int, shapes: Mapping[str, torch.Size], out: Path, slots: tuple[str, ...]
) -> Common:
    """Of a save at ZeRO 0."""
    saved = model_file(checkpoint)
    half = saved["optimizer"]  # DeepSpeed's wrapper where the precision is half, else torch's own state
    inner = half.get("optimizer_state_dict", half)
    for name, tensors in _whole_slots(saved, half, inner["state"], shapes, slots[1:]):
        (out / "zero" / name).mkdir()
        for slot, tensor in tensors.items():
            torch.save({"param": tensor.float().clone().view(shapes[name])}, out / "zero" / name / f"{slot}.pt")
    return int(inner["state"][0]["step"]), inner["param_groups"], {name: half[name] for name in _SCALE if name in half}


def _whole_slots(
    saved: dict[str, Any],
    half: dict[str, Any],
    state: dict[int, dict[str, Any]],
    shapes: Mapping[str, torch.Size],
    slots: tuple[str, ...],
) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Name and tensors (fp32 and `slots`) of each parameter of a ZeRO 0 save. Around a fused optimizer they lie end to end."""
    if "fp32_groups_flat" in half:
        [flat] = half["fp32_groups_flat"]
        start = 0
        for name, shape in shapes.items():
            part = slice(start, start + shape.numel())
            yield name, {"fp32": flat[part]} | {slot: state[0][slot][part] for slot in slots}
            start += shape.numel()
        return
    masters = chain(*half["fp32_groups"]) if "fp32_groups" in half else (saved["module"][name] for name in shapes)
    for index, (name, master) in enumerate(zip(shapes, masters, strict=True)):
        yield name, {"fp32": master} | {slot: state[index][slot] for slot in slots}


def read_universal(optimizer: Any, stage: int, parameters: Mapping[str, nn.Parameter], folder: Path) -> None:
    """Sets weights, moments, step, groups and loss scale into DeepSpeed's optimizer of a new engine; no collectives.

    parameters: all, by name, in the optimizer's order.
    """
    common = _load(folder / "zero/optimizer_state.pt")
    if stage == 0:
        _set_whole(optimizer, common["param_groups"], parameters, folder / "zero")
    else:
        optimizer.load_state_dict(None, checkpoint_folder=str(folder))
        if stage == 3 and _has_mean(folder / "zero", parameters):  # at 1 and 2 DeepSpeed sets whatever is there
            _set_parts_of_mean(optimizer, folder / "zero")
    base = getattr(optimizer, "optimizer", optimizer)
    for holder, state in base.state.items():
        state["step"] = _step_of(base, holder, common["optimizer_state_dict"]["state"][0]["step"])
    scaler = getattr(optimizer, "loss_scaler", None) or getattr(optimizer, "loss_scale_config", None)
    if getattr(scaler, "dynamic", False) or getattr(scaler, "dynamic_loss_scale", False):
        for name, value in common["scale"].items():
            if hasattr(scaler, name):
                setattr(scaler, name, value)


def _set_whole(
    optimizer: Any, groups: list[dict[str, Any]], parameters: Mapping[str, nn.Parameter], zero: Path
) -> None:
    """Into an optimizer that holds all of its state."""
    base = getattr(optimizer, "optimizer", optimizer)
    for group, saved in zip(base.param_groups, groups, strict=True):
        group.update({key: value for key, value in saved.items() if key != "params"})
    kept = (*_MOMENTS, MEAN) if _has_mean(zero, parameters) else _MOMENTS
    for holder, names in holders(optimizer, parameters):
        slots = {"fp32": holder.detach()} | {slot: torch.zeros_like(holder).detach() for slot in kept}
        base.state[holder] = {slot: slots[slot] for slot in kept}
        start = 0
        for name in names:
            length = parameters[name].numel()
            for slot, tensor in slots.items():
                value = _load(zero / name / f"{slot}.pt")["param"]
                tensor.view(-1)[start : start + length].copy_(value.view(-1))
                if slot == "fp32":
                    parameters[name].data.copy_(value)
            start += length


def _has_mean(zero: Path, parameters: Mapping[str, nn.Parameter]) -> bool:
    return (zero / next(iter(parameters)) / f"{MEAN}.pt").is_file()


def _set_parts_of_mean(optimizer: Any, zero: Path) -> None:
    """Into DeepSpeed's optimizer of ZeRO 3, which looks for moments alone."""
    for group, flat in zip(optimizer.fp16_groups, optimizer.fp32_partitioned_groups_flat, strict=True):
        mean, start = torch.zeros_like(flat).detach(), 0
        for parameter in group:
            place = str(zero / optimizer.param_names[parameter])
            part = optimizer.load_hp_checkpoint_state(place, MEAN, param=parameter)
            mean.narrow(0, start, part.numel()).copy_(part)
            start += part.numel()
        optimizer.optimizer.state[flat][MEAN] = mean


def holders(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """At ZeRO 0: what the optimizer keeps its state for, and the parameters that lie in it: itself, its fp32 copy, or many end to end."""
    if hasattr(optimizer, "fp32_groups_flat"):
        [flat] = optimizer.fp32_groups_flat
        yield flat, list(parameters)
        return
    masters = chain(*optimizer.fp32_groups) if hasattr(optimizer, "fp32_groups") else parameters.values()
    for name, master in zip(parameters, masters, strict=True):
        yield master, [name]


def _step_of(base: Any, holder: torch.Tensor, step: int) -> int | torch.Tensor:
    """A step count as the optimizer keeps it: torch's in a tensor, which it increments in place; DeepSpeed's own in an int."""
    if not isinstance(base, torch.optim.Adam | torch.optim.AdamW):
        return step
    on_device = base.defaults.get("fused") or base.defaults.get("capturable")
    return torch.tensor(float(step), dtype=torch.float32, device=holder.device if on_device else "cpu")


def _load(path: Path, *, mmap: bool = False) -> Any:
    return torch.load(path, map_location="cpu", weights_only=False, mmap=mmap)
