"""The order of samples, against a brute-force twin and for random shard counts, groups, worlds and batches."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import UserError
from data_prep.hashing import permutation, shuffled
from data_prep.shards.index import open_shards
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.stream.order import Item, SampleOrder, identity, ordered, rank_positions, training_order, window_starts
from tests.shard_maker import make_shards, moving_blobs

COUNTS = st.lists(st.integers(1, 7), min_size=1, max_size=9)
GROUPS = st.one_of(st.none(), st.integers(1, 12))


STARTS = st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True).map(sorted)


def all_items(counts: list[int], starts: list[int]) -> list[Item]:
    """Every item of shards of so many samples."""
    return [Item(shard, i, start) for shard, count in enumerate(counts) for i in range(count) for start in starts]


def epoch_by_hand(counts: list[int], starts: list[int], seed: int, group: int | None, epoch: int) -> list[Item]:
    """The twin: permute shards, cut into groups, lay each group's items end to end, permute them."""
    shards = permutation(len(counts), seed, epoch).tolist()
    size, order = group or len(counts), []
    for number, begin in enumerate(range(0, len(shards), size)):
        laid = [Item(s, i, start) for s in shards[begin : begin + size] for i in range(counts[s]) for start in starts]
        order += [laid[i] for i in shuffled(np.arange(len(laid)), len(laid), seed, epoch, number)]
    return order


@given(COUNTS, STARTS, GROUPS, st.integers(0, 2**40), st.integers(0, 5))
def test_the_order_is_that_of_the_twin(counts, starts, group, seed, epoch) -> None:  # type: ignore[no-untyped-def]
    order = SampleOrder(counts, starts, seed=seed, shuffle_shards=group)
    seen = order.items(range(epoch * order.length, (epoch + 1) * order.length))
    assert seen == epoch_by_hand(counts, starts, seed, group, epoch)
    assert sorted(seen) == all_items(counts, starts)  # every item exactly once


@pytest.mark.slow
@given(COUNTS, STARTS, GROUPS, st.booleans(), st.randoms())
def test_an_item_does_not_depend_on_what_was_asked_before_or_with_it(counts, starts, group, draw, random) -> None:  # type: ignore[no-untyped-def]
    order = SampleOrder(counts, starts, seed=1, shuffle_shards=group, draw=draw)
    asked = [random.randrange(3 * order.length) for _ in range(20)]
    fresh = [SampleOrder(counts, starts, seed=1, shuffle_shards=group, draw=draw).item(p) for p in asked]
    assert [order.item(p) for p in asked] == order.items(asked) == fresh


@given(COUNTS, STARTS, GROUPS, st.integers(0, 2**40), st.integers(0, 5))
def test_with_one_window_each_an_epoch_shows_every_sequence_once(counts, starts, group, seed, epoch) -> None:  # type: ignore[no-untyped-def]
    order = SampleOrder(counts, starts, seed=seed, shuffle_shards=group, draw=True)
    assert order.length == sum(counts)
    seen = order.items(range(epoch * order.length, (epoch + 1) * order.length))
    assert sorted((item.shard, item.sample) for item in seen) == [item[:2] for item in all_items(counts, [0])]
    assert {item.start for item in seen} <= set(starts)


def test_windows_are_drawn_evenly_and_anew_in_each_epoch() -> None:
    order = SampleOrder([30] * 20, list(range(25)), draw=True)
    epochs = [{item[:2]: item.start for item in order.items(range(e * 600, (e + 1) * 600))} for e in range(20)]
    counts = np.bincount([start for epoch in epochs for start in epoch.values()], minlength=25)
    assert counts.min() > 380 and counts.max() < 580  # of 480, four standard deviations
    same = np.mean([epochs[0][sequence] == epochs[1][sequence] for sequence in epochs[0]])
    assert same < 0.08  # by chance in one of 25


