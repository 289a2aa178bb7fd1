from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.building.layout import WHOLE_FRAMES, AnotherGridError, Cutting, Layout, read_recording, read_sequence
from data_prep.building.sequences import FrameRef, Sequence
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Grid, RadarFrame
from data_prep.readers import Recording
from tests.data_prep.fake_builds import archive_plan
from tests.data_prep.fake_reader import RAIN, READER, FakeArchive, at

LAYOUT = Layout((12, 12), (1000.0, 1000.0), "m", WHOLE_FRAMES, "dbz8")
GRID = Grid((12, 12), "+proj=laea", (1000.0, 1000.0), 0.0, 0.0)


class Frames:
    """A reader of one frame per recording, whose grid and time are given."""

    name, unit, encoding, cadence_s, split_dates = "frames", "mm/h", "dbz8", 300, None

    def __init__(self, *grids: Grid, late: float = 0.0) -> None:
        self.grids, self.late, self.calls = grids, late, list[int]()

    def read(self, recording: Recording) -> list[RadarFrame]:
        self.calls.append(recording.item)
        grid, time = self.grids[recording.item], recording.times[0] + timedelta(seconds=self.late)
        return [RadarFrame(np.zeros(grid.shape, np.float32), "mm/h", time, grid)]


def run(count: int) -> tuple[dict[int, Recording], Sequence]:
    recordings = {number: Recording(Path("f"), number, (at(number),), RAIN) for number in range(count)}
    times = tuple(at(number) for number in range(count))
    return recordings, Sequence("s", tuple(FrameRef(number, 0) for number in range(count)), times)


def read(*grids: Grid, layout: Layout = LAYOUT) -> tuple[NDArray[np.uint8], Grid]:
    return read_sequence(Frames(*grids), *run(len(grids)), layout)  # type: ignore[arg-type]


def test_codes_and_grid_have_the_layouts_shape() -> None:
    codes_THW, grid = read(GRID, GRID, layout=replace(LAYOUT, cutting=Cutting(crop=6)))
    assert codes_THW.shape == (2, 6, 6) and codes_THW.dtype == np.uint8
    assert grid == GRID.crop(3, 3, 6, 6)


@pytest.mark.parametrize(
    "other",
    [
        replace(GRID, shape=(12, 13)),
        replace(GRID, pixel=(1000.0, 2000.0)),
        replace(GRID, west=600.0),
        replace(GRID, north=-600.0),
        replace(GRID, proj="+proj=merc"),
    ],
    ids=["shape", "pixel", "west", "north", "projection"],
)
def test_a_frame_on_another_grid_is_refused(other: Grid) -> None:
    with pytest.raises(AnotherGridError):
        read(GRID, other)


def test_rounding_in_an_archives_headers_is_no_other_grid() -> None:
    read(GRID, replace(GRID, pixel=(1000.2, 999.9), west=3.0))


def test_sequences_of_other_places_fit_one_layout() -> None:
    assert read(replace(GRID, west=5e5, proj="+proj=merc"))[1].west == 5e5


def test_a_frame_of_a_time_other_than_listed_is_unreadable() -> None:
    recording = Recording(Path("f"), 0, (at(0),), RAIN)
    assert len(read_recording(Frames(GRID, late=0.5), recording)) == 1  # type: ignore[arg-type]
    with pytest.raises(RadarFileError, match="its listing says 2020-01-01T00:00:00Z"):
        read_recording(Frames(GRID, late=300), recording)  # type: ignore[arg-type]


def test_a_file_that_cannot_be_opened_is_unreadable() -> None:
    recording = Recording(Path("/nowhere/f.npy"), 0, (at(0),), RAIN)
    with pytest.raises(RadarFileError, match=r"^/nowhere/f\.npy: No such file or directory$"):
        read_recording(READER, recording)


def test_the_layout_is_that_of_most_and_needs_a_readable_file(archive: FakeArchive, tmp_path: Path) -> None:
    times = [at(step) for step in range(6)]
    archive.add("odd.npy", times, "A", np.zeros((6, 5, 5), np.float32))
    archive.add_events(4)
    assert archive_plan(archive, tmp_path, split="train").layout.archive_shape == (12, 12)
    (archive.folder / "e003.npy").write_bytes(b"")
    assert archive_plan(archive, tmp_path, split="train").layout.archive_shape == (12, 12)
    for path in archive.folder.glob("*.npy"):
        path.write_bytes(b"")
    with pytest.raises(RadarFileError):
        archive_plan(archive, tmp_path, split="train")


def test_a_crop_larger_than_the_frames_is_refused(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(1)
    with pytest.raises(UserError, match="crop=13 is larger than the 12 x 12 pixels of a frame; give 12 or less"):
        archive_plan(archive, tmp_path, split="train", crop=13)
