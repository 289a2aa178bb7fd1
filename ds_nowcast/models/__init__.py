"""The CNNs. One model is one file and one line of the table below.

A model's file offers `Options` (its settings, every field described), `build(options, input_frames, output_frames)
-> NowcastModel`, and where it comes in named sizes `PRESETS`: name -> options. A file is imported when its model is asked for.

A model is built as an outline first, on torch's meta device, where it takes no memory whatever its size. Its weights are
drawn module by module, each from a generator of its own: they depend on the seed and the module's name alone, and not on
who builds it, on what device, or in what parts. So ZeRO 3 can place a module before the next one is drawn.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from data_prep.errors import UserError
from ds_nowcast.config.nowcast_keys import NowcastKeys
from ds_nowcast.config.strict import Strict, parse

MODELS: dict[str, str] = {
    "unet": "ds_nowcast.models.unet",
    "convnext_unet": "ds_nowcast.models.convnext_unet",
    "evolution_unet": "ds_nowcast.models.evolution_unet",
    "simvp": "ds_nowcast.models.simvp",
}


class NowcastModel(nn.Module):
    """(B, T_in, H, W) -> (B, T_out, H, W), both in model space [0, 1] (0 where the radar did not see)."""

    stride: int
    """H and W must be multiples of it."""
    receptive_field: int | None
    """No pixel farther away than so many rows or columns matters to a pixel's forecast (in evaluation), so that domains
    may be run whole; None where all of the image may matter."""
    checkpoints_activations: bool = False
    """Whether `run` keeps only a block's inputs for the backward pass and computes the rest again."""

    def draw(self, name: str, module: nn.Module, generator: torch.Generator) -> None:
        """Sets the initial values of what `module`, the part of this model that is called `name`, holds itself.

        Convolutions and linear layers: He et al. (2015), eq. 10, normal, for layers before a ReLU; biases zero. A norm
        begins as torch lets it. A model with other parts, or that begins otherwise, says so in its own `draw`.
        """
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / inputs_of(module)), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.BatchNorm2d):
            module.reset_parameters()
        else:
            raise TypeError(
                f"{type(self).__name__}.draw does not say how {name or 'itself'} ({type(module).__name__}) begins"
            )

    def run(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        """`block(*inputs)`. A model's forward calls each of its larger blocks through this."""
        if self.checkpoints_activations and self.training:
            return cast(Tensor, checkpoint(block, *inputs, use_reentrant=False))
        return cast(Tensor, block(*inputs))


def inputs_of(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> int:
    """How many numbers a layer sums up for one of its outputs."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    inputs = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    # of a transposed one each output pixel lies under that share of the kernel
    return inputs // math.prod(layer.stride) if isinstance(layer, nn.ConvTranspose2d) else inputs


def outline(name: str, options: Mapping[str, Any], input_frames: int, output_frames: int) -> NowcastModel:
    """A model without memory or weights, on the meta device.

    `options` is the config's, unchecked. Raises UserError for an unknown model, preset or option.
    """
    checked = checked_options(name, options, where=f"model {name}")
    try:
        with torch.device("meta"):
            model = cast(NowcastModel, _module(name).build(checked, input_frames, output_frames))
    except (RuntimeError, TypeError, OverflowError) as error:
        if "overflow" not in str(error).lower():
            raise
        raise UserError(
            f"model {name} of {checked} has more weights than can be numbered; give smaller sizes"
        ) from None
    assert model.stride >= 1 and (model.receptive_field is None or model.receptive_field >= 0), (
        "a model says both of itself"
    )
    return model


def outline_of(keys: NowcastKeys) -> NowcastModel:
    """The model that a config asks for, as an outline in training mode."""
    model = outline(keys.model.name, keys.model.options, keys.data.input_frames, keys.data.output_frames)
    model.checkpoints_activations = keys.compute.activation_checkpointing
    return model


def build_model(
    name: str, options: Mapping[str, Any], input_frames: int, output_frames: int, *, seed: int = 0
) -> NowcastModel:
    """A new model on the CPU with the initial weights of a seed. Raises UserError as `outline` does."""
    return draw_weights(outline(name, options, input_frames, output_frames), seed)


def draw_weights(
    model: NowcastModel,
    seed: int,
    weights: Mapping[str, Tensor] | None = None,
    place: Callable[[nn.Module], None] = lambda module: None,
) -> NowcastModel:
    """Gives an outline its memory, on the CPU, and its weights: the initial ones of a seed, or `weights` by name.

    place: takes each module that holds weights itself, as soon as it has them.
    """
    for name, module in model.named_modules():
        held = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        if not held:
            continue
        module.to_empty(device="cpu", recurse=False)
        if weights is None:
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            with torch.no_grad():
                model.draw(name, module, torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))
        else:
            own = {part: weights[f"{name}.{part}" if name else part] for part, _ in held}
            module.load_state_dict(own, strict=False)  # what else it has are modules in it
        place(module)
    return model


def checked_options(name: str, given: Mapping[str, Any], where: str = "") -> Strict:
    """All of a model's options: those given, for the others the `preset` given, then the defaults.

    Raises UserError, each of its lines begun by `where`, for an unknown model, preset or option.
    """
    presets = model_presets(name)
    own = dict(given)
    preset = own.pop("preset", None)
    if preset is not None and preset not in presets:
        known = f"choose one of {', '.join(presets)}" if presets else "it has none; leave the key out"
        raise UserError(f"{where}: preset {preset!r} of model {name} is not known; {known}".removeprefix(": "))
    return parse(model_options(name), {**presets.get(preset, {}), **own}, where=where)


def model_options(name: str) -> type[Strict]:
    """The class that checks a model's options. Raises UserError naming the models there are."""
    return cast(type[Strict], _module(name).Options)


def model_presets(name: str) -> Mapping[str, Mapping[str, Any]]:
    """A model's named sizes, the options of each. Raises UserError naming the models there are."""
    return cast(Mapping[str, Mapping[str, Any]], getattr(_module(name), "PRESETS", {}))


def _module(name: str) -> ModuleType:
    if name not in MODELS:
        raise UserError(f"model {name!r} is not known; choose one of {', '.join(MODELS)}")
    return import_module(MODELS[name])


def check_size(stride: int, rows: int, columns: int) -> None:
    """Raises UserError when a model of that stride cannot take images of rows x columns pixels."""
    if rows % stride == 0 and columns % stride == 0:
        return
    below = [max(side // stride, 1) * stride for side in (rows, columns)]
    above = [-(-side // stride) * stride for side in (rows, columns)]
    sizes = dict.fromkeys(str(r) if rows == columns else f"{r} x {c}" for r, c in (below, above))
    raise UserError(
        f"images of {rows} x {columns} pixels do not fit a model of stride {stride}: "
        f"give sizes divisible by {stride}, such as {' or '.join(sizes)} (build --crop, nowcast.data.augment.crop)"
    )
