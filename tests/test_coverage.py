"""The count of benchmarks/coverage.py finds what it is there to find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.coverage import Launch, covered, launches
from benchmarks.stream_at_scale import Count, counted
from ds_nowcast.config import Batch
from ds_nowcast.stream.order import SampleOrder, rank_positions

SAMPLES, STARTS, TOTAL = np.array([3, 1, 4, 2, 5]), [0, 12, 24], 6
STEPS = -(-2 * 45 // TOTAL)  # of two epochs


def order(kind: type[SampleOrder] = SampleOrder) -> SampleOrder:
    return kind(SAMPLES.tolist(), STARTS, seed=3, shuffle_shards=2)


def made() -> list[Launch]:
    return launches(TOTAL, 6, STEPS, 7, np.random.default_rng(0))[0]


@pytest.mark.parametrize("group", [None, 1, 4])
def test_every_item_is_seen_once_through_launches_of_many_numbers_of_ranks(group: int | None) -> None:
    found = counted(Count(shards=90, samples=(1, 5), batch=24, ranks=24, launches=60, group=group, epochs=2))
    assert found.exact
    assert (found.items, found.launches) == (2 * order_length(90, (1, 5)), 60)
    assert found.worlds > 4 and found.refused > 5


def order_length(shards: int, samples: tuple[int, int]) -> int:
    return int(np.random.default_rng(0).integers(samples[0], samples[1] + 1, shards).sum()) * len(STARTS)


def test_launches_follow_each_other_without_a_gap_at_numbers_of_ranks_that_divide() -> None:
    chosen = made()
    assert [launch.first for launch in chosen] == [0, *(launch.stop for launch in chosen[:-1])]
    assert chosen[-1].stop == STEPS
    assert {launch.batch.total for launch in chosen} == {TOTAL}
    assert all(TOTAL % launch.batch.ranks == 0 for launch in chosen)


def found_with(launches_made: list[Launch], **options: object) -> tuple[int, int, int]:
    kind = options.pop("kind", SampleOrder)
    found = covered(order(kind), SAMPLES, STARTS, launches_made, epochs=2, **options)  # type: ignore[arg-type]
    assert found.exact == (found.missing + found.repeated + found.uneven == 0)
    return found.missing, found.repeated, found.uneven


def test_a_resume_that_is_a_step_late_or_early_is_found() -> None:
    assert found_with(made()) == (0, 0, 0)
    late = made()
    late[3] = replace(late[3], first=late[3].first + 1) if late[3].stop - late[3].first > 1 else late[3]
    late[2] = replace(late[2], stop=late[2].stop - 1) if late[3] == made()[3] else late[2]
    assert found_with(late) == (TOTAL, 0, 0)
    early = made()
    early[3] = replace(early[3], first=early[3].first - 1)
    assert found_with(early) == (0, TOTAL, 0)


def test_a_rank_that_takes_anothers_samples_or_too_few_is_found() -> None:
    alone = [Launch(Batch(TOTAL, 2, 1, 3), 0, STEPS)]

    def anothers(start: int, rank: int, world: int, stop: int) -> Iterator[int]:
        return rank_positions(start, 1 if rank == 2 else rank, world, stop)

    def too_few(start: int, rank: int, world: int, stop: int) -> list[int]:
        return list(rank_positions(start, rank, world, stop))[: -1 if rank == 1 else None]

    assert found_with(alone, rank_positions_of=anothers) == (30, 30, 0)
    assert found_with(alone, rank_positions_of=too_few) == (1, 0, 1)


class Stuck(SampleOrder):
    """Shows the first item of an epoch in the place of the second too."""

    def table(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return super().table(np.where(positions % self.length == 1, positions - 1, positions))


def test_an_order_that_shows_an_item_twice_is_found() -> None:
    assert found_with(made(), kind=Stuck) == (2, 2, 0)  # in each of two epochs
