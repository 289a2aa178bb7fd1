"""One kind of optimizer state of a save at ZeRO 1 to 3, put together parameter by parameter from the ranks' files.

DeepSpeed's `ds_to_universal` does this for the moments of Adam, and passes over any other state.

ZeRO 1, 2   a rank's file: base_optimizer_state.state[group][kind] flat; param_slice_mappings[group][name] = start, numel
ZeRO 3      optimizer_state_dict.state[sub-group][kind] flat; in it, in the order of `param_shapes`, the rank's share of each
            parameter: one of as many equal parts as there are ranks, the last ones padded
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

_RANK = re.compile(r"zero_pp_rank_(\d+)_mp_rank_00_optim_states\.pt$")  # after bf16_ where that is the precision


def whole(
    checkpoint: Path, stage: int, kind: str, shapes: Mapping[str, torch.Size], param_shapes: list[Mapping[str, Any]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and whole tensor of each parameter, one at a time.

    shapes: of the parameters wanted. param_shapes: as the checkpoint's model file has them. Raises KeyError where the
    optimizer has no such state.
    """
    files = {int(match.group(1)): path for path in checkpoint.iterdir() if (match := _RANK.search(path.name))}
    ranks = [
        torch.load(files[rank], map_location="cpu", weights_only=False, mmap=True)["optimizer_state_dict"]
        for rank in sorted(files)
    ]
    for name, shape in shapes.items():
        if stage == 3:
            parts = [
                _part_of_three(saved, rank, len(ranks), kind, name, param_shapes) for rank, saved in enumerate(ranks)
            ]
        else:
            parts = [part for saved in ranks for part in _parts_of_flat(saved, kind, name)]
        yield name, torch.cat(parts).view(shape)


def _parts_of_flat(saved: dict[str, Any], kind: str, name: str) -> Iterator[torch.Tensor]:
    """What a rank has of a parameter at ZeRO 1 and 2: nothing, or one part."""
    for group, places in enumerate(saved["param_slice_mappings"]):
        if name in places:
            flat = saved["base_optimizer_state"]["state"][group][kind]
            yield flat.narrow(0, places[name].start, places[name].numel)


def _part_of_three(
    saved: dict[str, Any], rank: int, world: int, kind: str, name: str, param_shapes: list[Mapping[str, Any]]
) -> torch.Tensor:
    """What a rank has of a parameter at ZeRO 3, without padding."""
    group = next(index for index, shapes in enumerate(param_shapes) if name in shapes)
    start = 0
    for other, shape in param_shapes[group].items():
        numel = math.prod(shape)
        share = math.ceil(numel / world)
        if other == name:
            flat: torch.Tensor = saved["optimizer_state_dict"]["state"][group][kind]
            return flat.narrow(0, start, max(0, min(share, numel - rank * share)))
        start += share
    raise AssertionError(name)
