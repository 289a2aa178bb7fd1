"""A wish to stop: raised by signals or the launcher's disappearance, and forgotten behind the training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ds_nowcast.training.stop import SIGNALS, StopRequest
from tests.launching import ROOT


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_is_remembered_by_name_and_does_not_interrupt(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert stop.reason is None
        os.kill(os.getpid(), number)
        assert stop.reason == number.name
    assert signal.getsignal(number) is before


def test_signals_do_what_they_did_before_also_behind_an_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(ZeroDivisionError), StopRequest():
        _ = 1 / 0
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_the_launchers_disappearance_is_a_wish_to_stop() -> None:
    launcher = "import os, sys; pid = os.fork()\nif pid:\n    sys.stdin.readline(); os._exit(0)\n"
    rank = (
        "import time\nfrom ds_nowcast.training.stop import StopRequest\n"
        "with StopRequest() as stop:\n"
        "    print(stop.reason, flush=True)\n"
        "    deadline = time.monotonic() + 20\n"
        "    while stop.reason is None and time.monotonic() < deadline: time.sleep(0.01)\n"
        "    print(stop.reason, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", launcher + rank], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "None\n"
    process.stdin.write("leave\n")
    process.stdin.flush()
    assert process.stdout.readline() == "the launcher has gone\n"
    process.stdin.close()
    process.stdout.close()
    process.wait()
