"""`forecast --watch` as an operator runs it: files arrive as they do, it is ended or killed at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray

from ds_nowcast import forecast
from ds_nowcast.forecasting import outputs
from tests.data_prep.readers.conftest import MakeKnmi, make_knmi
from tests.ds_nowcast.test_forecast import knmi
from tests.launching import ROOT

__all__ = ["MakeKnmi", "knmi", "make_knmi"]  # fixtures

NAME = "rain_%Y%m%dT%H%M.nc"
PATIENCE_S = 60.0


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Where files arrive, and where forecasts go."""
    arriving, made = tmp_path / "arriving", tmp_path / "made"
    arriving.mkdir()
    made.mkdir()
    return arriving, made


@pytest.fixture
def arrives(knmi: Callable[[int], Path], folders: tuple[Path, Path]) -> Callable[..., Path]:
    def arrive(*minutes: int) -> Path:
        for minute in minutes:
            made = knmi(minute)
            path = made.rename(folders[0] / made.name)
        return path

    return arrive


def words(run: Path, folders: tuple[Path, Path], *more: str) -> list[str]:
    arriving, made = map(str, folders)
    where = ["--source", arriving, "--out", f"{made}/{NAME}"]
    return ["--run", str(run), "--format", "knmi", *where, "--watch", "--every", "0.1", *more]


@pytest.fixture
def started(
    dutch_run: Path, folders: tuple[Path, Path], tmp_path: Path
) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the command as a process, and ends what is left of it."""
    running: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        with open(tmp_path / "out", "a") as out, open(tmp_path / "err", "a") as err:
            command = [sys.executable, "-m", "ds_nowcast.forecast", *words(dutch_run, folders)]
            running.append(subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def minutes_of(path: Path) -> float:
    """The minute that the first pixel holds, which is of the last frame that was read."""
    with xarray.open_dataset(path) as file:
        return float(file["rainfall_rate"][0, 0, 0]) / 0.12


@pytest.mark.launch
def test_it_forecasts_what_arrives_whole_and_ends_cleanly(
    started: Callable[[], subprocess.Popen[str]], arrives: Callable[..., Path], knmi: Callable[[int], Path],
    folders: tuple[Path, Path], tmp_path: Path,
) -> None:  # fmt: skip
    arriving, made = folders
    process = started()
    arrives(0, 5, 10)
    until(lambda: (made / "rain_20100826T0740.nc").exists())

    content = knmi(15).read_bytes()  # written slowly, in place
    slow = arriving / "1015.h5"
    for start in range(0, len(content), len(content) // 8 + 1):
        with open(slow, "ab") as file:
            file.write(content[start : start + len(content) // 8 + 1])
        time.sleep(0.05)
    until(lambda: (made / "rain_20100826T0745.nc").exists())

    damaged = arriving / "1020.h5"
    whole = knmi(20).read_bytes()
    damaged.write_bytes(whole[:700])
    arrives(25)  # after a gap, as long as that is damaged
    until(lambda: "1020.h5" in (tmp_path / "err").read_text() and "waits: " in (tmp_path / "err").read_text())
    aside = arriving / ".1020.h5.part"
    aside.write_bytes(whole)
    aside.rename(damaged)  # whole at last
    until(lambda: (made / "rain_20100826T0755.nc").exists())

    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert sorted(path.name for path in made.iterdir()) == [
        f"rain_20100826T07{minute}.nc" for minute in (40, 45, 55)
    ]  # 50 came too late to be the newest
    assert minutes_of(made / "rain_20100826T0755.nc") == pytest.approx(25, rel=0.04)
    printed = (tmp_path / "out").read_text().splitlines()
    assert [line.split()[2] for line in printed if line.startswith("forecast from")] == [
        f"2010-08-26T07:{minute}:00Z" for minute in (40, 45, 55)
    ]
    assert printed[-1] == "stopped by SIGTERM"


@pytest.mark.launch
def test_killed_at_any_moment_it_leaves_whole_files_and_takes_away_the_rest_when_it_starts_again(
    started: Callable[[], subprocess.Popen[str]], arrives: Callable[..., Path], folders: tuple[Path, Path]
) -> None:
    made = folders[1]
    arrives(0, 5, 10)
    for number in range(4):
        process = started()
        until(lambda: (made / "rain_20100826T0740.nc").exists())
        for minute in range(15 + 20 * number, 35 + 20 * number, 5):
            arrives(minute)
            time.sleep(0.03 * (number + 1))
        process.kill()
        process.wait()
        assert all(minutes_of(path) >= 0 for path in made.glob("*.nc"))
        assert all(path.name.endswith((".nc", ".nc.partial")) for path in made.iterdir())
    (made / ".rain_20100826T0700.nc.partial").write_bytes(b"CDF")
    (made / ".other.nc.partial").write_bytes(b"CDF")
    process = started()
    until(lambda: (made / "rain_20100826T0900.nc").exists())
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    assert [path.name for path in made.iterdir() if "partial" in path.name] == [".other.nc.partial"]


def watched(
    run: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[list[str], str]:
    """In this process: the files made, and the last line. Something must send a signal."""
    assert forecast.main(words(run, folders, *more)) == 0
    made = sorted(path.name for path in folders[1].iterdir())
    return made, capsys.readouterr().out.splitlines()[-1]


def then_stop(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    def stopping(*args: Any, **named: Any) -> Any:
        os.kill(os.getpid(), number)
        return function(*args, **named)

    return stopping


def test_asked_to_end_while_the_model_runs_it_drops_the_forecast(
    dutch_run: Path, folders: tuple[Path, Path], arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arrives(0, 5, 10)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(forecast, "forecast_of", then_stop(forecast.forecast_of, signal.SIGTERM))
    assert watched(dutch_run, folders, capsys) == ([], "stopped by SIGTERM")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_while_it_writes_it_finishes_the_forecast(
    dutch_run: Path, folders: tuple[Path, Path], arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, number: int,
) -> None:  # fmt: skip
    arrives(0, 5, 10)
    monkeypatch.setattr(outputs, "write_forecast", then_stop(outputs.write_forecast, number))
    made, last = watched(dutch_run, folders, capsys)
    assert made == ["rain_20100826T0740.nc"] and last == f"stopped by {signal.Signals(number).name}"


def test_a_name_without_a_time_is_replaced_by_each_forecast(
    dutch_run: Path, folders: tuple[Path, Path], arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arrives(0, 5, 10)
    write, seen = outputs.write_forecast, list[float]()

    def next_one(path: Path, *args: Any, **named: Any) -> None:
        write(path, *args, **named)
        seen.append(minutes_of(path))
        arrives(10 + 5 * len(seen))
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(outputs, "write_forecast", next_one)
    out = folders[1] / "rain.nc"
    assert watched(dutch_run, folders, capsys, "--out", str(out))[0] == ["rain.nc"]
    assert seen == pytest.approx([10, 15, 20], rel=0.04)


def test_an_archive_of_finished_events_is_not_watched(
    dutch_run: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert forecast.main(words(dutch_run, folders, "--format", "sevir")) == 2
    assert "an archive of format sevir does not grow by files of frames; leave --watch out" in capsys.readouterr().err
