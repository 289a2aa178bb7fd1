from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import UserError
from data_prep.inspection.archive import ArchiveView, look_at_archive
from data_prep.inspection.as_json import archive_json
from data_prep.workers import InProcess
from tests.data_prep.fake_files import GRID, add_file
from tests.data_prep.fake_reader import FakeArchive, at


def look(source: Path, product: str | None = None, sample: int = 32, name: str | None = None) -> ArchiveView:
    return look_at_archive([str(source)], name, product, sample, InProcess())


def test_times_runs_and_gaps_come_from_the_headers(files: Path) -> None:
    for step in (*range(6), *range(8, 10), 20):
        add_file(files, step)
    [product] = look(files).products
    assert (product.frames, product.files, product.cadence_s) == (9, 9, 300)
    assert (product.first, product.last, product.runs) == (at(0), at(20), [6, 2, 1])
    assert [(gap.after, gap.before, gap.frames) for gap in product.gaps] == [(at(5), at(8), 2), (at(9), at(20), 10)]


def test_values_are_those_of_frames_evenly_in_time(files: Path) -> None:
    for step in range(9):
        add_file(files, step, value=float(step))
    [product] = look(files, sample=3).products
    assert [look.times for look in product.looks] == [(at(0),), (at(4),), (at(8),)]
    assert product.statistics.missing_share == pytest.approx(0.1)
    rain = product.statistics.values["mm/h"]
    assert rain.min == 0.0 and rain.max == pytest.approx(8.0, rel=0.05) and rain.mean == pytest.approx(4.0, rel=0.05)
    assert product.looked_at == 3 and product.grids == [GRID]


def test_every_product_is_told_of_but_files_are_opened_once(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(4):
        add_file(files, step, products=[["rain", "mm/h"], ["echo", "dBZ"]] if step else [["echo", "dBZ"]])
    opened: list[object] = []
    from tests.data_prep.fake_files import FakeFiles

    listed = FakeFiles._listed
    monkeypatch.setattr(FakeFiles, "_listed", lambda self, *file: (opened.append(file), listed(self, *file))[1])
    both = look(files)
    assert [(p.product.name, p.product.unit, p.frames) for p in both.products] == [
        ("echo", "dBZ", 4),
        ("rain", "mm/h", 3),
    ]
    assert len(opened) == 4
    assert [p.product.name for p in look(files, "rain").products] == ["rain"]
    with pytest.raises(UserError, match="hold no product 'snow'"):
        look(files, "snow")


def test_what_is_left_out_is_told_unreadable_frames_too(files: Path) -> None:
    for step in range(4):
        add_file(files, step)
    add_file(files, 4, time=at(3).isoformat())
    (files / "005.fake").write_text("torn")
    add_file(files, 6, value="torn")
    [product] = look(files, name="fakefiles").products
    assert product.left_out.by_count() == {"unreadable": 2, "time occurs more than once": 1}
    assert product.frames == 5 and len(product.looks) == 4


def test_events_are_counted_and_looked_at_by_five_frames_each(archive: FakeArchive) -> None:
    archive.add_events(4, frames=7)
    [product] = look(archive.folder, name="fake", sample=10).products
    assert (product.events, product.frames, product.runs) == (4, 28, [7, 7, 7, 7]) and product.gaps == []
    assert [(one.label, len(one.times), len(one.pictures)) for one in product.looks] == [("E000", 5, 5), ("E003", 5, 5)]


def test_events_that_a_build_leaves_out_are_looked_at_where_there_are_no_others(
    archive: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from tests.data_prep.fake_reader import FakeReader

    archive.add_events(2)
    scan = FakeReader.scan

    def incomplete(*args: object) -> object:
        found = scan(*args)  # type: ignore[arg-type]
        return replace(found, recordings=[replace(one, incomplete="pct_missing above 0") for one in found.recordings])

    monkeypatch.setattr(FakeReader, "scan", incomplete)
    [product] = look(archive.folder, name="fake").products
    assert (product.frames, product.first, len(product.looks)) == (0, None, 2)
    assert product.left_out.by_count() == {"pct_missing above 0": 2}


def test_pictures_are_kept_of_few_frames_and_small(files: Path) -> None:
    for step in range(20):
        add_file(files, step, value=float(step))
    [product] = look(files).products
    drawn = [one.pictures for one in product.looks if one.pictures]
    assert len(drawn) == 15 and {picture.shape for [picture] in drawn} == {(350, 4)}
    assert np.all(drawn[0][0][:35] == 255)


def test_the_json_has_everything_under_stable_keys(files: Path) -> None:
    pytest.importorskip("pyproj")
    for step in (0, 1, 3):
        add_file(files, step)
    says = archive_json(look(files))
    assert (says["kind"], says["format"], says["format_tried"]) == ("archive", "fakefiles", True)
    [product] = says["products"]
    assert {
        "product", "unit", "cadence_s", "frames", "files", "events", "first_time", "last_time", "runs", "gaps", "left_out",
        "left_out_examples", "grids", "where", "looked_at",
    } == set(product)  # fmt: skip
    assert product["gaps"] == [
        {"after": "2020-01-01T00:05:00Z", "before": "2020-01-01T00:15:00Z", "frames": 1, "event": None}
    ]
    assert product["where"]["corners_lonlat"]["north-west"] == [10.0, 50.0] and product["where"]["places"] == 1
    assert product["looked_at"]["frames"] == 3 and len(product["looked_at"]["code_counts"]) == 256


@pytest.mark.parametrize(
    ("folder", "name", "product", "frames"),
    [("knmi", "knmi", "rain", 92), ("fmi", "fmi", "reflectivity", 40), ("derived/sevir_layout", "sevir", "vil", 0)],
)
def test_real_archives_are_known_by_their_files(
    radar_data: Path, folder: str, name: str, product: str, frames: int
) -> None:
    view = look_at_archive([str(radar_data / folder)], None, None, 2, InProcess())
    assert (view.format, view.products[0].product.name, view.products[0].frames) == (name, product, frames)
