"""What follows from the beats of all ranks: a table of launches, and rules that hold of every launch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ds_nowcast.errors import PEER_LOST
from ds_nowcast.launch.beats import (
    AGREE_S,
    PATIENCE_S,
    START_LIMIT_S,
    SUSPICIOUS_S,
    Beat,
    Failure,
    Heard,
    State,
    judge,
    not_come,
    silence,
)  # fmt: skip

NOW, PATIENCE = 1000.0, 30.0
SOON = AGREE_S / 2  # before others could have agreed


def rank(state: State = State.UP, *, silent: float = 0.5, since: float = 100.0, **more: Any) -> Heard:
    """One that was last heard `silent` seconds ago, and has been in its state for `since`."""
    number = more.pop("number", 0)
    return Heard(Beat(f"n{number}", 7, state, **more), NOW - silent, NOW - since)


def absent(seconds: float) -> Heard:
    """One that has not come in as many seconds."""
    return Heard(None, NOW - seconds, NOW - seconds)


def failed(reason: str = "the loss is not finite", code: int = 4, **more: Any) -> Heard:
    return rank(State.FAILED, reason=reason, exit_code=code, **more)


UP, LEFT, CUT = rank(), rank(State.LEFT, silent=500.0), rank(State.CUT, reason="the connection broke", exit_code=5)


def verdict(*ranks: Heard, patience: float = PATIENCE) -> tuple[int, int] | None:
    """Of whom a launch ends, and with which exit code."""
    failure = judge(ranks, NOW, patience)
    return failure and (failure.rank, failure.exit_code)


@pytest.mark.parametrize(
    ("launch", "expected"),
    [
        # silence
        ([UP, UP], None),
        ([UP, rank(silent=29.9)], None),
        ([UP, rank(silent=30.1)], (1, PEER_LOST)),
        ([UP, rank(silent=31.0), rank(silent=40.0)], (2, PEER_LOST)),  # the first to fall silent
        ([UP, rank(State.LEFT, silent=31.0)], None),
        ([rank(State.LEFT), LEFT, rank(silent=31.0)], (2, PEER_LOST)),
        # silence is found sooner where something points to an end
        ([rank(State.STOPPING), rank(silent=SUSPICIOUS_S + 0.1)], (1, PEER_LOST)),
        ([UP, rank(State.CUT, since=1.0), rank(silent=SUSPICIOUS_S + 0.1)], (2, PEER_LOST)),
        ([rank(State.STOPPING), rank(silent=SUSPICIOUS_S - 0.1)], None),
        ([UP, rank(State.STOPPING, silent=SUSPICIOUS_S + 0.1)], (1, PEER_LOST)),
        # a collective broke, and everybody is there
        ([UP, rank(State.CUT, since=SUSPICIOUS_S + AGREE_S - 0.1)], None),
        ([UP, rank(State.CUT, since=13.1, exit_code=5), rank(State.CUT, since=20.0, exit_code=5)], (2, PEER_LOST)),
        ([rank(State.STOPPING)] * 3, None),
        # who has never come
        ([UP, absent(START_LIMIT_S - 1)], None),
        ([UP, absent(START_LIMIT_S + 1)], (1, PEER_LOST)),
        ([UP, absent(START_LIMIT_S - 1), rank(silent=31.0)], (2, PEER_LOST)),  # not hidden by one still awaited
        ([rank(State.STOPPING), absent(PATIENCE_S - 1)], None),
        ([rank(State.STOPPING), absent(PATIENCE_S + 1)], (1, PEER_LOST)),  # it will not come any more
        # failures
        ([failed(since=0.0, expected=True), UP], (0, 4)),
        ([UP, failed(since=SOON, expected=True)], None),
        ([UP, failed(since=AGREE_S + 0.1, expected=True)], (1, 4)),
        ([UP, failed(since=0.0)], (1, 4)),  # what nobody foresees no other rank finds
        ([failed(since=0.0, code=2), failed(since=2.0)], (0, 2)),
        ([UP, failed(since=1.0, code=6), failed(since=2.0, code=7)], (2, 7)),  # the first
        ([UP, failed(since=SOON, expected=True), rank(silent=31.0)], None),  # a reason is worth waiting for
        ([failed(since=0.0, culprit=2), UP, UP], (2, 4)),
        ([failed(since=AGREE_S + 0.1, culprit=1), absent(5.0)], (1, 4)),
        ([CUT, failed(since=5.0)], (1, 4)),
    ],
)  # fmt: skip
def test_a_launch_ends_of(launch: list[Heard], expected: tuple[int, int] | None) -> None:
    assert verdict(*launch) == expected


beats_of_the_living = some.builds(
    rank, some.sampled_from([State.UP, State.LEFT]), silent=some.floats(0.0, 29.0), since=some.floats(0.0, 1e5)
)
anybody = some.one_of(
    beats_of_the_living,
    some.builds(absent, some.floats(0.0, 500.0)),
    some.builds(
        rank, some.sampled_from(State), silent=some.floats(0.0, 100.0), since=some.floats(0.0, 100.0), reason=some.text(),
        exit_code=some.integers(1, 255), expected=some.booleans(),
    ),
)  # fmt: skip
launches = some.lists(anybody, min_size=1, max_size=9)


@given(some.lists(beats_of_the_living | some.builds(absent, some.floats(0.0, START_LIMIT_S)), min_size=1, max_size=9))
def test_while_all_are_up_and_fresh_or_may_still_come_nothing_ends(launch: list[Heard]) -> None:
    assert verdict(*launch) is None


@given(launches, some.text(), some.integers(1, 255), some.booleans())
def test_what_rank_0_fails_of_ends_the_launch_at_once(
    others: list[Heard], reason: str, code: int, expected: bool
) -> None:
    first = failed(reason, code, since=0.0, expected=expected)
    assert judge([first, *others], NOW, PATIENCE) == Failure(0, "n0", reason, code)


@given(launches)
def test_nobody_is_blamed_that_is_well(launch: list[Heard]) -> None:
    failure = judge(launch, NOW, PATIENCE)
    if failure is not None:
        blamed = launch[failure.rank]
        if blamed.beat is None:
            assert NOW - blamed.changed > PATIENCE_S
        else:
            assert blamed.beat.state in (State.FAILED, State.CUT) or NOW - blamed.changed > SUSPICIOUS_S
            assert blamed.beat.state is not State.LEFT


@given(launches, some.integers(0, 8), some.floats(PATIENCE + 0.1, 1e4))
def test_a_silent_rank_ends_every_launch_soon(launch: list[Heard], index: int, silent: float) -> None:
    index %= len(launch)
    launch[index] = rank(silent=silent)
    waits = any(h.beat and h.beat.state is State.FAILED and h.beat.expected for h in launch)
    assert waits or judge(launch, NOW, PATIENCE) is not None
    assert judge(launch, NOW + AGREE_S + 0.1, PATIENCE) is not None


@given(launches, some.floats(1.0, 100.0), some.floats(0.0, 100.0))
def test_a_verdict_stands_as_long_as_nobody_says_anything_new(
    launch: list[Heard], patience: float, later: float
) -> None:
    if judge(launch, NOW, patience) is not None:
        assert judge(launch, NOW + later, patience) is not None


def test_a_failure_is_told_with_the_host_of_whom_it_came_from() -> None:
    ranks = [failed(since=0.0, culprit=1), rank(number=1)]
    assert judge(ranks, NOW, PATIENCE) == Failure(1, "n1", "the loss is not finite", 4)
    assert judge([failed(since=SOON, culprit=1), absent(1.0)], NOW, PATIENCE) is None, "it may yet say its name"
    gone = judge([failed(since=AGREE_S + 0.1, culprit=1), absent(1.0)], NOW, PATIENCE)
    assert gone is not None and gone.host == "an unknown host"


def test_the_users_line_is_one_line() -> None:
    failure = Failure(3, "n7", "two\nlines\t of  it", 1)
    assert failure.line == "FAILED rank 3 on n7: two lines of it"


def test_silence_and_absence_say_for_how_long_and_what_to_do() -> None:
    assert silence(2, "n1", 31.4).line.startswith("FAILED rank 2 on n1: no sign of life for 31 s: it was killed")
    assert "ds_nowcast.doctor --hostfile" in not_come(2, 180.0).line
    assert silence(2, "n1", 31.4).exit_code == not_come(2, 180.0).exit_code == PEER_LOST


@given(some.builds(Beat, some.text(), some.integers(0), some.sampled_from(State), some.text(), some.integers(0, 255),
                   some.none() | some.integers(0, 4095), some.booleans()))  # fmt: skip
def test_a_beat_comes_out_of_the_store_as_it_went_in(beat: Beat) -> None:
    assert Beat.from_bytes(beat.to_text().encode()) == beat
    assert Beat.from_bytes(replace(beat, count=beat.count + 1).to_text().encode()) != beat


def test_of_a_rank_that_has_not_come_there_is_no_beat() -> None:
    assert Beat.from_bytes(b"") is None
