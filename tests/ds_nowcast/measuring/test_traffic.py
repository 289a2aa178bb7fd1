"""What collectives are given, and that nothing stays watched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, ProcessGroup, Work

from ds_nowcast.measuring.traffic import Traffic, message_bytes


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of one."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_the_whole_counts_whichever_side_it_is_on() -> None:
    whole, part = torch.zeros(6), torch.zeros(3)
    assert message_bytes(([whole], object())) == 24  # all_reduce
    assert message_bytes((whole, part)) == message_bytes((part, whole)) == 24  # all_gather, reduce_scatter
    assert message_bytes(([[part, part]], [part])) == 24
    assert message_bytes((torch.zeros(5, dtype=torch.bfloat16),)) == 10
    assert message_bytes(()) == 0


@pytest.mark.usefixtures("alone")
def test_collectives_are_watched_while_it_is_entered_and_of_one_rank_move_nothing() -> None:
    before = dict(vars(ProcessGroup)), dict(vars(Work))
    kept, tensor, traffic = dist.all_gather_into_tensor, torch.ones(3), Traffic()
    with traffic:
        dist.all_reduce(tensor)
        reduced = traffic.seconds
        kept(tensor, tensor.clone())
    watched = traffic.seconds
    assert 0 < reduced < watched and not traffic.bytes
    assert (dict(vars(ProcessGroup)), dict(vars(Work))) == before
    dist.all_reduce(tensor)
    assert traffic.seconds == watched and tensor.tolist() == [1, 1, 1]


@pytest.mark.usefixtures("alone")
def test_kinds_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessGroup, "size", lambda group: 2)  # of which only this one is there
    tensor, traffic = torch.ones(3), Traffic()
    with traffic:
        dist.all_reduce(tensor)
        dist.broadcast(tensor, 0)
        dist.reduce(tensor, 0)
        dist.all_gather([torch.zeros(3)], tensor)
        work = dist.reduce_scatter_tensor(torch.zeros(3), tensor, async_op=True)
        started = traffic.seconds
        work.wait()
        assert traffic.seconds > started
        dist.barrier()
    assert traffic.bytes == {
        "all_reduce": 12, "broadcast": 12, "reduce": 12, "all_gather": 12, "reduce_scatter": 12, "barrier": 0,
    }  # fmt: skip
