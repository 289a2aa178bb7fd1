"""Means, speed and waiting between two log lines."""

from __future__ import annotations

import math

import pytest
import torch

from ds_nowcast.config import Batch
from ds_nowcast.engine import Stepped
from ds_nowcast.ranks import Ranks
from ds_nowcast.training import meters as meters_module
from ds_nowcast.training.meters import Meters
from ds_nowcast.training.step import StepResult

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
BATCH = Batch(total=8, micro=4, accumulation=2, ranks=1)


class Clock:
    """A clock that tests move."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(meters_module, "time", clock)
    return clock


def step(loss: float, norm: float | None = 2.0, valid: int = 100) -> StepResult:
    return StepResult(torch.tensor(loss), valid, Stepped(True, norm, 1e-3, 1.0))


def nothing_valid() -> StepResult:
    return StepResult(torch.tensor(0.0), 0, None)


def test_speed_and_waiting_count_training_and_not_what_is_beside_it(clock: Clock) -> None:
    meters = Meters(BATCH, ALONE)

    def fetch() -> str:
        clock.now += 1.0
        return "batch"

    def evaluation() -> None:
        clock.now += 50.0

    for _ in range(4):
        assert meters.waiting(fetch) == "batch"
        clock.now += 3.0
        meters.add(step(0.5))
    meters.pause(evaluation)
    values = meters.take(4, 32, 0)
    assert values["samples_per_s"] == pytest.approx(4 * 8 / 16)
    assert values["data_wait"] == pytest.approx(0.25)


def test_the_loss_is_the_mean_of_steps_that_had_a_valid_pixel(clock: Clock) -> None:
    meters = Meters(BATCH, ALONE)
    for result in (step(0.2, valid=40), nothing_valid(), step(0.4, valid=20)):
        meters.add(result)
    clock.now += 1.0
    values = meters.take(3, 24, 1)
    assert values["loss"] == pytest.approx(0.3)
    assert values["valid"] == pytest.approx(20.0)
    assert (values["step"], values["samples"], values["skipped"]) == (3, 24, 1)


def test_without_any_valid_pixel_there_is_no_loss(clock: Clock) -> None:
    meters = Meters(BATCH, ALONE)
    meters.add(nothing_valid())
    clock.now += 1.0
    values = meters.take(1, 8, 0)
    assert math.isnan(values["loss"])
    assert "grad_norm" not in values
    shown = Meters.shown(values)
    assert (shown["grad norm"], "skipped" in shown) == ("-", False)


def test_taking_begins_anew(clock: Clock) -> None:
    meters = Meters(BATCH, ALONE)
    meters.add(step(1.0))
    clock.now += 1.0
    meters.take(1, 8, 0)
    meters.add(step(3.0, norm=None))
    clock.now += 2.0
    values = meters.take(2, 16, 0)
    assert values["loss"] == 3.0
    assert values["samples_per_s"] == pytest.approx(4.0)
    assert "grad_norm" not in values


def test_what_is_shown_names_units_and_skipped_steps(clock: Clock) -> None:
    meters = Meters(BATCH, ALONE)
    meters.add(step(0.012345))
    clock.now += 2.0
    shown = Meters.shown(meters.take(1, 8, 3))
    assert shown["loss"] == "0.01235" or shown["loss"] == "0.01234"
    assert shown["samples/s"] == "4.0"
    assert shown["data wait"] == "0.0%"
    assert shown["lr"] == "1.00e-03"
    assert shown["grad norm"] == "2"
    assert shown["skipped"] == "3"
    assert shown["memory"].endswith(" MB")
