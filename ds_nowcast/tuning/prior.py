"""What need not be tried, since something that takes no more memory ran out of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from ds_nowcast.tuning.space import ACCUMULATION, MICRO, Combination

_STAGE = "zero_optimization.stage"
_NEUTRAL = ("nowcast.data.threads", "nowcast.data.requests")  # decoding takes a window of memory a thread
_SAVING_IF_SET = ("zero_optimization.offload_optimizer", "zero_optimization.offload_param")
_MEASURED = 2  # the highest stage below which a lower one never takes less; stage 3 holds buffers of its own


def out_of_memory_too(
    combination: Combination, failed: Iterable[Combination], micro: Callable[[Combination], int]
) -> Combination | None:
    """One of `failed`, which ran out of memory, that takes no more of it than the combination; None where there is none.

    That is: at a micro-batch that is no larger, and in all else alike, or different only in what is known to save
    memory there. What may save memory here, or is not known to, is tried.
    """
    for one in failed:
        if micro(one) <= micro(combination) and all(
            _no_saving(key, one[key], value) for key, value in combination.items() if key not in (MICRO, ACCUMULATION)
        ):
            return one
    return None


def _no_saving(key: str, failed: str, value: str) -> bool:
    """Whether going from the failed value to this one saves no memory."""
    if failed == value or key in _NEUTRAL:
        return True
    if key == "nowcast.compute.activation_checkpointing":
        return failed == "true"
    if key in _SAVING_IF_SET:
        return value == "null"
    if key == _STAGE:
        before, after = int(json.loads(failed)), int(json.loads(value))
        return after < before <= _MEASURED
    return False
