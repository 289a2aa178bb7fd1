"""Commands that end, do not end, and are left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from data_prep.errors import DataError, UserError
from ds_nowcast.measuring import session
from ds_nowcast.measuring.outcomes import outcome_of
from ds_nowcast.measuring.session import run
from tests.launching import ROOT, command_of, until

pytestmark = pytest.mark.slow  # seconds of processes

# a process that starts another and waits for it; the other ignores SIGTERM where it is told to
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
child.wait()
"""
SLEEPS = "import time; time.sleep(300)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEPS}"
RUNS = """
import os, sys
from pathlib import Path
from data_prep.console import ends_politely
from ds_nowcast.measuring.session import run
sys.exit(ends_politely(lambda: run([sys.executable, *sys.argv[2:]], Path(sys.argv[1]), 300, os.environ).code))
"""
# to itself, when it begins to fork: what a handler raises there is lost
SENT_AT_FORK = "import os, signal; os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.{number}))"


def gone(log: Path) -> bool:
    """Whether the child that a log names has ended."""
    pid = int(log.read_text().split()[0])
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_command_that_ends_leaves_its_code_and_all_it_said(tmp_path: Path) -> None:
    code = "import os, sys; print('out'); print('err', file=sys.stderr); sys.exit(int(os.environ['CODE']))"
    ended = run([sys.executable, "-c", code], tmp_path / "log", 60, {**os.environ, "CODE": "3"})
    assert (ended.code, ended.in_time) == (3, True) and 0 < ended.seconds < 60
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


def test_past_its_time_it_ends_with_all_that_it_started(tmp_path: Path) -> None:
    ended = run([sys.executable, "-c", PARENT, SLEEPS], tmp_path / "log", 1.5, os.environ)
    assert not ended.in_time and ended.seconds < 20 and gone(tmp_path / "log")


def test_what_is_deaf_to_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_GRACE_S", 0.3)
    ended = run([sys.executable, "-c", PARENT, DEAF], tmp_path / "log", 1.5, os.environ)
    assert not ended.in_time and gone(tmp_path / "log")


def test_children_of_a_command_that_has_ended_do_not_stay(tmp_path: Path) -> None:
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]).pid)"
    ended = run([sys.executable, "-c", code], tmp_path / "log", 60, os.environ)
    assert (ended.code, ended.in_time) == (0, True) and gone(tmp_path / "log")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_when_we_end_it_ends(tmp_path: Path, number: int, code: int) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", RUNS, str(log), "-c", SLEEPS + "  # marked " + str(tmp_path)]
    ours = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    until(lambda: log.exists() and psutil.Process(ours.pid).children(), 30, "the command")
    started = psutil.Process(ours.pid).children()
    until(lambda: "marked" in " ".join(started[0].cmdline()), 30, "the command")
    ours.send_signal(number)
    assert ours.wait(60) == code
    until(lambda: not any(child.is_running() and child.status() != "zombie" for child in started), 30, "its end")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_in_the_midst_of_a_fork_ends_us_and_what_was_started(tmp_path: Path, name: str, code: int) -> None:
    words = [str(tmp_path / "log"), "-c", PARENT, SLEEPS + "  # marked " + str(tmp_path)]
    command = [sys.executable, "-c", SENT_AT_FORK.format(number=name) + RUNS, *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (code, "terminated\n" if name == "SIGTERM" else "interrupted\n")
    assert not [p for p in psutil.process_iter() if f"marked {tmp_path}" in " ".join(command_of(p))]


def test_too_little_memory_is_found_out_for_real(tmp_path: Path) -> None:
    code = "import resource as r; r.setrlimit(r.RLIMIT_AS, (2**31, 2**31)); import numpy; numpy.ones(2**40)"
    ended = run([sys.executable, "-c", code], tmp_path / "log", 60, os.environ)
    outcome = outcome_of(ended.code, tmp_path / "log", ended.seconds, None)
    assert outcome.ended == "out_of_memory" and "Unable to allocate 8.00 TiB" in outcome.reason


def test_a_killed_command_is_taken_for_want_of_memory(tmp_path: Path) -> None:
    ended = run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path / "log", 60, os.environ)
    assert outcome_of(ended.code, tmp_path / "log", ended.seconds, None).ended == "out_of_memory"


def test_what_cannot_be_started_or_noted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be started"):
        run([str(tmp_path / "none")], tmp_path / "log", 1, {})
    with pytest.raises(DataError, match="cannot be written"):
        run([sys.executable], tmp_path / "none/log", 1, {})
