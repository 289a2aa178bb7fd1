"""Whatever ends one rank ends them all, and one line says why: real ranks, without collectives."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import pytest

from ds_nowcast.errors import PEER_LOST, STOPPED
from ds_nowcast.launch.environment import host
from tests.ds_nowcast.launch.conftest import Started, StartRanks

KILLED, TERMINATED = -signal.SIGKILL, 128 + signal.SIGTERM


def check_end(launch: Started, codes: Sequence[int], rank: int, reason: str) -> None:
    """All ranks ended so, and the last line on the screen says it, the only one that does."""
    assert launch.codes == list(codes), launch.screen
    assert launch.told[-1].startswith(f"FAILED rank {rank} on {host()}: {reason}")
    assert launch.screen.count("FAILED") == 1


@pytest.mark.parametrize("killed", [0, 2])
@pytest.mark.parametrize("case", ["work", "hang"])
def test_the_death_of_one_rank_ends_the_others(start_ranks: StartRanks, case: str, killed: int) -> None:
    launch = start_ranks(case, world=3)
    launch.until_all("working")
    launch.kill(killed, signal.SIGKILL)
    codes = [KILLED if rank == killed else PEER_LOST for rank in range(3)]
    check_end(launch, codes, killed, "no sign of life for")


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_rank_that_does_nothing_any_more_ends_the_others_and_itself_when_it_wakes_up(
    start_ranks: StartRanks, stopped: int
) -> None:
    launch = start_ranks("work", world=3)
    launch.until_all("working")
    launch.kill(stopped, signal.SIGSTOP)
    others = [rank for rank in range(3) if rank != stopped]
    assert [launch.code(rank) for rank in others] == [PEER_LOST] * 2
    assert launch.runs(stopped)
    assert launch.told[-1].startswith(f"FAILED rank {stopped} on {host()}: no sign of life for")
    launch.kill(stopped, signal.SIGCONT)
    assert launch.code(stopped) == PEER_LOST


@pytest.mark.parametrize("asked", [0, 1])
def test_a_rank_that_hangs_and_is_told_to_end_ends_all(start_ranks: StartRanks, asked: int) -> None:
    launch = start_ranks("hang", world=2)
    launch.until_all("working")
    launch.kill(asked, signal.SIGTERM)
    check_end(launch, [TERMINATED] * 2, asked, "it was ended by SIGTERM")


def test_a_launcher_that_tells_the_others_to_end_does_not_hide_who_died(start_ranks: StartRanks) -> None:
    launch = start_ranks("hang", world=3)
    launch.until_all("working")
    launch.kill(1, signal.SIGKILL)
    launch.kill(0, signal.SIGTERM)
    launch.kill(2, signal.SIGTERM)
    check_end(launch, [PEER_LOST, KILLED, PEER_LOST], 1, "no sign of life for")


def test_the_end_of_the_launcher_ends_all(start_ranks: StartRanks) -> None:
    launch = start_ranks("hang", world=2)
    launch.until_all("working")
    launch.kill_launcher()
    check_end(launch, [PEER_LOST] * 2, 0, "its launcher has gone")


@pytest.mark.parametrize("asks", ["a signal", "the end of the launcher"])
def test_what_sees_to_its_own_end_is_left_alone_until_it_has_left(start_ranks: StartRanks, asks: str) -> None:
    launch = start_ranks("stop_when_asked", world=2)
    launch.until_all("working")
    if asks == "a signal":
        for rank in range(2):
            launch.kill(rank, signal.SIGTERM)
    else:
        launch.kill_launcher()
    assert launch.codes == [STOPPED] * 2
    assert launch.screen == ""


def test_all_leave_without_a_word(start_ranks: StartRanks) -> None:
    launch = start_ranks("work", world=3)
    launch.until_all("working")
    launch.go_on()
    assert launch.codes == [0, 0, 0]
    assert launch.screen == ""
    assert not list(launch.folder.glob("*.log"))


def test_rank_0_stays_with_the_store_until_the_last_has_left(start_ranks: StartRanks) -> None:
    launch = start_ranks("linger", world=3)
    assert launch.code(1) == 0
    assert launch.runs(0)
    launch.go_on()
    assert launch.codes == [0, 0, 0]
    assert launch.screen == ""


def test_a_failure_behind_rank_0_that_has_done_its_work_is_told(start_ranks: StartRanks) -> None:
    launch = start_ranks("linger", world=3, FAILS="yes")
    assert launch.code(1) == 0
    launch.go_on()
    check_end(launch, [3, 0, 3], 2, "the last shard is damaged")


def test_a_death_behind_rank_0_that_has_done_its_work_is_told(start_ranks: StartRanks) -> None:
    launch = start_ranks("linger", world=3)
    assert launch.code(1) == 0
    launch.kill(2, signal.SIGKILL)
    check_end(launch, [PEER_LOST, 0, KILLED], 2, "no sign of life for")


def test_a_broken_collective_is_told_where_all_ranks_are_there(start_ranks: StartRanks) -> None:
    launch = start_ranks("cut", world=2)
    launch.until_all("working")
    launch.go_on()
    check_end(launch, [PEER_LOST] * 2, 1, "the connection to another rank broke ([../third_party/gloo/")


def test_behind_a_broken_collective_is_who_died(start_ranks: StartRanks) -> None:
    launch = start_ranks("cut", world=3)
    launch.until_all("working")
    launch.kill(1, signal.SIGKILL)
    launch.go_on()
    check_end(launch, [PEER_LOST, KILLED, PEER_LOST], 1, "no sign of life for")
