from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.building.sequences import FrameRef, Sequence, find_sequences
from data_prep.building.splits import (
    Membership,
    SplitDates,
    assign,
    check_split_name,
    leaks,
    parse_split_blocks,
    parse_split_dates,
    too_near,
)
from data_prep.errors import UserError
from data_prep.times import iso
from tests.data_prep.building.test_sequences import composites
from tests.data_prep.fake_reader import at


def run(key: str, *steps: int) -> Sequence:
    return Sequence(key, tuple(FrameRef(step, 0) for step in steps), tuple(at(step) for step in steps))


def membership(split: str, sequence: Sequence) -> Membership:
    frames = tuple((str(ref.recording), iso(time)) for ref, time in zip(sequence.frames, sequence.times, strict=True))
    return Membership(split, sequence.key, sequence.event, frames)


def test_the_boundary_itself_belongs_to_the_earlier_split() -> None:
    dates = parse_split_dates("2019-01-01,2019-06-01")
    times = ("2019-01-01", "2019-01-01T00:05", "2019-06-01", "2019-06-01T00:05")
    splits = [dates.of(datetime.fromisoformat(time).replace(tzinfo=UTC)) for time in times]
    assert splits == ["train", "val", "val", "test"]


def test_split_dates_may_have_a_time_of_day() -> None:
    assert parse_split_dates("2020-01-01T00:20, 2020-01-01T00:40Z") == SplitDates(at(4), at(8))


@pytest.mark.parametrize("text", ["2019-01-01", "2019-01-01,", "a,b", "2019-01-01,2019-02-01,2019-03-01", ""])
def test_anything_but_two_dates_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match="give VAL,TEST as in 2019-01-01,2019-06-01"):
        parse_split_dates(text)


def test_dates_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(UserError, match="wrong way round"):
        parse_split_dates("2019-06-01,2019-01-01")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a.b", "a b"])
def test_a_split_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        check_split_name(name)


def test_a_run_across_a_boundary_is_left_out_and_an_event_goes_by_its_own_time() -> None:
    across = run("run", 3, 4, 5)
    event = Sequence("E", across.frames, across.times, "E", at(4))
    splits, left_out = assign([across, event], SplitDates(at(4), at(9)))
    assert splits == {"train": [event], "val": [], "test": []}
    assert [(item.what, item.reason) for item in left_out] == [("run", "crosses a split boundary")]


@given(
    st.sets(st.integers(0, 60), min_size=6),
    st.integers(1, 5),
    st.integers(1, 6),
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted),
)
def test_no_frame_of_one_split_occurs_in_another(steps: set[int], frames: int, stride: int, dates: list[int]) -> None:
    try:
        found = find_sequences(composites(*steps), frames, stride, 300, "ARCHIVE")
    except UserError:
        return
    splits, left_out = assign(found.sequences, SplitDates(at(dates[0]), at(dates[1])))
    assert leaks(membership(name, sequence) for name, part in splits.items() for sequence in part) == []
    assert sum(map(len, splits.values())) + len(left_out) == len(found.sequences)
    shown = [{time for sequence in part for time in sequence.times} for part in splits.values()]
    assert not (shown[0] & shown[1] or shown[0] & shown[2] or shown[1] & shown[2])


def test_a_leak_is_told_for_a_frame_and_for_an_event_in_two_splits_but_not_within_one() -> None:
    a, b = run("a", 0, 1, 2), run("b", 2, 3, 4)
    assert leaks([membership("train", a), membership("train", b)]) == []
    assert leaks([membership("train", a), membership("val", b)]) == ["val/b and train/a both show a frame of 2"]
    pieces = [Sequence(s.key, s.frames, s.times, "E", at(0)) for s in (a, run("c", 7, 8))]
    found = leaks([membership("train", pieces[0]), membership("test", pieces[1])])
    assert found == ["test/c and train/a both show event E"]


