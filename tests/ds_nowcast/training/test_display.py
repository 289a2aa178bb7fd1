"""What is shown on a terminal, elsewhere, with --quiet, and on other ranks."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from ds_nowcast.training import display as display_module
from ds_nowcast.training.display import Display
from tests.launching import ROOT

VALUES = {"loss": "0.01234", "lr": "1.00e-03"}


def run(display: Display, *, start: int = 0, step: int = 5) -> None:
    with display:
        display.say("2 ranks [cpu]")
        display.begin(start)
        display.step(step, VALUES)
        display.warn("checkpoint is damaged")


def test_without_a_terminal_it_prints_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    run(Display(10, speaks=True))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 ranks [cpu]"
    assert re.fullmatch(r"step 5/10  loss 0\.01234  lr 1\.00e-03  left \d+ s", lines[1])
    assert lines[2:] == ["warning: checkpoint is damaged"]


def test_quiet_hides_all_but_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    run(Display(10, speaks=True, quiet=True))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "warning: checkpoint is damaged\n"


def test_other_ranks_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run(Display(10, speaks=False))
    assert capsys.readouterr() == ("", "")


def test_the_time_left_counts_this_launchs_steps_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 100.0, 120.0])  # made, begun, 10 steps later
    monkeypatch.setattr(display_module.time, "monotonic", lambda: next(clock, 120.0))
    display = Display(1000, speaks=True)
    display.begin(900)
    display.step(910, VALUES)
    assert "left 180 s" in capsys.readouterr().out


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 100 columns is sent."""
    screen = io.StringIO()

    def console(**options: bool) -> Console:
        return Console(file=screen, force_terminal=True, width=100, color_system=None, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(display_module, "Screen", console)
    return screen


def test_on_a_terminal_the_panel_shows_the_present_state(terminal: io.StringIO) -> None:
    run(Display(10, speaks=True), start=2)
    shown = terminal.getvalue()
    assert "5/10" in shown
    assert "loss 0.01234" in shown
    assert "warning: checkpoint is damaged" in shown
    assert "left" not in shown, "the plain line is for other outputs"


def test_the_terminal_is_put_back_behind_an_error(terminal: io.StringIO) -> None:
    with pytest.raises(ZeroDivisionError), Display(10, speaks=True):
        _ = 1 / 0
    assert "\x1b[?25l" in terminal.getvalue(), "the cursor is hidden while the panel lives"
    assert terminal.getvalue().rstrip("\n").endswith("\x1b[?25h")


def test_a_run_goes_on_where_nobody_looks_at_it_any_more() -> None:
    reading, writing = os.pipe()
    code = (
        "from ds_nowcast.training.display import Display\n"
        "with Display(10, speaks=True) as display:\n"
        "    display.say('seen'); input()\n"
        "    for step in range(3): display.step(step, {}); display.warn('unseen')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=writing, stderr=writing, text=True
    )
    os.close(writing)
    assert os.read(reading, 100) == b"seen\n"
    os.close(reading)
    process.communicate("go on\n")
    assert process.returncode == 0
