"""A running mean of the weights (EMA), kept as one more tensor of the optimizer's state, beside the moments.

    mean = the weights before the first step; after the n-th step that was applied
    mean += (1 - d_n) (weights - mean),  d_n = min(decay, (1 + n) / (10 + n))      (as tf.train.ExponentialMovingAverage)

In float32, of the fp32 weights, each rank only of those that it updates: no communication, 4 bytes a parameter over all ranks.
DeepSpeed saves and restores it with the rest of that state; n is in the client state of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ds_nowcast.config.nowcast_keys import EmaKeys
from ds_nowcast.engine.portable import MEAN, MEAN_UPDATES, holders, trained

_PIECE = 1 << 22  # numbers of a flat tensor exchanged at a time


class Ema:
    """The mean of one engine's weights, or none: without keys nothing is kept."""

    def __init__(self, engine: Any, keys: EmaKeys | None) -> None:
        """engine: DeepSpeed's."""
        self._engine, self._keys = engine, keys
        self._updates = 0
        self._first: list[torch.Tensor] | None = None  # the weights before the first step, until that is applied
        self._in_place = False

    @property
    def on(self) -> bool:
        """Whether a mean is kept."""
        return self._keys is not None

    @property
    def saved(self) -> dict[str, int]:
        """What a checkpoint must hold beside the optimizer's state."""
        assert not self._in_place, "a checkpoint would hold the mean for the weights"
        return {MEAN_UPDATES: self._updates} if self.on else {}

    def before_step(self) -> None:
        """Keeps the weights that the mean begins with. (An optimizer makes its state only where there is none yet.)"""
        if self.on and self._updates == 0 and self._first is None:
            self._first = [weights.detach().clone() for weights in self._weights()]

    @torch.no_grad()
    def after_step(self, applied: bool) -> None:
        """Moves the mean where the step was applied."""
        if self._keys is None or not applied:
            return
        weights, state = self._weights(), self._state()
        if self._first is not None:
            for holder, mean in zip(weights, self._first, strict=True):
                state[holder][MEAN] = mean
            self._first = None
        self._updates += 1
        kept = min(self._keys.decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_([state[holder][MEAN] for holder in weights], weights, 1 - kept)

    def restore(self, saved: dict[str, Any]) -> None:
        """After a load. saved: the client state. A mean that is new begins with the weights of now; one not wanted goes."""
        self._updates, self._first = int(saved.get(MEAN_UPDATES, 0)) if self.on else 0, None
        if self._updates == 0:
            for tensors in self._state().values():
                tensors.pop(MEAN, None)

    @contextmanager
    def in_place(self, *alike: type[Exception]) -> Iterator[None]:
        """The mean in the place of the weights. Every rank must enter and leave; nothing may be trained or saved within.

        alike: exceptions that all ranks raise if one does. After any other the model of this rank keeps the mean: making it
        anew takes all ranks, which cannot be met any more, and the launch is over.
        """
        if self._updates == 0:  # the mean is the weights
            yield
            return
        self._exchange()
        self._tell_the_model()
        try:
            yield
        except BaseException as error:
            self._exchange()
            if isinstance(error, alike):
                self._tell_the_model()
            raise
        self._exchange()
        self._tell_the_model()

    @torch.no_grad()
    def _exchange(self) -> None:
        """Weights and mean, in place: DeepSpeed has views of both."""
        state = self._state()
        for holder in self._weights():
            for ours, theirs in zip(_pieces(holder), _pieces(state[holder][MEAN]), strict=True):
                kept = ours.clone()
                ours.copy_(theirs)
                theirs.copy_(kept)
        self._in_place = not self._in_place

    @torch.no_grad()
    def _tell_the_model(self) -> None:
        """Makes the model's weights, in whatever precision and wherever they lie, from the fp32 ones, as after a step."""
        optimizer, stage = self._engine.optimizer, self._engine.zero_optimization_stage()
        if stage == 3:
            optimizer.checkpoint_event_prologue()  # lets go of what is gathered
            for group in range(len(optimizer.fp32_partitioned_groups_flat)):
                optimizer._reassign_or_swap_out_partitioned_parameters(group)
            optimizer.checkpoint_event_epilogue()  # gathers what is always whole
        elif stage > 0:
            optimizer.update_lp_params()
        else:
            _copy_halves(optimizer, trained(self._engine))

    def _weights(self) -> list[torch.Tensor]:
        """The fp32 weights that this rank updates, in the tensors by which the optimizer keeps its state."""
        optimizer = self._engine.optimizer
        if hasattr(optimizer, "fp32_partitioned_groups_flat"):  # ZeRO 3, whose groups are empty but in a step
            return list(optimizer.fp32_partitioned_groups_flat)
        return [weights for group in optimizer.param_groups for weights in group["params"]]

    def _state(self) -> dict[torch.Tensor, dict[str, Any]]:
        optimizer = self._engine.optimizer
        state: dict[torch.Tensor, dict[str, Any]] = getattr(optimizer, "optimizer", optimizer).state
        return state


def _pieces(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Views of a tensor along its first axis: what is flat is exchanged with little memory."""
    return torch.split(tensor if tensor.dim() else tensor.view(1), _PIECE)


def _copy_halves(optimizer: Any, parameters: dict[str, torch.nn.Parameter]) -> None:
    """At ZeRO 0: the half-precision weights from their fp32 copies, if there are such."""
    for holder, names in holders(optimizer, parameters):
        if len(names) == 1:
            parameters[names[0]].copy_(holder)
            continue
        lengths = [parameters[name].numel() for name in names]
        for name, part in zip(names, torch.split(holder, lengths), strict=True):
            parameters[name].copy_(part.view_as(parameters[name]))
