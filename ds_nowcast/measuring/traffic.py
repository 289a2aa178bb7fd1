"""What goes through collectives: bytes by kind, and the time in which their callers wait.

All of them, ours and DeepSpeed's, end in methods of torch's ProcessGroup and in its Work's `wait`, whatever the library
beneath (gloo, NCCL). Those are watched, on the class: references that others have kept are watched too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch._C._distributed_c10d import ProcessGroup, Work

# ProcessGroup's methods by what the collective is called elsewhere; torch versions differ in which there are
_KINDS = {
    "all_reduce": ("allreduce", "allreduce_coalesced"),
    "reduce": ("reduce",),
    "broadcast": ("broadcast",),
    "all_gather": (
        "allgather", "allgather_coalesced", "_allgather_base", "allgather_into_tensor_coalesced",
        "all_gather_single", "all_gather_single_coalesced",
    ),
    "reduce_scatter": (
        "reduce_scatter", "_reduce_scatter_base", "reduce_scatter_tensor_coalesced",
        "reduce_scatter_single", "reduce_scatter_single_coalesced",
    ),
    "all_to_all": ("alltoall", "alltoall_base", "all_to_all_single"),
    "gather": ("gather",),
    "scatter": ("scatter",),
    "barrier": ("barrier",),
}  # fmt: skip


class Traffic:
    """Counts while it is entered. On a GPU, where collectives run beside their callers, `seconds` is theirs alone."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.bytes: Counter[str] = Counter()
        self._before: list[tuple[type, str, Any]] = []

    def __enter__(self) -> Traffic:
        for kind, names in _KINDS.items():
            for name in names:
                if name in vars(ProcessGroup):
                    self._replace(ProcessGroup, name, self._counted(kind, getattr(ProcessGroup, name)))
        self._replace(Work, "wait", self._timed(Work.wait))
        return self

    def __exit__(self, *exc: object) -> None:
        while self._before:
            owner, name, method = self._before.pop()
            setattr(owner, name, method)

    def _replace(self, owner: type, name: str, method: Any) -> None:
        self._before.append((owner, name, vars(owner)[name]))  # as it lies there: looked up, it is bound to nothing
        setattr(owner, name, method)

    def _counted(self, kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
        timed = self._timed(method)

        def counted(group: Any, *args: Any, **kwargs: Any) -> Any:
            if group.size() > 1:  # one rank moves nothing
                self.bytes[kind] += message_bytes(args)
            return timed(group, *args, **kwargs)

        return counted

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def message_bytes(args: tuple[Any, ...]) -> int:
    """The whole of what a collective reduces or puts together: the larger of what goes in and what comes out."""
    return max((_bytes_of(arg) for arg in args[:2]), default=0)


def _bytes_of(tensors: Any) -> int:
    if isinstance(tensors, torch.Tensor):
        return tensors.numel() * tensors.element_size()
    return sum(map(_bytes_of, tensors)) if isinstance(tensors, list | tuple) else 0
