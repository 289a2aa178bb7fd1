"""An archive that grows while it is looked at: a forecast for each newest frame that is whole, and one line for what is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_prep.errors import DataError, UserError
from data_prep.readers.knmi import KnmiReader
from ds_nowcast.exported import ModelCard
from ds_nowcast.forecasting import arrivals, newest
from ds_nowcast.forecasting.newest import Observed
from ds_nowcast.forecasting.watch import Watch
from tests.data_prep.mortal_reader import MortalReader
from tests.data_prep.readers.conftest import KNMI_ATTRIBUTES, MakeKnmi, make_knmi

__all__ = ["make_knmi"]  # a fixture

FIRST = datetime(2010, 8, 26, 7, 30, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Desk:
    """A watch of a folder with a clock of its own, and the minutes of the forecasts it asked for."""

    def __init__(self, folder: Path, reader: Any = None) -> None:
        folder.mkdir(exist_ok=True)
        kind: Any = SimpleNamespace(
            input_frames=3, cadence_s=300, encoding="dbz8", check_kind=lambda *_, **__: None
        )  # what is asked of a card
        self.clock, self.minutes, self.fails = Clock(), list[int](), list[Exception]()
        self.watch = Watch(reader or KnmiReader(), [str(folder)], kind, clock=self.clock)

    def make(self, past: Observed, began_s: float) -> None:
        assert past.codes_THW.shape == (3, 2, 3) and began_s == self.clock.now_s
        if self.fails:
            raise self.fails.pop()
        self.minutes.append(round((past.times[-1] - FIRST).total_seconds() / 60))

    def looks(self, times: int = 2, after_s: float = 1.0) -> list[int]:
        """The minutes of all forecasts so far, after some more looks."""
        for _ in range(times):
            self.clock.now_s += after_s
            self.watch.look(self.make)
        return self.minutes


@pytest.fixture
def arrives(make_knmi: MakeKnmi, tmp_path: Path) -> Callable[..., Path]:
    """Puts the composite that ends so many minutes after the first into a folder."""

    def arrive(minutes: int, folder: str = "in", name: str = "") -> Path:
        end = (FIRST + timedelta(minutes=minutes)).replace(tzinfo=None)
        words = [(end - timedelta(minutes=ago)).strftime("%d-%b-%Y;%H:%M:%S.000").upper() for ago in (5, 0)]
        times = dict(zip(KNMI_ATTRIBUTES["overview"], (np.array([word.encode()]) for word in words), strict=True))
        made = make_knmi(f"made{minutes}.h5", ((minutes % 100, 1, 12), (1152, 65534, 65535)), **times)
        (tmp_path / folder).mkdir(exist_ok=True)
        return made.rename(tmp_path / folder / (name or f"{1000 + minutes}.h5"))

    return arrive


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "in")


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_each_newest_frame_is_forecast_once_when_the_model_has_all_that_it_takes(
    desk: Desk, arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.looks() == []
    arrives(0)
    arrives(5)
    assert desk.looks() == []
    empty, waits = told(capsys)
    assert "holds no file like" in empty
    assert waits == "waits: frames are without a gap from 2010-08-26T07:30:00Z only, the model takes 3"
    arrives(10)
    assert desk.looks(4) == [10]
    arrives(15)
    arrives(20)
    assert desk.looks(4) == [10, 20]
    assert told(capsys) == []


def test_a_file_that_still_grows_is_left_alone(
    desk: Desk, arrives: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for minutes in (0, 5, 10):
        arrives(minutes)
    assert desk.looks() == [10]
    content, growing = arrives(15, folder="elsewhere").read_bytes(), tmp_path / "in" / "1015.h5"
    for share in (0.0, 0.3, 0.6, 0.9):
        growing.write_bytes(content[: int(share * len(content))])
        assert desk.looks(1) == [10]
    growing.write_bytes(content)
    assert desk.looks(2) == [10, 15]
    assert told(capsys) == []


def test_a_damaged_file_is_told_once_and_taken_when_it_has_come_whole(
    desk: Desk, arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for minutes in (0, 5, 10):
        arrives(minutes)
    path = arrives(15)
    content = path.read_bytes()
    path.write_bytes(content[:500])
    assert desk.looks(100) == [10]
    [line] = told(capsys)
    assert str(path) in line
    path.write_bytes(content)
    assert desk.looks() == [10, 15]
    assert told(capsys) == []


def test_a_file_that_can_be_read_later_though_it_has_not_changed_is_taken_then(
    desk: Desk, arrives: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(newest, "Workers", lambda count: newest_in_process())
    for minutes in (0, 5, 10):
        arrives(minutes)
    reads = KnmiReader.contents

    def unreachable(self: KnmiReader, file: Any) -> Any:
        if file.name.endswith("1010.h5"):
            raise OSError(5, "Input/output error")
        return reads(self, file)

    with monkeypatch.context() as patch:
        patch.setattr(KnmiReader, "contents", unreachable)
        assert desk.looks() == []
    assert any("Input/output error" in line for line in told(capsys))
    assert desk.looks(1) == []  # it rests
    assert desk.looks(1, after_s=arrivals.AGAIN_S[0]) == [10]


def newest_in_process() -> Any:
    from data_prep.workers import InProcess

    return InProcess()


def test_frames_out_of_order_and_a_gap_are_waited_for_with_one_line(
    desk: Desk, arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for minutes in (0, 5, 10):
        arrives(minutes)
    desk.looks()
    arrives(20)
    assert desk.looks(5) == [10]
    arrives(15)
    assert desk.looks(5) == [10, 20]
    assert told(capsys) == ["waits: frames are without a gap from 2010-08-26T07:50:00Z only, the model takes 3"]
    arrives(35)
    arrives(40)
    assert desk.looks() == [10, 20]
    arrives(45)
    assert desk.looks() == [10, 20, 45]
    assert len(told(capsys)) == 1


def test_a_file_that_kills_its_reader_is_passed_over(
    tmp_path: Path, arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path / "in", MortalReader())
    for minutes in (0, 5, 10):
        arrives(minutes)
    arrives(15, name="read-crash.h5")
    assert desk.looks(4) == [10]
    [line] = told(capsys)
    assert "read-crash.h5: its reader died" in line


def test_a_frame_of_a_time_to_come_does_not_stop_all_that_follow(
    desk: Desk, arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for minutes in (0, 5, 10):
        arrives(minutes)
    path = arrives(60 * 24 * 365 * 60)
    assert desk.looks() == [10]
    assert told(capsys) == [f"{path}: is of 2070-08-11T07:30:00Z, which is yet to come"]
    arrives(15)
    assert desk.looks() == [10, 15]
    assert told(capsys) == []


def test_a_disk_that_takes_no_file_is_told_once_and_tried_again(
    desk: Desk, arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for minutes in (0, 5, 10):
        arrives(minutes)
    desk.fails = [DataError("f.nc cannot be written: No space left on device") for _ in range(3)]
    assert desk.looks(3) == []
    assert desk.looks(2) == [10]
    assert told(capsys) == ["f.nc cannot be written: No space left on device"]


def test_what_is_wrong_with_the_command_ends_it(desk: Desk, arrives: Callable[..., Path]) -> None:
    for minutes in (0, 5, 10):
        arrives(minutes)
    desk.fails = [UserError("a forecast in netCDF needs netCDF4")]
    with pytest.raises(UserError, match="netCDF4"):
        desk.looks()


def test_an_archive_of_another_kind_is_told_naming_both(
    desk: Desk, arrives: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    desk.watch.card = ModelCard.model_construct(
        input_frames=3, cadence_s=300, encoding="dbz8", unit="mm/h", pixel=(2000.0, 2000.0), pixel_unit="m"
    )
    for minutes in (0, 5, 10):
        arrives(minutes)
    assert desk.looks(5) == []
    [line] = told(capsys)
    assert "has pixel size 1000 x 1000 m where the model was trained on 2000 x 2000 m" in line


def test_each_file_is_opened_to_be_listed_once_and_forgotten_when_it_has_gone(
    desk: Desk, arrives: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "Workers", lambda count: newest_in_process())
    listed, listing = list[str](), KnmiReader.listed
    monkeypatch.setattr(KnmiReader, "listed", lambda self, path: listed.append(path.name) or listing(self, path))
    for minutes in range(0, 50, 5):
        arrives(minutes)
        desk.looks()
        if minutes >= 20:
            os.unlink(desk.watch.sources[0] + f"/{1000 + minutes - 20}.h5")
    assert desk.minutes == list(range(10, 50, 5))
    assert listed == [f"{1000 + minutes}.h5" for minutes in range(0, 50, 5)]
    desk.looks()
    assert len(desk.watch._arrivals._files) == 4


def test_a_folder_as_a_source_of_stores_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Stores(KnmiReader):
        def files(self, sources: Any) -> list[Path]:
            return [tmp_path]

    assert Desk(tmp_path / "in", Stores()).looks() == []
    assert "is not an ordinary file; --watch looks at files" in told(capsys)[0]