@pytest.mark.slow
@given(COUNTS, GROUPS, st.integers(1, 6), st.integers(1, 4), st.integers(0, 7), st.integers(1, 4), st.booleans())
def test_a_step_sees_the_same_samples_at_any_world_size(counts, group, world, per_rank, step, other, draw) -> None:  # type: ignore[no-untyped-def]
    total = world * per_rank * other  # a global batch that both worlds divide
    order = SampleOrder(counts, [0, 4], seed=1, shuffle_shards=group, draw=draw)

    def step_items(ranks: int) -> Counter[Item]:
        start, stop = step * total, (step + 1) * total
        return Counter(item for rank in range(ranks) for item in order.items(rank_positions(start, rank, ranks, stop)))

    assert step_items(world) == step_items(other) == step_items(1)


@pytest.mark.slow
@given(COUNTS, GROUPS, st.data())
def test_a_training_cut_anywhere_into_launches_of_any_world_size_sees_the_same_samples(counts, group, data) -> None:  # type: ignore[no-untyped-def]
    total = data.draw(st.integers(1, 30))
    worlds = [ranks for ranks in range(1, total + 1) if total % ranks == 0]
    launches = data.draw(st.lists(st.tuples(st.sampled_from(worlds), st.integers(1, 3)), max_size=5))
    order, position, seen = SampleOrder(counts, [0, 2], seed=3, shuffle_shards=group), 0, []
    for world, steps in launches:
        stop = position + steps * total
        shares = [[*ordered(rank_positions(position, rank, world, stop), order)] for rank in range(world)]
        assert {len(share) for share in shares} == {steps * total // world}
        seen += sorted(pair for share in shares for pair in share)
        position = stop
    assert seen == list(ordered(range(position), order))


def test_epochs_differ_and_an_unshuffled_order_is_that_of_the_shards() -> None:
    order = SampleOrder([5, 5, 5], [0, 12, 24], seed=0)
    epochs = [order.items(range(e * order.length, (e + 1) * order.length)) for e in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    plain = SampleOrder([5, 5, 5], [0, 12, 24], shuffled=False)
    assert plain.items(range(45)) == all_items([5, 5, 5], [0, 12, 24])


def test_storms_are_mixed_within_a_batch() -> None:
    order = SampleOrder([32] * 20, [0, 12, 24], seed=0, shuffle_shards=10)
    distinct = [len({item[:2] for item in order.items(range(start, start + 32))}) for start in range(0, 1920, 32)]
    assert np.median(distinct) >= 30  # of 32: two windows of one storm rarely meet


def test_three_hundred_million_items_need_no_memory_of_their_number() -> None:
    counts = [1000] * 100_000
    tracemalloc.start()
    order = SampleOrder(counts, [0, 12, 24], seed=0)
    items = order.items(range(10**10, 10**10 + 1000))
    peak_mb = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert len(set(items)) == 1000
    assert len({item.shard for item in items}) > 980  # all over the split
    assert peak_mb < 10  # a few numbers per shard


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


def test_every_field_of_the_identity_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shards = open_shards(
        make_shards(tmp_path / "a", {name: [moving_blobs(rng) for _ in range(3)] for name in ("train", "val")})
    )
    mine = identity(shards, DataKeys(), 0).__dict__
    changes = {
        "seed": (DataKeys(), 1),
        "shuffle_shards": (DataKeys(shuffle_shards=2), 0),
        "windows": (DataKeys(windows="one"), 0),
        "window": (DataKeys(output_frames=11), 0),
        "window_stride": (DataKeys(window_stride=5), 0),
        "split": (DataKeys(split="val"), 0),
    }
    for name, (data, seed) in changes.items():
        [difference] = identity(shards, data, seed).differences(mine)
        assert difference.startswith(f"{name}: ")


def test_drawn_windows_may_begin_at_any_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shards = open_shards(make_shards(tmp_path / "a", {"train": [moving_blobs(rng, frames=30) for _ in range(3)]}))
    order = training_order(shards, DataKeys(windows="one"), 0)
    assert {item.start for item in order.items(range(300))} == {0, 1, 2, 3, 4, 5}
