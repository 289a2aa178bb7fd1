"""The clock of a process that may be stopped."""

from __future__ import annotations

import pytest

from ds_nowcast.launch import awake
from ds_nowcast.launch.awake import AwakeClock


def test_it_stands_still_while_nobody_could_read_it_for_whoever_reads_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 100.25, 101.2, 131.2, 131.3, 132.3])  # stopped for 30 s after the third
    monkeypatch.setattr(awake.time, "monotonic", lambda: next(moments))
    clock = AwakeClock(1.0)
    assert [clock() for _ in range(5)] == pytest.approx([100.25, 101.2, 102.2, 102.3, 103.3])
