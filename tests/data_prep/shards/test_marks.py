from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from data_prep.building.splits import Membership
from data_prep.shards.marks import FolderMarks, event_hashes, marks_of, seconds
from data_prep.times import iso
from tests.data_prep.fake_reader import at


def sample(key: str, start: float, frames: int = 4, event: str | None = None, split: str = "") -> Membership:
    return Membership(split, key, event, tuple((f"f{start + i}", iso(at(start + i))) for i in range(frames)))


def marked(splits: dict[str, list[Membership]]) -> FolderMarks:
    """Numbered through, each added by itself."""
    marks, number = FolderMarks(), 0
    for split, samples in splits.items():
        for one in samples:
            marks.add(split, marks_of([(number, one)]))
            number += 1
    return marks


def test_equal_keys_are_found_in_whatever_split() -> None:
    marks = marked({"train": [sample("a", 0), sample("b", 9), sample("a", 20)], "val": [sample("b", 99)]})
    assert sorted(marks.repeated()) == [(0, 2), (1, 3)]
    assert list(FolderMarks().repeated()) == [] and FolderMarks().times_s("train") is None


def test_what_two_splits_show_is_found_and_what_one_shows_twice_is_not() -> None:
    marks = marked(
        {
            "train": [sample("a", 0), sample("b", 2), sample("c", 50, event="E")],
            "val": [sample("d", 5), sample("e", 6), sample("f", 80, event="E")],
            "test": [sample("g", 90)],
        }
    )
    assert list(marks.shared()) == [(1, 3), (2, 5)]


def test_samples_within_the_guard_are_found_with_the_last_frame_before_them() -> None:
    train, val = [sample("a", 0, 20), sample("b", 3)], [sample("c", 24), sample("d", 40)]
    marks = marked({"train": train, "val": val})
    assert list(marks.near(timedelta(minutes=25))) == []
    assert list(marks.near(timedelta(minutes=26))) == [(0, 2)]
    assert list(marks.near(timedelta(0))) == list(FolderMarks().near(timedelta(1))) == []


@pytest.mark.parametrize("seed", range(10))
def test_near_is_what_a_look_at_every_pair_finds(seed: int) -> None:
    rng, guard = np.random.default_rng(seed), timedelta(minutes=35)
    splits = {
        name: [sample("k", int(start)) for start in rng.integers(0, 400, 12)] for name in ("train", "val", "test")
    }
    numbered = [(split, one) for split, samples in splits.items() for one in samples]
    spans = [(split, seconds(one.frames[0][1]), seconds(one.frames[-1][1])) for split, one in numbered]
    expected = {
        number
        for number, (split, first, _) in enumerate(spans)
        for before, (other, begins, last) in enumerate(spans)
        if other != split and (begins, before) < (first, number) and first < last + guard.total_seconds()
    }
    assert {number for _, number in marked(splits).near(guard)} == expected


def test_samples_of_no_span_and_no_event_are_found() -> None:
    marks = marked({"train": [sample("a", 0), sample("b", 10), sample("c", 20, event="E"), sample("d", 30, event="F")]})
    spans = [(seconds(iso(at(0))), seconds(iso(at(5)))), (seconds(iso(at(1))), seconds(iso(at(2))))]
    assert sorted(marks.outside(spans, event_hashes(["E"]))) == [1, 3]
    assert sorted(marks.outside([], event_hashes(["E", "F"]))) == [0, 1]


@pytest.mark.slow
def test_what_many_samples_show_is_kept_once() -> None:
    marks = FolderMarks()
    for part in range(20):  # of 8 tiles each, all of the same 500 frames
        tiles = [(part * 8 + i, sample(f"{part}-{i}", 0, 500)) for i in range(8)]
        marks.add("train", marks_of(tiles))
    kept = marks._splits["train"].marks()
    assert len(kept.shown) == 500 and len(kept.numbers) == 160
    assert sum(column.nbytes for column in kept[:5]) == 29 * 160
