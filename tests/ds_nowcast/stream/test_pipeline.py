"""From positions to code batches: equal to decoding by hand, ends and damage included."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.errors import UserError
from data_prep.shards.index import Shards, open_shards
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.stream.order import training_order
from ds_nowcast.stream.pipeline import evaluation_stream, training_stream
from tests.shard_maker import Codes, make_shards, moving_blobs

DATA = DataKeys(input_frames=3, output_frames=2, window_stride=4, buffer_mb=1, max_bad_samples=99)


@pytest.fixture(scope="module")
def sequences() -> list[Codes]:
    rng = np.random.default_rng(1)
    return [moving_blobs(rng, frames=13, size=24, missing=0.1 * (i % 3)) for i in range(11)]


@pytest.fixture
def shards(tmp_path: Path, sequences: list[Codes]) -> Shards:
    return open_shards(make_shards(tmp_path / "shards", {"train": sequences, "val": sequences[:5]}, per_shard=4))


def test_batches_hold_the_windows_of_the_order(shards: Shards, sequences: list[Codes]) -> None:
    order = training_order(shards, DATA, 3)
    with training_stream(shards, DATA, 3, batch=4, rank=1, world=2, start=6, threads=2) as stream:
        for batch_number in range(20):  # well into the second epoch
            batch = next(stream)
            for row in range(4):
                position = 6 + 1 + 2 * (batch_number * 4 + row)
                item = order.item(position)
                expected = sequences[item.shard * 4 + item.sample][item.start : item.start + 5]
                assert batch.positions[row] == position
                assert batch.samples[row].key == f"train{item.shard * 4 + item.sample:04d}"
                np.testing.assert_array_equal(batch.codes_BTHW[row].numpy(), expected)
            assert batch.bad == []


@pytest.mark.parametrize(("world", "size"), [(1, 4), (2, 4), (3, 1), (4, 7), (16, 2)])
def test_evaluation_shows_each_window_once_in_equal_steps(shards: Shards, world: int, size: int) -> None:
    positions: list[int] = []
    for rank in range(world):
        stream, steps, windows = evaluation_stream(shards, "val", DATA, batch=size, rank=rank, world=world, threads=1)
        with stream:
            batches = [batch.positions for batch in stream]
        assert windows == 15
        assert len(batches) <= steps == -(-15 // (world * size))
        assert all(len(batch) == size for batch in batches)
        positions += [p for batch in batches for p in batch if p >= 0]
    assert sorted(positions) == list(range(15))


def test_padding_is_all_missing(shards: Shards) -> None:
    stream, _, _ = evaluation_stream(shards, "val", DATA, batch=16, rank=0, world=1, threads=1)
    with stream:
        batch = next(stream)
    assert batch.positions[-1] == -1
    assert torch.all(batch.codes_BTHW[15] == 255)


def damage_nothing(shards: Shards) -> None:
    pass


def cut_in_half(shards: Shards) -> None:
    tar = shards.folder / "train/train-000001.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])


def flip_bytes(shards: Shards) -> None:
    tar = shards.folder / "train/train-000001.tar"
    content = bytearray(tar.read_bytes())
    for place in range(1200, len(content), 997):
        content[place] ^= 0xFF
    tar.write_bytes(content)


def vanish(shards: Shards) -> None:
    (shards.folder / "train/train-000001.tar").unlink()


def lose_idx(shards: Shards) -> None:
    (shards.folder / "train/train-000001.idx").unlink()


def garble_idx(shards: Shards) -> None:
    (shards.folder / "train/train-000001.idx").write_text("v1.2 4\nx\n")


@pytest.mark.parametrize("damage", [cut_in_half, flip_bytes, vanish, lose_idx, garble_idx])
def test_a_damaged_shard_keeps_the_order_and_counts_as_all_missing(shards: Shards, damage) -> None:  # type: ignore[no-untyped-def]
    def epoch() -> tuple[list[int], list[str], torch.Tensor]:
        with training_stream(shards, DATA, 0, batch=11, rank=0, world=1, start=0, threads=2) as stream:
            batches = [(batch, batch.codes_BTHW.clone()) for batch in (next(stream) for _ in range(3))]
        bad = [str(sample) for batch, _ in batches for sample in batch.bad]
        return [p for batch, _ in batches for p in batch.positions], bad, torch.cat([codes for _, codes in batches])

    whole_positions, whole_bad, whole_codes = epoch()
    assert not whole_bad
    damage(shards)
    positions, bad, codes = epoch()
    assert positions == whole_positions
    assert bad  # named with shard and reason
    assert all(name.startswith("train/train-000001.tar") for name in bad)
    unequal = [row for row in range(33) if not torch.equal(codes[row], whole_codes[row])]
    assert len(unequal) == len(bad)
    assert all(bool((codes[row] == 255).all()) for row in unequal)
    assert epoch()[1] == bad  # the same outcome on every run


def test_a_stream_that_is_closed_leaves_no_thread(shards: Shards) -> None:
    before = threading.active_count()
    for taken in range(4):
        stream = training_stream(shards, DATA, 0, batch=4, rank=0, world=1, start=0, threads=3)
        for _ in range(taken):
            next(stream)
        stream.close()
    for thread in threading.enumerate():
        if thread.name == "stream":
            thread.join(5)
    assert threading.active_count() == before


def test_a_buffer_too_small_for_two_steps_is_refused(shards: Shards) -> None:
    with pytest.raises(UserError, match="buffer_mb=1 holds less than two steps of 200 samples; give 2 or more"):
        training_stream(shards, DATA, 0, batch=200, rank=0, world=1, start=0, threads=1)
