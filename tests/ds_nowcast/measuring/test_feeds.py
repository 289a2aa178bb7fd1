"""Which samples a measurement takes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import torch

from data_prep.shards.index import open_shards
from ds_nowcast.config import Batch, load_config
from ds_nowcast.measuring.clock import StepClock
from ds_nowcast.measuring.feeds import one_batch, stream_steps, timed
from ds_nowcast.measuring.machine import sample_bytes, stored_bytes
from ds_nowcast.measuring.traffic import Traffic
from ds_nowcast.memory import host_peak_bytes
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.order import training_order
from ds_nowcast.stream.pipeline import CodeStream, StepCodes
from ds_nowcast.stream.windows import Windows
from ds_nowcast.training.parts import samples_of

CPU = torch.device("cpu")


def noting(stream: CodeStream, taken: list[int]) -> Iterator[StepCodes]:
    """The stream, with the positions that were taken from it."""
    for samples in stream:
        taken.extend(samples.positions)
        yield samples


def test_the_stream_gives_every_item_of_its_steps_once(config: Path, shards: Path) -> None:
    keys, opened, taken = load_config(config).nowcast, open_shards(shards), list[int]()
    batch, clock = Batch(6, 1, 3, 2), StepClock(CPU, Traffic())
    for rank in range(2):
        ranks = Ranks(rank, 2, rank, 2, CPU)
        with samples_of(opened, keys, batch, ranks, 0) as stream:
            make = stream_steps(noting(stream, taken), ranks, clock, ends_early=False)
            splits = timed(make, clock, 7, None)
        assert len(splits) == 7 and all(split.compute == split.communication == 0 for split in splits)
    assert sorted(taken) == list(range(7 * 6))


def test_a_synthetic_feed_is_the_streams_first_batch_and_stays(config: Path, shards: Path) -> None:
    keys, opened, ranks = load_config(config).nowcast, open_shards(shards), Ranks(0, 1, 0, 1, CPU)
    batch = Batch(4, 2, 2, 1)
    with samples_of(opened, keys, batch, ranks, 0) as stream:
        first = next(stream)
        codes, positions = first.codes_BTHW.clone(), first.positions
        next(stream)  # its memory is used again
    feed = one_batch(samples_of(opened, keys, batch, ranks, 0))
    for again in islice(feed, 5):
        assert torch.equal(again.codes_BTHW, codes) and again.positions == positions


def test_samples_weigh_what_a_read_of_their_windows_takes(config: Path, shards: Path) -> None:
    keys, opened, ranks = load_config(config).nowcast, open_shards(shards), Ranks(1, 2, 1, 2, CPU)
    assert sample_bytes(opened, keys) == 7 * 32 * 32
    weight = stored_bytes(opened, keys, Batch(4, 2, 1, 2), ranks, 3)
    sizes, reading = list[int](), opened.source.read

    def noting(name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
        sizes.append(size)
        return reading(name, offset, size, into)

    opened.source.read = noting  # type: ignore[method-assign]
    windows, out_tHW = Windows(opened, "train"), np.empty((7, 32, 32), np.uint8)
    items = training_order(opened, keys.data, keys.seed).items([1, 3, 5, 7, 9, 11])
    for position, item in enumerate(items):
        windows.read(position, item, out_tHW, None)  # tables are read, and kept
    sizes.clear()
    for position, item in enumerate(items):
        windows.read(position, item, out_tHW, None)
    assert len(sizes) == 6 and weight == sum(sizes) / 6


def test_memory_of_the_process_is_the_most_it_held() -> None:
    block = torch.ones(2**27, dtype=torch.uint8)
    held = psutil.Process().memory_info().rss
    assert block.sum() == 2**27
    del block
    assert held <= host_peak_bytes() < 100 * held
