"""Whatever ends one rank ends them all, and one line says why: real ranks, without collectives."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

import pytest

from ds_nowcast.errors import PEER_LOST, STOPPED
from ds_nowcast.launch.environment import host
from tests.ds_nowcast.launch.cases import PATIENCE_S
from tests.ds_nowcast.launch.conftest import Started, StartRanks

pytestmark = pytest.mark.hosts  # faults: most of them wait for processes that die or hang

KILLED, TERMINATED = -signal.SIGKILL, 128 + signal.SIGTERM


def check_end(launch: Started, codes: Sequence[int], rank: int, reason: str) -> None:
    """All ranks ended so, and the last line on the screen says it, the only one that does."""
    assert launch.codes == list(codes), launch.screen
    assert launch.told[-1].startswith(f"FAILED rank {rank} on {host()}: {reason}")
    assert launch.screen.count("FAILED") == 1


def test_the_death_of_one_rank_ends_the_others_also_where_they_hang(start_ranks: StartRanks) -> None:
    launches = [(start_ranks(case, world=3), killed) for case in ("work", "hang") for killed in (0, 2)]
    for launch, killed in launches:
        launch.until_all("working")
        launch.kill(killed, signal.SIGKILL)
    for launch, killed in launches:
        codes = [KILLED if rank == killed else PEER_LOST for rank in range(3)]
        check_end(launch, codes, killed, "no sign of life for")


def test_the_death_of_rank_0_is_found_by_its_store_however_patient_the_others_are(start_ranks: StartRanks) -> None:
    launch = start_ranks("work", world=2, PATIENCE="600")
    launch.until_all("working")
    launch.kill(0, signal.SIGKILL)
    check_end(launch, [KILLED, PEER_LOST], 0, "no sign of life for")


def test_a_rank_that_does_nothing_any_more_ends_the_others_and_itself_when_it_wakes_up(start_ranks: StartRanks) -> None:
    launches = [(start_ranks("work", world=3), stopped) for stopped in (0, 1)]
    for launch, stopped in launches:
        launch.until_all("working")
        launch.kill(stopped, signal.SIGSTOP)
    for launch, stopped in launches:
        assert [launch.code(rank) for rank in range(3) if rank != stopped] == [PEER_LOST] * 2
        assert launch.runs(stopped)
        assert launch.told[-1].startswith(f"FAILED rank {stopped} on {host()}: no sign of life for")
        launch.kill(stopped, signal.SIGCONT)
    assert [launch.code(stopped) for launch, stopped in launches] == [PEER_LOST] * 2


def test_ranks_that_were_all_stopped_for_a_while_go_on(start_ranks: StartRanks) -> None:
    launch = start_ranks("work", world=2)
    launch.until_all("working")
    for rank in range(2):
        launch.kill(rank, signal.SIGSTOP)
    time.sleep(PATIENCE_S + 0.5)
    for rank in range(2):
        launch.kill(rank, signal.SIGCONT)
    time.sleep(0.5)  # a rank that took the other for dead would end within this
    launch.go_on()
    assert launch.codes == [0, 0], launch.screen


def test_a_rank_that_hangs_and_is_told_to_end_ends_all(start_ranks: StartRanks) -> None:
    launches = [start_ranks("hang", world=2) for _ in range(2)]
    for asked, launch in enumerate(launches):
        launch.until_all("working")
        launch.kill(asked, signal.SIGTERM)
    for asked, launch in enumerate(launches):
        check_end(launch, [TERMINATED] * 2, asked, "it was ended by SIGTERM")


def test_a_scheduler_s_warning_ends_what_has_nothing_to_save_so_that_it_is_queued_again(
    start_ranks: StartRanks,
) -> None:
    launch = start_ranks("hang", world=2)
    launch.until_all("working")
    launch.kill(1, signal.SIGUSR1)
    check_end(launch, [STOPPED] * 2, 1, "it was asked to stop by SIGUSR1")


def test_a_launcher_that_tells_the_others_to_end_does_not_hide_who_died(start_ranks: StartRanks) -> None:
    launch = start_ranks("hang", world=3, PATIENCE="600")
    launch.until_all("working")
    launch.kill(1, signal.SIGKILL)
    launch.kill(0, signal.SIGTERM)
    launch.kill(2, signal.SIGTERM)
    check_end(launch, [PEER_LOST, KILLED, PEER_LOST], 1, "no sign of life for")


def test_a_library_s_abort_is_told_and_does_not_hide_who_died_before(start_ranks: StartRanks) -> None:
    alone, dead = start_ranks("abort", world=2), start_ranks("abort", world=3)
    for launch in (alone, dead):
        launch.until_all("working")
    dead.kill(2, signal.SIGKILL)
    for launch in (alone, dead):
        launch.go_on()
    check_end(alone, [128 + signal.SIGABRT] * 2, 1, "a library aborted it")
    check_end(dead, [PEER_LOST, PEER_LOST, KILLED], 2, "no sign of life for")


def test_the_end_of_the_launcher_ends_all(start_ranks: StartRanks) -> None:
    launch = start_ranks("hang", world=2)
    launch.until_all("working")
    launch.kill_launcher()
    check_end(launch, [PEER_LOST] * 2, 0, "its launcher has gone")


def test_what_sees_to_its_own_end_is_left_alone_until_it_has_left(start_ranks: StartRanks) -> None:
    by_signal, by_launcher = (start_ranks("stop_when_asked", world=2) for _ in range(2))
    for launch in (by_signal, by_launcher):
        launch.until_all("working")
    for rank in range(2):
        by_signal.kill(rank, signal.SIGTERM)
    by_launcher.kill_launcher()
    for launch in (by_signal, by_launcher):
        assert launch.codes == [STOPPED] * 2
        assert launch.screen == ""


def test_all_leave_without_a_word(start_ranks: StartRanks) -> None:
    launch = start_ranks("work", world=3, PATIENCE="60")
    launch.until_all("working")
    launch.go_on()
    assert launch.codes == [0, 0, 0]
    assert launch.screen == ""
    assert not list(launch.folder.glob("*.log"))


def test_rank_0_stays_with_the_store_until_the_last_has_left(start_ranks: StartRanks) -> None:
    launch = start_ranks("linger", world=3, PATIENCE="60")
    assert launch.code(1) == 0
    assert launch.runs(0)
    launch.go_on()
    assert launch.codes == [0, 0, 0]
    assert launch.screen == ""


def test_a_failure_behind_rank_0_that_has_done_its_work_is_told(start_ranks: StartRanks) -> None:
    launch = start_ranks("linger", world=3, FAILS="yes", PATIENCE="60")
    assert launch.code(1) == 0
    launch.go_on()
    check_end(launch, [3, 0, 3], 2, "the last shard is damaged")


def test_a_death_behind_rank_0_that_has_done_its_work_is_told(start_ranks: StartRanks) -> None:
    launch = start_ranks("linger", world=3, PATIENCE="6")
    assert launch.code(1) == 0
    launch.kill(2, signal.SIGKILL)
    check_end(launch, [PEER_LOST, 0, KILLED], 2, "no sign of life for")


def test_a_broken_collective_is_told_where_all_ranks_are_there(start_ranks: StartRanks) -> None:
    launch = start_ranks("cut", world=2)
    launch.until_all("working")
    launch.go_on()
    check_end(launch, [PEER_LOST] * 2, 1, "the connection to another rank broke ([../third_party/gloo/")


def test_behind_a_broken_collective_is_who_died(start_ranks: StartRanks) -> None:
    launch = start_ranks("cut", world=3, PATIENCE="600")
    launch.until_all("working")
    launch.kill(1, signal.SIGKILL)
    launch.go_on()
    check_end(launch, [PEER_LOST, KILLED, PEER_LOST], 1, "no sign of life for")
