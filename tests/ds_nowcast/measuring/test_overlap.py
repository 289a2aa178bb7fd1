"""How much of a GPU's collectives nothing else covers, from profiles made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch.autograd import DeviceType  # type: ignore[attr-defined]

from ds_nowcast.measuring.clock import OPTIMIZER, RUNNING, Split
from ds_nowcast.measuring.overlap import common, exposed, merged, without

CPU, CUDA = DeviceType.CPU, DeviceType.CUDA


def event(name: str, start: float, end: float, device: Any = CUDA, annotation: bool = False) -> SimpleNamespace:
    """Of a profile, milliseconds."""
    times = SimpleNamespace(start=1e3 * start, end=1e3 * end)
    return SimpleNamespace(name=name, time_range=times, device_type=device, is_user_annotation=annotation)


def test_spans_are_joined_subtracted_and_intersected() -> None:
    assert merged([(5, 6), (0, 2), (1, 3), (3, 4)]) == [(0, 4), (5, 6)]
    assert without([(0, 4), (5, 6)], [(1, 2), (3, 5.5)]) == [(0, 1), (2, 3), (5.5, 6)]
    assert without([(0, 4)], [(-1, 9)]) == [] and without([(0, 4)], [(4, 5)]) == [(0, 4)]
    assert common([(0, 4), (5, 6)], [(3, 5.5), (7, 8)]) == 1.5


def test_only_collectives_that_nothing_covers_are_waited_for() -> None:
    events = [
        event(RUNNING, 0, 100, CPU),
        event(RUNNING, 0, 100, annotation=True),  # its shadow on the device covers nothing
        event(OPTIMIZER, 80, 100, CPU),
        event("aten::conv2d", 0, 100, CPU),
        event("sm90_conv", 0, 50),
        event("ncclDevKernel_AllReduce", 40, 60),  # 10 ms alone
        event("nccl:all_reduce", 40, 60, annotation=True),
        event("ncclDevKernel_AllGather", 85, 95),  # 7 ms alone
        event("adam", 80, 88),
        event("ncclDevKernel_AllReduce", 120, 130),  # outside of the step
    ]
    found = exposed(events, 2)
    assert found == pytest.approx((0.0085, 0.0035))
    split = Split(0.1, 0.07, 0.0, 0.0, 0.02, 0.01).exposing(*found)
    assert split == pytest.approx((0.1, 0.065, 0.0085, 0.0, 0.0165, 0.01))