def days(*spans: tuple[float, float]) -> list[Sequence]:
    """A run of two frames for each (day of its first, day of its last), days from 1970-01-01."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    times = [(epoch + timedelta(days=first), epoch + timedelta(days=last)) for first, last in spans]
    return [Sequence(f"{n}", (FrameRef(2 * n, 0), FrameRef(2 * n + 1, 0)), pair) for n, pair in enumerate(times)]


def test_blocks_of_days_take_turns_from_1970_on() -> None:
    blocks = parse_split_blocks("3,1,2")
    noon = [datetime(1970, 1, 1, 12, tzinfo=UTC) + timedelta(days=day) for day in range(12)]
    assert [blocks.of(time) for time in noon] == (["train"] * 3 + ["val"] + ["test"] * 2) * 2
    assert blocks.of(datetime(1970, 1, 4, tzinfo=UTC)) == "train"  # midnight ends the day before
    assert blocks.of(datetime(1970, 1, 4, 0, 5, tzinfo=UTC)) == "val"


@pytest.mark.parametrize("text", ["", "14,3", "14,3,3,1", "a,1,1", "0,1,1", "-1,1,1", "1.5,1,1", "999999,1,1"])
def test_anything_but_three_numbers_of_days_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="give TRAIN,VAL,TEST as in 14,3,3"):
        parse_split_blocks(text)


def test_after_a_boundary_the_guard_interval_is_left_out() -> None:
    sequences = days((0.5, 0.9), (1.1, 1.2), (1.3, 1.4), (1.9, 2.1), (2.2, 2.3))
    splits, left_out = assign(sequences, parse_split_blocks("1,1,1"), timedelta(hours=6))
    assert {name: [one.key for one in part] for name, part in splits.items()} == {
        "train": ["0"],
        "val": ["2"],
        "test": [],
    }
    assert [(item.what, item.reason) for item in left_out] == [
        ("1", "within the guard interval after a split boundary"),
        ("3", "crosses a split boundary"),
        ("4", "within the guard interval after a split boundary"),
    ]


def test_with_a_guard_events_count_by_their_frames() -> None:
    [run] = days((0.9, 1.1))
    event = Sequence("E", run.frames, run.times, "E", run.times[0])
    assert assign([event], parse_split_blocks("1,1,1"))[0]["train"] == [event]
    _, [left_out] = assign([event], parse_split_blocks("1,1,1"), timedelta(hours=1))
    assert left_out.reason == "crosses a split boundary"


@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 0.6)), max_size=40),
    st.sampled_from(["1,1,1", "3,1,1", "5,2,1"]),
    st.floats(0, 20),
)
def test_frames_of_two_splits_are_never_nearer_than_the_guard(
    spans: list[tuple[float, float]], blocks: str, hours: float
) -> None:
    guard = timedelta(hours=hours)
    splits, left_out = assign(
        days(*[(first, first + length) for first, length in spans]), parse_split_blocks(blocks), guard
    )
    kept = [(name, one) for name, part in splits.items() for one in part]
    assert len(kept) + len(left_out) == len(spans)
    for name, one in kept:
        for other_name, other in kept:
            if name != other_name and other.times[-1] <= one.times[0]:
                assert one.times[0] - other.times[-1] >= guard
    members = [
        Membership(name, one.key, None, tuple(("f", time.isoformat()) for time in one.times)) for name, one in kept
    ]
    assert too_near(members, guard) == []


def test_a_sample_too_near_to_another_split_is_named() -> None:
    times = ("2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z", "2020-01-01T02:00:00Z", "2020-01-01T09:00:00Z")
    members = [
        Membership(split, key, None, (("f", first), ("f", last)))
        for split, key, first, last in (
            ("train", "a", times[0], times[1]),
            ("val", "b", times[2], times[2]),
            ("train", "c", times[3], times[3]),
        )
    ]
    [fault] = too_near(members, timedelta(hours=3))
    assert fault == "val/b begins 1:00:00 after train/a, not 3:00:00"
    assert too_near(members, timedelta(0)) == []
