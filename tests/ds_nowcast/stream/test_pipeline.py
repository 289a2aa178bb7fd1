"""From positions to code batches: equal to decoding by hand, ends and damage included."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.errors import SourceError, UserError
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


VICTIM = "train/train-000001.tar"  # holds samples 4 to 7


def tar_of(shards: Shards) -> Path:
    return shards.folder / VICTIM


def idx_of(shards: Shards) -> Path:
    return tar_of(shards).with_suffix(".idx")


def cut_in_half(shards: Shards) -> None:
    tar_of(shards).write_bytes(tar_of(shards).read_bytes()[: tar_of(shards).stat().st_size // 2])


def empty(shards: Shards) -> None:
    tar_of(shards).write_bytes(b"")


def flip_bytes(shards: Shards) -> None:
    content = bytearray(tar_of(shards).read_bytes())
    for place in range(1200, len(content), 997):
        content[place] ^= 0xFF
    tar_of(shards).write_bytes(content)


def vanish(shards: Shards) -> None:
    tar_of(shards).unlink()


def become_a_folder(shards: Shards) -> None:
    tar_of(shards).unlink()
    tar_of(shards).mkdir()


def lose_idx(shards: Shards) -> None:
    idx_of(shards).unlink()


def garble_idx(shards: Shards) -> None:
    idx_of(shards).write_text("v1.2 4\nx\n")


def idx_of_another_shard(shards: Shards) -> None:
    idx_of(shards).write_bytes((shards.folder / "train/train-000002.idx").read_bytes())


def no_member(shards: Shards) -> None:
    idx_of(shards).write_text(idx_of(shards).read_text().replace("json ", "txt ", 1))


def edited(old: bytes, new: bytes) -> Callable[[Shards], None]:
    """Replaces the first bytes of that kind in the tar by as many others."""

    def edit(shards: Shards) -> None:
        content = tar_of(shards).read_bytes()
        assert old in content and len(old) == len(new)
        tar_of(shards).write_bytes(content.replace(old, new, 1))

    return edit


bad_json = edited(b'{"key"', b'("key"')
no_object = edited(b'{"key"', b'["key"')
wrong_shape = edited(b'"shape": [13, 24, 24]', b'"shape": [13, 42, 24]')
wrong_type = edited(b'"dtype": "uint8"', b'"dtype": "int16"')
other_key = edited(b'"key": "train0004"', b'"key": "train0005"')
Epoch = tuple[list[int], list[str], torch.Tensor]


def epoch_of(shards: Shards, world: int = 1, **changes: Any) -> Epoch:
    """Positions, the damaged among them by name, and codes of an epoch of 33 windows, in the order's order."""
    data, rows = DATA.model_copy(update=changes), []
    for rank in range(world):
        with training_stream(shards, data, 0, batch=11, rank=rank, world=world, start=0, threads=2) as stream:
            for _ in range(3 // world):
                batch = next(stream)
                rows += zip(batch.samples, batch.codes_BTHW.clone(), strict=True)
    rows.sort(key=lambda row: row[0].position)
    bad = [str(sample) for sample, _ in rows if sample.damage]
    return [sample.position for sample, _ in rows], bad, torch.stack([codes for _, codes in rows])


# what is done to the shard, how many of its 12 windows are lost, what is said
DAMAGES = [
    (cut_in_half, 12, "bytes, index.json says"),
    (empty, 12, "has 0 bytes, index.json says"),
    (flip_bytes, None, "damaged"),
    (vanish, 12, "is missing, index.json says"),
    (become_a_folder, 12, "is missing, index.json says"),
    (lose_idx, 12, "train-000001.idx cannot be used"),
    (garble_idx, 12, "train-000001.idx cannot be used"),
    (idx_of_another_shard, None, ""),
    (no_member, 3, "it has no json"),
    (bad_json, 3, "its JSON is damaged"),
    (no_object, 3, "its JSON is damaged"),
    (wrong_shape, 3, "its JSON says"),
    (wrong_type, 3, "its JSON says"),
    (other_key, 3, "its JSON says"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "lost", "told"), DAMAGES)
def test_damage_keeps_the_order_and_counts_as_all_missing_alike_on_every_run_and_rank(
    shards: Shards, damage: Callable[[Shards], None], lost: int | None, told: str
) -> None:
    whole_positions, whole_bad, whole_codes = epoch_of(shards)
    assert not whole_bad
    damage(shards)
    opened = open_shards(shards.folder, whole=False)
    positions, bad, codes = epoch_of(opened)
    assert positions == whole_positions
    assert bad and (lost is None or len(bad) == lost)
    assert all(name.startswith(VICTIM) and told in name for name in bad)  # shard, key, reason
    unequal = [row for row in range(33) if not torch.equal(codes[row], whole_codes[row])]
    assert len(unequal) == len(bad)
    assert all(bool((codes[row] == 255).all()) for row in unequal)
    for world in (1, 3):
        again = epoch_of(open_shards(shards.folder, whole=False), world)
        assert again[:2] == (positions, bad)
        assert torch.equal(again[2], codes)


def test_hashes_are_compared_where_the_config_asks_for_it(shards: Shards) -> None:
    content = bytearray(tar_of(shards).read_bytes())
    content[-1] ^= 1  # in the padding, which no sample's checksum covers
    tar_of(shards).write_bytes(content)
    assert epoch_of(shards)[1] == []
    opened, hashed = open_shards(shards.folder), []

    class Counting:
        """Notes which shards are hashed."""

        def __getattr__(self, name: str) -> Any:
            return getattr(shards.source, name)

        def sha256(self, name: str) -> str:
            hashed.append(name)
            return shards.source.sha256(name)

    opened = replace(opened, source=Counting())
    for _ in range(2):  # streams over the same shards
        bad = epoch_of(opened, verify_hashes=True)[1]
        assert len(bad) == 12
    assert sorted(hashed) == [shard.name for shard in shards.split("train").shards], "each once"
    assert all(name.endswith("its sha256 is not the one in the index") for name in bad)


@pytest.mark.parametrize("codec", ["lz4hc", "zstd", "raw"])
def test_every_codec_streams_the_same_and_finds_damage(
    codec: str, shards: Shards, sequences: list[Codes], tmp_path: Path
) -> None:
    other = open_shards(make_shards(tmp_path / codec, {"train": sequences}, codec=codec))
    expected = epoch_of(shards)
    positions, bad, codes = epoch_of(other)
    assert (positions, bad) == expected[:2] and torch.equal(codes, expected[2])
    flip_bytes(other)
    positions, bad, codes = epoch_of(other)
    unequal = [row for row in range(33) if not torch.equal(codes[row], expected[2][row])]
    assert 0 < len(unequal) == len(bad) and all(bool((codes[row] == 255).all()) for row in unequal)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_change_of_any_bytes_ever_gives_wrong_codes(shards: Shards, data: st.DataObject) -> None:
    whole = epoch_of(shards)[2]
    path = data.draw(st.sampled_from([tar_of(shards), idx_of(shards)]))
    before = path.read_bytes()
    content = bytearray(before)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=20)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        positions, bad, codes = epoch_of(open_shards(shards.folder, whole=False))
    finally:
        path.write_bytes(before)
    assert positions == list(range(33))
    unequal = [row for row in range(33) if not torch.equal(codes[row], whole[row])]
    assert len(unequal) == len(bad) and all(bool((codes[row] == 255).all()) for row in unequal)


