"""Where ranks meet: real stores, a thread a rank."""

from __future__ import annotations

import dataclasses
import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch._C._distributed_c10d import TCPStore

from data_prep.errors import UserError
from ds_nowcast.errors import PeerLostError
from ds_nowcast.launch import board as board_module
from ds_nowcast.launch.beats import Beat, Failure, State
from ds_nowcast.launch.board import Board
from ds_nowcast.launch.environment import Launched, host
from tests.launching import free_port

pytestmark = pytest.mark.slow


def of(rank: int, port: int, world: int = 3) -> Launched:
    return Launched("deepspeed", rank, world, rank, world, "127.0.0.1", port)


def meet(world: int, port: int, *, order: range | None = None) -> list[Board]:
    """All ranks' boards, in rank order; `order` is that of their coming."""
    with ThreadPoolExecutor(world) as ranks:
        coming = {rank: ranks.submit(Board, of(rank, port, world)) for rank in order or range(world)}
        return [coming[rank].result() for rank in range(world)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "_START_LIMIT", timedelta(seconds=0.5))


def test_what_a_rank_posts_all_can_read() -> None:
    first, second, third = meet(3, free_port())
    assert first.beats() == [None, None, None]
    assert second.of_first() == (None, None)
    beats = [Beat(f"n{rank}", rank, State.STOPPING, "näher", 3, 2, True) for rank in range(3)]
    for board, beat in zip((first, second, third), beats, strict=True):
        board.post(beat)
    assert first.beats() == third.beats() == beats
    second.post(Beat("n1", 8))
    assert first.beats()[1] == Beat("n1", 8)
    assert third.of_first() == (beats[0], None)
    failure = Failure(2, "n2", "the disk\nis full", 3)
    first.announce(failure)
    assert second.of_first() == third.of_first() == (beats[0], failure)


def test_ranks_wait_for_rank_0_to_come() -> None:
    port = free_port()
    with ThreadPoolExecutor(1) as early:
        coming = early.submit(Board, of(1, port, 2))
        time.sleep(0.1)
        assert not coming.done()
        first = Board(of(0, port, 2))
        coming.result(30).post(Beat("n1"))
    assert first.beats() == [None, Beat("n1")]


def test_the_process_group_has_the_store_for_itself() -> None:
    first, second = meet(2, free_port())
    first.group_store.set("beat/0", "not ours")
    first.post(Beat("n0"))
    assert second.group_store.get("beat/0") == b"not ours"
    assert first.beats() == [Beat("n0"), None]


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as caught:
            Board(of(0, port))
    assert str(caught.value) == (
        f"port {port} of {host()} is in use; give a free one with --master_port, the same on all hosts"
    )


def test_a_rank_that_another_launch_has_already_is_told_so() -> None:
    port = free_port()
    boards = meet(2, port)
    with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is in use by another launch; .* --master_port"):
        Board(of(1, port, 2))
    assert len(boards[0].beats()) == 2, "the other launch goes on"


@pytest.mark.parametrize("there", ["nobody", "something else", "a store of something else"])
def test_where_rank_0_does_not_answer_that_is_told(
    there: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    address = ("127.0.0.1", port)
    listening = socket.create_server(address) if there == "something else" else None
    other = TCPStore(*address, is_master=True, wait_for_workers=False) if there.startswith("a store") else None
    if listening is not None:
        monkeypatch.setattr(board_module, "_MUTE_S", 0.1)
    with pytest.raises(PeerLostError) as caught:
        Board(of(1, port))
    del other
    if listening is not None:
        listening.close()
    assert str(caught.value).startswith(f"rank 0 cannot be met at 127.0.0.1 port {port} from {host()}, tried for ")
    assert caught.value.exit_code == 5


def test_under_torchrun_its_store_is_used_and_a_restart_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    agents = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    first, second = meet(2, port)
    first.post(Beat("n0"))
    first.announce(Failure(0, "n0", "gone", 1))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    first, second = meet(2, port)
    assert first.beats() == [None, None]
    assert second.of_first() == (None, None)
    del agents


def test_many_ranks_may_have_their_connections() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
        board_module._allow_files(400)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (400, before[1])
        board_module._allow_files(350)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (400, before[1])
        board_module._allow_files(before[1] + 1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_rank_of_a_larger_launch_does_not_join_a_smaller_one_that_has_its_port() -> None:
    port = free_port()
    boards = meet(2, port)
    with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is in use by another launch"):
        Board(dataclasses.replace(of(3, port), world=4))
    assert boards[0].beats() == [None, None]
