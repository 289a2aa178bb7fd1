"""What each scored window adds to the scores, for resampling windows and for choosing cases: `windows.jsonl`.

Names: B windows, T lead times, K thresholds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


class WindowSums(NamedTuple):
    """Of one forecast of a window: sums over its scored pixels and lead times, errors in model space."""

    squared_error: float
    absolute_error: float
    hits: list[int]  # K
    misses: list[int]
    false_alarms: list[int]

    def to_json(self) -> dict[str, Any]:
        """As a line of `windows.jsonl` has it; an error that is no number is None."""
        errors = {name: _finite(getattr(self, name)) for name in ("squared_error", "absolute_error")}
        return errors | {name: getattr(self, name) for name in ("hits", "misses", "false_alarms")}


@dataclass(frozen=True)
class WindowRecord:
    """One scored window."""

    window: int  # its place among the split's
    key: str  # of its sequence
    start: int  # its first frame
    time: str  # of the last observation; "" where its samples do not say
    pixels: int  # scored, over all lead times
    forecasts: Mapping[str, WindowSums]  # by forecast: the model and the baselines

    def mean_squared_error(self, forecast: str) -> float:
        """Of a forecast over the scored pixels; 0 where there are none."""
        return self.forecasts[forecast].squared_error / max(self.pixels, 1)

    def line(self) -> str:
        """A line of `windows.jsonl`."""
        about = {name: getattr(self, name) for name in ("window", "key", "start", "time", "pixels")}
        return json.dumps(about | {name: sums.to_json() for name, sums in self.forecasts.items()}, allow_nan=False)


def lines(records: Iterable[WindowRecord]) -> bytes:
    """The content of `windows.jsonl`, in the order of the windows."""
    return "".join(record.line() + "\n" for record in sorted(records, key=lambda record: record.window)).encode()


def window_sums(
    prediction_BTHW: Tensor, target_BTHW: Tensor, valid_BTHW: Tensor, thresholds: Tensor
) -> list[WindowSums]:
    """What each window of a batch adds. valid_BTHW: the pixels that count. thresholds: (K,) in model space."""
    difference_BTHW = torch.where(valid_BTHW, prediction_BTHW - target_BTHW, 0.0)
    # minus infinity reaches no threshold: one comparison then asks "valid and an event"
    forecast_BTHW = torch.where(valid_BTHW, prediction_BTHW, -math.inf)
    observed_BTHW = torch.where(valid_BTHW, target_BTHW, -math.inf)
    counts = []
    for threshold in thresholds:
        said_BTHW, was_BTHW = forecast_BTHW >= threshold, observed_BTHW >= threshold
        counts.append(
            [
                torch.stack([torch.count_nonzero(one) for one in mask])
                for mask in (said_BTHW & was_BTHW, said_BTHW, was_BTHW)
            ]
        )
    table_3KB = (
        torch.stack([torch.stack(column) for column in counts], 1).cpu()
        if counts
        else torch.zeros(3, 0, len(prediction_BTHW))
    )
    hits_BK, said_BK, was_BK = (part.T.long() for part in table_3KB)
    errors = [e.double().sum((1, 2, 3)).tolist() for e in (difference_BTHW.square(), difference_BTHW.abs())]
    columns = [part.tolist() for part in (hits_BK, was_BK - hits_BK, said_BK - hits_BK)]
    return [WindowSums(*row) for row in zip(*errors, *columns, strict=True)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
