"""How many bytes live at each moment of a forward and backward pass, found on tensors that hold no data.

Every operation passes through `LiveBytes`, which adds a storage when it is made and takes it away when it dies. Weights
are there before and do not count; a gradient counts until it is handed over, at which moment the timeline is marked.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)


@dataclass(frozen=True)
class Moment:
    """The time until a parameter's gradient is ready, since the one before it was."""

    parameter: int  # its number among those that are trained; -1 where the backward pass is over
    peak: int  # most bytes of activations, temporaries and the gradient under way in this time
    after: int  # bytes that live on when the gradient has been handed over


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Counts the bytes of the storages that operations make, and the most there were since `mark`."""

    def __init__(self, workspace: Callable[[Sequence[Tensor]], int] = lambda tensors: 0) -> None:
        """workspace: bytes that a convolution of these operands and results needs beside them while it runs."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: set[int] = set()
        self._workspace = workspace

    def passes_over(self, model: nn.Module) -> None:
        """The model's own tensors are not counted, nor are views of them."""
        self._seen |= {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}

    def mark(self) -> int:
        """The peak since the last mark; begins anew."""
        peak, self.peak = self.peak, self.live
        return peak

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation and counts what it made."""
        results = func(*args, **(kwargs or {}))
        for tensor in _tensors(results):
            self._count(tensor.untyped_storage())
        needed = self._workspace([*_tensors(args), *_tensors(results)]) if func.overloadpacket in _CONVOLUTIONS else 0
        self.peak = max(self.peak, self.live + needed)
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(key)
        self.live += size
        weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def timeline(model: nn.Module, loss: Callable[[], Tensor], counter: LiveBytes) -> list[Moment]:
    """The moments of `loss()` and its backward pass; `model` holds the parameters."""
    moments: list[Moment] = []

    def ready(number: int) -> Callable[[Tensor], None]:
        def hand_over(parameter: Tensor) -> None:
            parameter.grad = None
            peak = counter.mark()
            moments.append(Moment(number, peak, counter.live))

        return hand_over

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks = [
        parameter.register_post_accumulate_grad_hook(ready(number))  # type: ignore[no-untyped-call]
        for number, parameter in enumerate(trainable)
    ]
    try:
        with counter:
            loss().backward()  # type: ignore[no-untyped-call]
    finally:
        for hook in hooks:
            hook.remove()
    return [*moments, Moment(-1, counter.mark(), counter.live)]
