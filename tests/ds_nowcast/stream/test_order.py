"""The order of samples, against a brute-force twin and for random shard counts, groups, worlds and batches."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import UserError
from data_prep.hashing import permutation
from data_prep.shards.index import open_shards
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.stream.order import Item, SampleOrder, identity, rank_positions, training_order, window_starts
from tests.shard_maker import make_shards, moving_blobs

COUNTS = st.lists(st.integers(1, 7), min_size=1, max_size=9)
GROUPS = st.one_of(st.none(), st.integers(1, 12))


def all_items(counts: list[int], windows: int) -> list[Item]:
    """Every item of shards of so many samples."""
    return [Item(shard, i, w) for shard, count in enumerate(counts) for i in range(count) for w in range(windows)]


def epoch_by_hand(counts: list[int], windows: int, seed: int, group: int | None, epoch: int) -> list[Item]:
    """The twin: permute shards, cut into groups, lay each group's items end to end, permute them."""
    shards = permutation(len(counts), seed, epoch).tolist()
    size, order = group or len(counts), []
    for number, start in enumerate(range(0, len(shards), size)):
        laid = [Item(s, i, w) for s in shards[start : start + size] for i in range(counts[s]) for w in range(windows)]
        order += [laid[i] for i in permutation(len(laid), seed, epoch, number)]
    return order


@given(COUNTS, st.integers(1, 3), GROUPS, st.integers(0, 2**40), st.integers(0, 5))
def test_the_order_is_that_of_the_twin(
    counts: list[int], windows: int, group: int | None, seed: int, epoch: int
) -> None:
    order = SampleOrder(counts, windows, seed=seed, shuffle_shards=group)
    seen = [order.item(epoch * order.length + q) for q in range(order.length)]
    assert seen == epoch_by_hand(counts, windows, seed, group, epoch)
    assert sorted(seen) == all_items(counts, windows)  # every item exactly once


@given(COUNTS, st.integers(1, 3), GROUPS, st.integers(0, 3), st.randoms())
def test_an_item_does_not_depend_on_what_was_asked_before(counts, windows, group, seed, random) -> None:  # type: ignore[no-untyped-def]
    order = SampleOrder(counts, windows, seed=seed, shuffle_shards=group)
    asked = [random.randrange(3 * order.length) for _ in range(20)]
    fresh = [SampleOrder(counts, windows, seed=seed, shuffle_shards=group).item(p) for p in asked]
    assert [order.item(p) for p in asked] == fresh


@given(COUNTS, GROUPS, st.integers(1, 6), st.integers(1, 4), st.integers(0, 7), st.integers(1, 4))
def test_a_step_sees_the_same_samples_at_any_world_size(counts, group, world, per_rank, step, other) -> None:  # type: ignore[no-untyped-def]
    total = world * per_rank * other  # a global batch that both worlds divide
    order = SampleOrder(counts, 2, seed=1, shuffle_shards=group)

    def step_items(ranks: int) -> Counter[Item]:
        start, stop = step * total, (step + 1) * total
        return Counter(order.item(p) for rank in range(ranks) for p in rank_positions(start, rank, ranks, stop))

    assert step_items(world) == step_items(other) == step_items(1)


def test_epochs_differ_and_an_unshuffled_order_is_that_of_the_shards() -> None:
    order = SampleOrder([5, 5, 5], 3, seed=0)
    epochs = [[order.item(e * order.length + q) for q in range(order.length)] for e in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    plain = SampleOrder([5, 5, 5], 3, shuffled=False)
    assert [plain.item(p) for p in range(45)] == all_items([5, 5, 5], 3)


def test_storms_are_mixed_within_a_batch() -> None:
    order = SampleOrder([32] * 20, 3, seed=0, shuffle_shards=10)
    distinct = [len({order.item(p)[:2] for p in range(start, start + 32)}) for start in range(0, 1920, 32)]
    assert np.median(distinct) >= 30  # of 32: two windows of one storm rarely meet


@given(st.integers(0, 50), st.integers(1, 8))
def test_ranks_share_a_range_of_positions_without_overlap(windows: int, world: int) -> None:
    shares = [list(rank_positions(0, rank, world, windows)) for rank in range(world)]
    assert sorted(p for share in shares for p in share) == list(range(windows))


def test_windows_of_a_sevir_event_begin_at_0_12_and_24() -> None:
    assert window_starts(49, DataKeys()) == [0, 12, 24]


def test_a_window_longer_than_a_sequence_is_refused_with_both_lengths() -> None:
    with pytest.raises(UserError, match=r"input_frames=13 \+ output_frames=60 = 73 frames are more than the 49"):
        window_starts(49, DataKeys(output_frames=60))


def test_the_identity_tells_what_differs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shards = open_shards(make_shards(tmp_path / "a", {"train": [moving_blobs(rng) for _ in range(3)]}))
    mine = identity(shards, DataKeys(), 0)
    saved = {**mine.__dict__, "seed": 4, "shuffle_shards": 8}
    assert mine.differences(mine.__dict__) == []
    assert mine.differences(saved) == ["seed: 4 -> 0", "shuffle_shards: 8 -> None"]
    assert training_order(shards, DataKeys(), 0).length == 3
