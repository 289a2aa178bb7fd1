"""Which part of a step time falls to, with a clock and collectives made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ds_nowcast.measuring import clock as module
from ds_nowcast.measuring.clock import StepClock
from ds_nowcast.measuring.feeds import FEWEST, timed


class Hands:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = self.seconds = 0.0  # seconds: in collectives, as Traffic has it

    def work(self, seconds: float) -> None:
        self.now += seconds

    def collective(self, seconds: float) -> None:
        self.now += seconds
        self.seconds += seconds


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    """Takes the place of the machine's clock."""
    hands = Hands()
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: hands.now))
    return hands


def clock_of(hands: Any) -> StepClock:
    return StepClock(torch.device("cpu"), hands)


def test_communication_is_taken_out_of_what_it_happens_in(hands: Hands) -> None:
    clock = clock_of(hands)
    for _ in range(2):  # the second step begins anew
        with clock.step():
            with clock.waiting():
                hands.work(1)
            hands.work(2)
            hands.collective(4)
            with clock.running():
                hands.work(8)
                hands.collective(16)
                with clock.optimizer():
                    hands.work(32)
                    hands.collective(64)
                hands.work(128)
    split = clock.split
    assert split == (255, 8 + 128, 4 + 16 + 64, 1, 32, 2)
    assert sum(split[1:]) == split.step


def test_so_many_steps_are_timed_or_as_many_as_all_ranks_want(hands: Hands) -> None:
    clock, asked = clock_of(hands), list[bool]()

    def make(enough: bool) -> bool:
        asked.append(enough)
        hands.work(len(asked))
        return not enough

    assert [split.step for split in timed(make, clock, 4, None)] == [1, 2, 3, 4]
    asked.clear()
    assert [split.step for split in timed(make, clock, 100, 1e-9)] == [1, 2, 3]
    assert asked == [False] * FEWEST + [True]
    assert timed(make, clock, 0, None) == []