def test_an_all_missing_sample_is_no_damage(tmp_path: Path, sequences: list[Codes]) -> None:
    unseen = [*sequences[:5], np.full_like(sequences[0], 255)]
    shards = open_shards(make_shards(tmp_path / "unseen", {"train": unseen}))
    with training_stream(shards, DATA, 0, batch=18, rank=0, world=1, start=0, threads=1) as stream:
        batch = next(stream)
    assert batch.bad == []
    assert sum(bool((codes == 255).all()) for codes in batch.codes_BTHW) == 3


def test_what_a_source_cannot_reach_is_raised_to_whoever_waits_for_it(shards: Shards) -> None:
    class Gone:
        """A source whose server went away after the tables of contents were read."""

        local, cache_mb, location = False, None, "http://gone"

        def __getattr__(self, name: str) -> Any:
            return getattr(shards.source, name)

        def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
            raise SourceError("http://gone did not answer")

    far = replace(shards, source=Gone())
    with (
        training_stream(far, DATA, 0, batch=4, rank=0, world=1, start=0, threads=1) as stream,
        pytest.raises(SourceError, match="did not answer"),
    ):
        next(stream)


def test_far_samples_are_read_many_at_once_and_decoded_by_few_threads(shards: Shards) -> None:
    lock, counts = threading.Lock(), {"now": 0, "most": 0}

    class Slow:
        """A source each of whose answers takes a while."""

        local, cache_mb, location = False, None, "http://slow"

        def __getattr__(self, name: str) -> Any:
            return getattr(shards.source, name)

        def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
            with lock:
                counts["now"] += 1
                counts["most"] = max(counts["most"], counts["now"])
            time.sleep(0.02)
            with lock:
                counts["now"] -= 1
            return shards.source.read(name, offset, size, into)

    near_codes, far = epoch_of(shards), replace(shards, source=Slow())
    positions, bad, codes = epoch_of(far, requests=8)
    assert (positions, bad) == near_codes[:2]
    assert torch.equal(codes, near_codes[2])
    assert counts["most"] == 8


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


@pytest.mark.slow
def test_memory_stays_within_what_is_stated_with_a_hundred_thousand_shards(tmp_path: Path) -> None:
    """`nowcast.data.buffer_mb`, the index, and 64 MB for tables of contents; flat in the number of samples read."""
    command = [sys.executable, "-m", "tests.ds_nowcast.stream.memory_case", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    mb = json.loads(done.stdout)
    assert mb["opened"] - mb["before"] < 100  # the index: 100,000 lines
    assert mb["read 10,000"] - mb["opened"] < mb["buffer_mb"] + 64
    assert mb["read 24,000"] - mb["read 10,000"] < 16
    assert mb["seconds to open"] < 10
