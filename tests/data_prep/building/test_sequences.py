from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.building.sequences import Found, find_sequences, follows
from data_prep.errors import UserError
from data_prep.readers import Recording
from tests.data_prep.fake_reader import RAIN, at


def composites(*steps: float) -> list[Recording]:
    return [Recording(Path(f"{step}.npy"), 0, (at(step),), RAIN) for step in steps]


def event(name: str, start: float, frames: int, *, skip: int | None = None) -> Recording:
    times = tuple(at(start + step) for step in range(frames) if step != skip)
    return Recording(Path(f"{name}.npy"), 0, times, RAIN, name, times[len(times) // 2])


def find(recordings: list[Recording], frames: int | None = None, stride: int | None = None) -> Found:
    return find_sequences(recordings, frames, stride, 300, "ARCHIVE")


def starts(found: Found) -> list[datetime]:
    return [sequence.times[0] for sequence in found.sequences]


def test_composites_are_put_in_order_by_time_whatever_the_order_of_the_files() -> None:
    found = find(composites(3, 0, 5, 1, 4, 2), frames=3)
    assert [sequence.times for sequence in found.sequences] == [(at(0), at(1), at(2)), (at(3), at(4), at(5))]
    assert [ref.recording for ref in found.sequences[0].frames] == [1, 3, 5]


def test_a_gap_splits_a_run_and_the_short_rest_is_left_out_by_name() -> None:
    found = find(composites(0, 1, 2, 3, 5, 6, 7, 8, 9), frames=4)
    assert starts(found) == [at(0), at(5)]
    assert found.left_out == [("2020-01-01T00:45:00Z", "run shorter than 4 frames", "1 frame")]


def test_frames_up_to_half_a_cadence_off_go_on_with_the_run_and_others_do_not() -> None:
    assert len(find(composites(0, 1.4, 2, 3.4), frames=4).sequences) == 1
    with pytest.raises(UserError, match="longest run without a gap, 2 frames"):
        find(composites(0, 1, 2.6, 3.6), frames=4)


def test_a_stride_shorter_than_the_sequences_makes_them_overlap() -> None:
    found = find(composites(*range(10)), frames=4, stride=2)
    assert starts(found) == [at(0), at(2), at(4), at(6)] and not found.left_out


def test_frames_that_a_long_stride_steps_over_are_no_leftover() -> None:
    found = find(composites(*range(10)), frames=2, stride=5)
    assert starts(found) == [at(0), at(5)] and not found.left_out


def test_a_repeated_time_is_used_once_and_named() -> None:
    found = find(composites(0, 1, 1, 2), frames=3)
    assert len(found.sequences) == 1
    assert [(item.what, item.reason) for item in found.left_out] == [("2020-01-01T00:05:00Z", "repeated time")]


def test_events_are_whole_by_default_and_never_joined_to_each_other() -> None:
    found = find([event("B", 6, 6), event("A", 0, 6)])
    assert [(s.key, len(s.frames), s.event) for s in found.sequences] == [("A", 6, "A"), ("B", 6, "B")]
    assert found.frames == 6


def test_events_of_another_length_are_cut_or_left_out() -> None:
    found = find([event("A", 0, 6), event("B", 100, 6), event("C", 200, 4), event("D", 300, 7)])
    assert [sequence.key for sequence in found.sequences] == ["A", "B", "D_000"]
    assert sorted(item.what for item in found.left_out) == ["C, 2020-01-01T16:40:00Z", "D, 2020-01-02T01:30:00Z"]


def test_an_event_is_cut_into_windows_that_keep_its_name_and_time() -> None:
    found = find([event("A", 0, 7)], frames=3, stride=2)
    assert [sequence.key for sequence in found.sequences] == ["A_000", "A_002", "A_004"]
    assert {(sequence.event, sequence.event_time) for sequence in found.sequences} == {("A", at(3))}


def test_an_event_with_a_gap_gives_only_runs_without_one() -> None:
    found = find([event("A", 0, 9, skip=4)], frames=4)
    assert [sequence.key for sequence in found.sequences] == ["A", "A_004"]
    assert [sequence.times[0] for sequence in found.sequences] == [at(0), at(5)]


def test_a_second_event_of_the_same_name_is_left_out() -> None:
    found = find([event("A", 0, 3), event("A", 50, 3)])
    assert len(found.sequences) == 1 and found.left_out[0].reason == "repeated event"


def test_keys_hold_no_dots_or_slashes_and_stay_unique() -> None:
    found = find([event("../a.b", 0, 3), event("../a_b", 50, 3), event("x" * 200, 99, 3)])
    keys = [sequence.key for sequence in found.sequences]
    assert keys[:2] == ["___a_b", "___a_b-2"] and len(keys[2]) == 80


def test_more_frames_than_an_event_has_is_an_error_that_names_both() -> None:
    message = "^frames=60 is longer than the 49 frames of an event in ARCHIVE; give 49 or fewer$"
    with pytest.raises(UserError, match=message):
        find([event("A", 0, 49)], frames=60)


def test_an_archive_without_events_needs_frames() -> None:
    with pytest.raises(UserError, match="give --frames N"):
        find(composites(0, 1, 2))


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 6), st.integers(1, 8), st.randoms())
def test_every_complete_run_is_found_and_every_sequence_is_one(
    steps: set[int], frames: int, stride: int, random: object
) -> None:
    shuffled = sorted(steps)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    try:
        found = find(composites(*shuffled), frames, stride)
    except UserError:
        assert not any(steps >= set(range(first, first + frames)) for first in steps)
        return
    for sequence in found.sequences:
        assert len(sequence.times) == len(sequence.frames) == frames
        assert all(follows(a, b, 300) for a, b in pairwise(sequence.times))
        listed = [shuffled[ref.recording] for ref in sequence.frames]
        assert [at(step) for step in listed] == list(sequence.times)
    runs = [first for first in steps if first - 1 not in steps]
    lengths = [next(n for n in range(1, 99) if first + n not in steps) for first in runs]
    assert len(found.sequences) == sum(len(range(0, length - frames + 1, stride)) for length in lengths)
    assert len({sequence.key for sequence in found.sequences}) == len(found.sequences)


def test_times_in_another_zone_count_as_the_moment_they_are() -> None:
    zone = at(1).astimezone().tzinfo
    recordings = [*composites(0), Recording(Path("z"), 0, ((at(1) + timedelta(0)).astimezone(zone),), RAIN)]
    assert len(find(recordings, frames=2).sequences) == 1
