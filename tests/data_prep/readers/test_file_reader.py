"""What all readers of single files have from their base, whatever a damaged file makes of its format."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from data_prep import projection
from data_prep.errors import RadarFileError, UserError
from data_prep.projection import ProjectionError
from data_prep.readers import Each, Product, in_turn
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.hdf5 import require_h5py
from data_prep.readers.raster import require_rasterio
from tests.data_prep.fake_files import READER as _READER
from tests.data_prep.fake_files import FakeFiles, add_file

assert isinstance(_READER, FileReader)
READER: FileReader = _READER


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ({"time": "0001-01-01T00:00:00+00:00"}, "its time is 1-01-01 00:00, expected one from 1950 to 2099"),
        ({"time": "9999-12-31T23:58:00+00:00"}, "its time is 9999-12-31 23:58, expected one from 1950 to 2099"),
        ({"products": [["ra\x1b[2Jin", "mm/h"]]}, r"its product's name is 'ra\x1b[2Jin', expected a short text"),
        ({"products": [["r" * 101, "mm/h"]]}, "expected a short text"),
        ({"west": float("inf")}, "expected finite numbers"),
        ({"formats": []}, "cannot be read as fakefiles (ValueError: is of another format)"),
        ({"products": 7}, "cannot be read as fakefiles (TypeError: "),
    ],
)
def test_what_would_stop_a_build_of_all_others_is_the_files_own_error(
    tmp_path: Path, says: dict[str, Any], reason: str
) -> None:
    path = add_file(tmp_path / "archive", 0, **says)
    add_file(tmp_path / "archive", 1)
    with pytest.raises(RadarFileError) as error:
        READER.frames(path)
    assert reason in str(error.value) and str(error.value).startswith(str(path))
    found = READER.scan([str(tmp_path / "archive")])
    assert len(found.recordings) + len(found.left_out) == 2 and found.recordings[-1].name == "001.fake"
    if len(found.recordings) == 2:  # its headers are sound
        with pytest.raises(RadarFileError) as error:
            READER.read(found.recordings[0])
        assert reason in str(error.value)


@pytest.mark.parametrize("interval_s", [0, -300])
def test_a_frame_over_no_time_is_left_out_and_others_of_the_file_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval_s: int
) -> None:
    entries = [
        Entry(datetime(2020, 1, 1, tzinfo=UTC), Product("rain", "mm/h"), interval_s=seconds)
        for seconds in (interval_s, 300)
    ]
    monkeypatch.setattr(FakeFiles, "contents", lambda *given: entries)
    path = add_file(tmp_path / "archive", 0)
    found = READER.listed(path)
    assert [entry.interval_s for _, entry in found.entries] == [300]
    assert found.left_out == [(str(path), "unreadable", f"its frame covers {interval_s} s, expected more than 0")]
    with pytest.raises(RadarFileError, match=rf"000.fake: its frame covers {interval_s} s, expected more than 0"):
        READER.frames(path)


def test_a_projection_that_pyproj_refuses_is_the_files_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: object) -> object:
        raise ProjectionError("PROJ string '+proj=x' is refused")

    monkeypatch.setattr(FakeFiles, "contents", refused)
    path = add_file(tmp_path / "archive", 0)
    with pytest.raises(RadarFileError, match=r"000.fake: PROJ string '\+proj=x' is refused"):
        READER.listed(path)


def test_of_a_tar_each_bad_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    with tarfile.open(tmp_path / "archive" / "day.tar", "w") as day:
        for step in range(3):
            content = add_file(tmp_path / "made", step).read_bytes() if step != 1 else b"{"
            item = tarfile.TarInfo(f"{step}.fake")
            item.size = len(content)
            day.addfile(item, io.BytesIO(content))
    found = READER.scan([str(tmp_path / "archive")])
    assert [recording.member for recording in found.recordings] == ["0.fake", "2.fake"]
    [left_out] = found.left_out
    assert left_out.what.endswith("day.tar/1.fake") and left_out.reason == "unreadable"


@pytest.mark.parametrize(
    ("name", "require"), [("rasterio", require_rasterio), ("h5py", require_h5py), ("pyproj", projection._pyproj)]
)
def test_a_library_that_is_there_but_cannot_be_loaded_is_not_called_absent(
    monkeypatch: pytest.MonkeyPatch, name: str, require: Callable[[], Any]
) -> None:
    class Loader:
        def find_spec(self, wanted: str, *others: object) -> None:
            if wanted == name:
                raise ImportError(f"lib{name}.so: failed to map segment from shared object")

    monkeypatch.delitem(sys.modules, name, raising=False)
    with monkeypatch.context() as context:
        context.setattr(sys, "meta_path", [Loader()])
        with pytest.raises(ImportError, match="failed to map segment"):  # of a reader it is the file's error
            require()
        context.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=f"needs? .*{name}, which is not installed"):
            require()


def test_pipes_and_devices_are_named_and_not_waited_for(tmp_path: Path) -> None:
    add_file(tmp_path / "archive", 0)
    os.mkfifo(tmp_path / "archive" / "1.fake")
    (tmp_path / "archive" / "2.fake").symlink_to("/dev/zero")
    (tmp_path / "archive" / "3.fake").symlink_to("/nowhere")
    found = READER.scan([str(tmp_path / "archive")])
    assert len(found.recordings) == 1
    assert {Path(one.what).name: one.detail for one in found.left_out} == {
        "1.fake": "is a pipe or a device, expected an ordinary file",
        "2.fake": "is a pipe or a device, expected an ordinary file",
        "3.fake": "cannot be read as fakefiles (FileNotFoundError: No such file or directory)",
    }


def test_an_error_in_a_list_keeps_nothing_of_what_was_read(tmp_path: Path) -> None:
    path = add_file(tmp_path / "archive", 0, formats=[])
    each: Each = in_turn
    [error] = each(READER.listed, [path])
    assert isinstance(error, RadarFileError) and error.path == str(path)
    assert error.__traceback__ is None and error.__cause__ is None
