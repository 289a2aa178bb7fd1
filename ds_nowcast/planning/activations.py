"""The memory of a micro-batch's forward and backward pass, and its operations, measured on tensors without data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from data_prep.encoding import ENCODINGS, Encoding
from data_prep.errors import UserError
from ds_nowcast.config import RunConfig
from ds_nowcast.losses import Loss, LossSetting, build_loss
from ds_nowcast.models import NowcastModel, outline_of
from ds_nowcast.planning.timeline import LiveBytes, Moment, timeline
from ds_nowcast.planning.training import Device, autocast_dtype, weight_dtype

_MEASURED = (4, 8)  # larger micro-batches lie on the line through these


class Activations:
    """What a micro-batch of a config's model and loss needs on images of one size."""

    def __init__(
        self, config: RunConfig, shape: tuple[int, int], device: Device, encoding: Encoding | None = None
    ) -> None:
        """shape: rows and columns that the model sees. device: where the training will run; here it is only imagined.

        encoding: that of the shards; None takes the first that the loss's options fit. Raises UserError where none does.
        """
        self._config, self.shape, self._device, self.encoding = config, shape, device, encoding
        self._loss = _loss_for(config, [encoding] if encoding else [*ENCODINGS.values()])
        self._found: dict[int, list[Moment]] = {}

    @property
    def checkpointing(self) -> bool:
        """Whether most are computed again in the backward pass."""
        return self._config.nowcast.compute.activation_checkpointing

    def at(self, micro: int) -> list[Moment]:
        """The moments of a micro-batch."""
        if micro > _MEASURED[-1]:
            low, high = (self.at(size) for size in _MEASURED)
            beyond = (micro - _MEASURED[1]) / (_MEASURED[1] - _MEASURED[0])
            return [_along(a, b, beyond) for a, b in zip(low, high, strict=True)]
        if micro not in self._found:
            self._found[micro] = self._measure(micro)
        return self._found[micro]

    def input_bytes(self, samples: int) -> int:
        """The codes of a step's samples on the device, one byte a pixel."""
        return samples * self._config.nowcast.data.window * math.prod(self.shape)

    def _measure(self, micro: int) -> list[Moment]:
        counter = LiveBytes(_workspace(self._device, weight_dtype(self._config)))
        with _imagined(self._config) as model:
            counter.passes_over(model)
            norms = _NormsInFloat() if self._device == "cuda" and autocast_dtype(self._config) else nullcontext()
            with norms:
                return timeline(model, lambda: self._loss_of(model, micro), counter)

    def _loss_of(self, model: NowcastModel, micro: int) -> Tensor:
        """What `training.step` computes of a micro-batch, with the tensors it makes for it."""
        keys, autocast = self._config.nowcast, autocast_dtype(self._config)
        device = "meta" if autocast is None else "cpu"
        shape_BTHW = (micro, keys.data.window, *self.shape)
        torch.empty(shape_BTHW, dtype=torch.int32, device=device)  # the codes, as indices of the look-up table
        values_BTHW = torch.empty(shape_BTHW, device=device)
        past_BTHW, target_BTHW = torch.split(values_BTHW, [keys.data.input_frames, keys.data.output_frames], dim=1)
        valid_BTHW = torch.empty(shape_BTHW, dtype=torch.bool, device=device)[:, keys.data.input_frames :]
        past_BTHW = past_BTHW.to(weight_dtype(self._config))
        if keys.compute.channels_last:
            past_BTHW = past_BTHW.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            prediction_BTHW = model(past_BTHW)
        return self._loss(prediction_BTHW, target_BTHW, valid_BTHW.float(), keys.steps)  # facl: its heavier part

    @cached_property
    def flops(self) -> tuple[int, int]:
        """Floating point operations of one sample: forward, and forward and backward. A multiply-add counts two."""
        model = outline_of(self._config.nowcast)
        model.checkpoints_activations = False  # what is computed again is not counted
        with FlopCounterMode(display=False) as forward:
            past_BTHW = torch.empty(1, self._config.nowcast.data.input_frames, *self.shape, device="meta")
            future_BTHW: Tensor = model(past_BTHW)
        with FlopCounterMode(display=False, custom_mapping=_BACKWARD) as backward:
            future_BTHW.sum().backward()  # type: ignore[no-untyped-call]
        return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()


def _along(a: Moment, b: Moment, beyond: float) -> Moment:
    assert a.parameter == b.parameter
    return Moment(
        a.parameter, round(b.peak + beyond * (b.peak - a.peak)), round(b.after + beyond * (b.after - a.after))
    )


@contextmanager
def _imagined(config: RunConfig) -> Iterator[NowcastModel]:
    """The model for tensors without data: on the meta device, or under autocast, which passes that by, on a pretended CPU."""
    model = outline_of(config.nowcast).to(weight_dtype(config))
    if autocast_dtype(config) is None:
        yield model
        return
    with FakeTensorMode():
        for module in model.modules():
            _pretend(module)
        yield model


class _NormsInFloat(TorchFunctionMode):
    """What autocast does on a GPU and not on a CPU: norms of groups and layers compute, and return, fp32."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (functional.group_norm, functional.layer_norm) and torch.is_autocast_enabled("cpu"):
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))


def _pretend(module: nn.Module) -> None:
    for name, parameter in module.named_parameters(recurse=False):
        made = torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu")
        module._parameters[name] = nn.Parameter(made, requires_grad=parameter.requires_grad)
    for name, buffer in module.named_buffers(recurse=False):
        module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu")


def _loss_for(config: RunConfig, encodings: Sequence[Encoding]) -> Loss:
    """The config's loss for the first of these encodings that its options fit."""
    keys, refusal = config.nowcast, None
    for encoding in encodings:
        try:
            return build_loss(keys.loss, LossSetting(encoding, keys.steps, keys.seed))
        except UserError as error:
            refusal = error
    assert refusal is not None
    raise refusal


def _convolution_backward(
    grad: Sequence[int], input: Sequence[int], weight: Sequence[int], *args: Any, **kwargs: Any
) -> int:
    """Operations of a convolution's backward pass, of shapes: as many as forward, for each of input and weights.

    torch's own count leaves out that the weights' gradients, too, are of groups of channels.
    """
    transposed, mask = args[4], args[7]
    pixels = math.prod((input if transposed else grad)[2:])
    return 2 * grad[0] * pixels * math.prod(weight) * (int(mask[0]) + int(mask[1]))


_BACKWARD = {torch.ops.aten.convolution_backward: _convolution_backward}


def _workspace(device: Device, weights: torch.dtype) -> Callable[[Sequence[Tensor]], int]:
    """What a convolution's library takes beside operands and results.

    On a GPU an allowance: cuDNN may copy each into its own order of axes. On a CPU oneDNN does so in 16 bits (measured),
    and needs nothing worth counting in fp32.
    """
    if device == "cpu" and weights == torch.float32:
        return lambda tensors: 0
    return lambda tensors: sum(tensor.numel() * tensor.element_size() for tensor in tensors)
