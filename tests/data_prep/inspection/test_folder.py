from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import DataError
from data_prep.frames import Grid
from data_prep.inspection.as_json import folder_json
from data_prep.inspection.folder import look_at_folder, samples_at, shard_with
from data_prep.inspection.places import places_of
from data_prep.inspection.samples import THUMBNAIL, thumbnail, thumbnail_grid
from data_prep.shards.index import Shards, open_shards
from data_prep.shards.stored import frames_at
from tests.data_prep.fake_builds import build_shards
from tests.data_prep.fake_reader import FakeArchive, at
from tests.shard_maker import make_shards

LONGLAT = Grid((10, 20), "+proj=longlat", (0.5, 0.5), 170.0, 10.0)


@pytest.fixture
def shards(archive: FakeArchive, tmp_path: Path) -> Shards:
    """Runs of 4 frames with a gap of 8 frames after the second."""
    archive.add_run([*range(8), *range(16, 28)])
    return build_shards(archive, tmp_path / "out", frames=4, samples_per_shard=2, split="train")


def test_all_samples_of_a_small_folder_are_looked_at_and_their_gaps_found(shards: Shards) -> None:
    train = look_at_folder(shards).splits["train"]
    assert train.all_seen and len(train.samples) == 5
    assert {sample.times[0] for sample in train.samples} == {at(step) for step in (0, 4, 16, 20, 24)}
    [hole] = train.holes
    assert (hole.after, hole.before, hole.length) == (at(7), at(16), timedelta(minutes=45))


def test_of_a_large_folder_few_samples_from_all_over_are_looked_at(shards: Shards) -> None:
    view = look_at_folder(shards, most=2)
    assert [sample.number for sample in view.splits["train"].samples] == [0, 4] and not view.splits["train"].all_seen
    says = folder_json(view)
    assert (says["kind"], says["splits"]["train"]["looked_at"], says["splits"]["train"]["samples"]) == ("shards", 2, 5)
    assert says["splits"]["train"]["probability"] == {"min": 1.0, "mean": 1.0} and says["builds"] == 1
    assert json.loads(json.dumps(says)) == says


def test_samples_are_found_by_their_numbers(shards: Shards) -> None:
    all_of_them = samples_at(shards, "train", list(range(5)))
    assert [sample.number for sample in all_of_them] == list(range(5)) and len({s.key for s in all_of_them}) == 5
    shard, first = shard_with(shards, "train", 4)
    assert (shard, first) == (shards.split("train").shards[-1], 5 - shards.split("train").shards[-1].samples)


def test_a_damaged_json_is_named(shards: Shards) -> None:
    tar = shards.folder / shards.split("train").shards[0].name
    tar.write_bytes(tar.read_bytes().replace(b'"probability"', b'"probabilitt"'))
    with pytest.raises(DataError, match=r"train-000000.tar: the JSON of .* is damaged: KeyError"):
        look_at_folder(open_shards(shards.folder))


def test_single_frames_are_those_of_the_whole(tmp_path: Path) -> None:
    codes_THW = np.random.default_rng(0).integers(0, 256, (9, 8, 8)).astype(np.uint8)
    shards = open_shards(make_shards(tmp_path / "s", {"train": [codes_THW]}))
    from data_prep.shards.index import read_idx

    [shard] = shards.split("train").shards
    frames = frames_at(shards, shard, read_idx(shards.source, shard), 0, [8, 0, 5])
    np.testing.assert_array_equal([frame.copy() for frame in frames], codes_THW[[8, 0, 5]])


def test_places_are_counted_and_grids_in_degrees_need_no_library() -> None:
    west = Grid((10, 20), "+proj=longlat", (0.5, 0.5), -175.0, 20.0)
    places = places_of([LONGLAT, LONGLAT, west])
    assert places.distinct == 2 and places.box == (170.0, 195.0, 5.0, 20.0)
    assert places.corners["south-east"] == (180.0, 5.0)
    assert places_of([]) == (0, {}, None, "")


def test_a_place_without_pyproj_is_unknown_and_the_extra_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyproj", None)
    laea = Grid((10, 20), "+proj=laea +lat_0=1 +lon_0=3.25 +units=m", (1000.0, 1000.0), 0.0, 0.0)
    places = places_of([laea])
    assert places.box is None and places.distinct == 1 and "ds-nowcast[geo]" in places.unknown


def test_a_grid_off_the_earth_has_no_corners() -> None:
    pytest.importorskip("pyproj")
    space = Grid((10, 10), "+proj=ortho +lat_0=0 +lon_0=0 +units=m", (1e6, 1e6), 7e6, 1e7)
    places = places_of([space])
    assert set(places.corners.values()) == {None} and places.box is None


@pytest.mark.parametrize("shape", [(384, 384), (3500, 7000), (1201, 5), (1, 4000)])
def test_a_thumbnail_is_small_and_keeps_its_place(shape: tuple[int, int]) -> None:
    grid = Grid(shape, "+proj=longlat", (0.01, 0.01), -130.0, 55.0)
    codes_HW = np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape)
    small, small_grid = thumbnail(codes_HW), thumbnail_grid(grid)
    assert small.shape == small_grid.shape and (max(small.shape) <= THUMBNAIL or min(shape) == 1)
    row, column = divmod(int(small[-1, -1]), shape[1])
    assert abs(small_grid.x[-1] - grid.x[column]) <= 0.006 and abs(small_grid.y[-1] - grid.y[row]) <= 0.006
    assert small.base is None or small.nbytes == small.base.nbytes
