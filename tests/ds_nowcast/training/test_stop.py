"""A wish to stop: raised by signals or the launcher's disappearance, and forgotten behind the training."""

from __future__ import annotations

import os
import signal

import pytest

from ds_nowcast.launch.ending import Launch
from ds_nowcast.training.stop import SIGNALS, StopRequest


class Watched(Launch):
    """A launch whose launcher can go; notes who sees to its end."""

    gone = False

    def __init__(self) -> None:
        super().__init__(None)
        self.itself: list[bool] = []

    @property
    def launcher_gone(self) -> bool:
        return self.gone

    def stops_itself(self, does: bool) -> None:
        self.itself.append(does)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_is_remembered_by_name_and_does_not_interrupt(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest(Launch(None)) as stop:
        assert stop.reason is None
        os.kill(os.getpid(), number)
        assert stop.reason == number.name
    assert signal.getsignal(number) is before


def interrupt_twice() -> None:
    with StopRequest(Launch(None)) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.reason == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_ctrl_c_ends_at_once_what_cannot_be_waited_for() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def fail(launch: Watched) -> None:
    with StopRequest(launch):
        assert launch.itself == [True], "the watchdog leaves the end to us"
        raise ZeroDivisionError


def test_signals_do_what_they_did_before_also_behind_an_error() -> None:
    before, launch = [signal.getsignal(number) for number in SIGNALS], Watched()
    with pytest.raises(ZeroDivisionError):
        fail(launch)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert launch.itself == [True, False]


def test_the_launchers_disappearance_is_a_wish_to_stop() -> None:
    launch = Watched()
    with StopRequest(launch) as stop:
        assert stop.reason is None
        launch.gone = True
        assert stop.reason == "the launcher has gone"


def test_the_first_reason_stays() -> None:
    launch = Watched()
    with StopRequest(launch) as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        launch.gone = True
        assert stop.reason == "SIGUSR1"


def test_a_signal_that_came_before_there_was_anything_to_stop_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Launch, "asked_to_stop", "SIGUSR1")
    with StopRequest(Launch(None)) as stop:
        assert stop.reason == "SIGUSR1"
