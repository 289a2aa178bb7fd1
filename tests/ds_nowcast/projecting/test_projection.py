"""Steps at many ranks, by hand; what limits them; the band."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds_nowcast.projecting.collectives import Link
from ds_nowcast.projecting.outlook import Task, outlook, outlooks
from ds_nowcast.projecting.projection import Band, Batch, Figures, band_of, batch_at, step
from ds_nowcast.projecting.traffic import Traffic

# 1 M parameters in fp32 at stage 1: per step an all-reduce and an all-gather of 4 MB
FIGURES = Figures(
    compute_s=0.01,
    optimizer_s=0.008,
    other_s=0.001,
    traffic=Traffic(1_000_000, 4, 1),
    link=Link(10e-6, 1e9),
    ranks_per_host=2,
    crowding=0.1,
)
BASE = Batch(4, 2)


def test_a_step_by_hand() -> None:
    found = step(dataclasses.replace(FIGURES, waiting_s=0.002), 4, BASE)
    assert found.samples == 16
    assert found.compute == pytest.approx(0.01 * 4 * 1.1)  # one neighbour on each host of two ranks
    # 6 + 3 messages of 10 us, 1.5 + 0.75 times 4 MB at 1 GB/s
    assert found.communication == pytest.approx(9 * 10e-6 + 2.25 * 4e-3 + 0.002)
    assert found.optimizer == pytest.approx(0.002) and found.other == 0.001
    assert found.data_wait == 0.0 and found.limit == "compute"
    assert found.seconds == pytest.approx(0.044 + 0.00909 + 0.002 + 0.002 + 0.001)
    assert found.samples_per_s == pytest.approx(16 / found.seconds)


def test_neighbours_slow_computing_as_far_as_was_seen() -> None:
    wide = dataclasses.replace(FIGURES, ranks_per_host=8)
    assert step(wide, 8, BASE).compute == pytest.approx(0.04 * 1.7)
    assert step(dataclasses.replace(wide, crowded_to=2), 8, BASE).compute == pytest.approx(0.04 * 1.1)


def test_one_rank_has_no_neighbours_and_nobody_to_wait_for() -> None:
    found = step(dataclasses.replace(FIGURES, waiting_s=0.5), 1, BASE)
    assert (found.compute, found.communication, found.optimizer) == pytest.approx((0.04, 0.0, 0.008))


def test_at_stage_0_every_rank_updates_everything() -> None:
    whole = dataclasses.replace(FIGURES, traffic=Traffic(1_000_000, 4, 0))
    assert step(whole, 64, BASE).optimizer == 0.008


def test_no_more_is_hidden_than_there_is_computation() -> None:
    hidden = dataclasses.replace(FIGURES, exposed=0.0, crowding=0.0)
    assert step(hidden, 4, BASE).communication == 0.0
    slow = dataclasses.replace(hidden, link=Link(0.0, 1e8))  # 2.25 x 4 MB take 90 ms, and computation 40
    assert step(slow, 4, BASE).communication == pytest.approx(0.05)
    half = dataclasses.replace(slow, exposed=0.75)
    assert step(half, 4, BASE).communication == pytest.approx(0.0675)


def test_a_step_waits_for_the_slower_of_stream_and_file_system() -> None:
    streams = dataclasses.replace(FIGURES, stream_per_s=100.0)  # 2 hosts: 16 samples in 80 ms
    found = step(streams, 4, BASE)
    assert found.seconds == pytest.approx(0.08) and found.limit == "stream"
    assert found.data_wait == pytest.approx(0.08 - found.worked)
    disks = dataclasses.replace(streams, stored_bytes=1e6, file_system_bytes_per_s=1e8)  # 160 ms
    assert step(disks, 4, BASE).seconds == pytest.approx(0.16) and step(disks, 4, BASE).limit == "file system"
    # more hosts bring more streams, and no more of a file system
    assert step(streams, 64, BASE).stream == pytest.approx(0.08)
    assert step(disks, 64, BASE).file_system == pytest.approx(16 * 0.16)


def test_communication_limits_where_it_takes_longest() -> None:
    assert step(dataclasses.replace(FIGURES, link=Link(0.0, 1e8)), 64, BASE).limit == "communication"


def test_weak_scaling_keeps_a_ranks_part_and_strong_scaling_the_step() -> None:
    assert batch_at("weak", 100, BASE, 64) == BASE
    assert batch_at("strong", 8, BASE, 64) == (8, 4)  # micro-batches of two
    assert batch_at("strong", 64, BASE, 64) == (1, 1)
    assert batch_at("strong", 65, BASE, 64) is None


@given(
    ranks=st.integers(1, 5000),
    exposed=st.floats(0.0, 1.0),
    error=st.floats(0.0, 2.0),
    bandwidth=st.floats(1e7, 1e12),
    trees=st.booleans(),
    stream=st.floats(10.0, 1e6),
)
def test_the_band_holds_what_is_likely(
    ranks: int, exposed: float, error: float, bandwidth: float, trees: bool, stream: float
) -> None:
    likely = dataclasses.replace(FIGURES, exposed=exposed, link=Link(1e-5, bandwidth, trees), stream_per_s=stream)
    best, middle, worst = (step(figures, ranks, BASE).seconds for figures in band_of(likely, error))
    assert best <= middle * (1 + 1e-9) and middle <= worst * (1 + 1e-9)


TASK = Task(samples=1e6, base=BASE, total=64, windows=1000, per_shard=10.0)


def certain(figures: Figures) -> Band:
    return Band(figures, figures, figures)


def test_hours_are_samples_over_rate() -> None:
    found = outlook("weak", 4, TASK, certain(FIGURES))
    assert found.likely is not None
    assert found.hours(found.likely) == pytest.approx(1e6 / found.likely.samples_per_s / 3600)
    alone = outlook("weak", 1, TASK, certain(FIGURES))
    assert alone.efficiency == 1.0
    assert found.efficiency == pytest.approx(alone.hours(alone.likely) / found.hours(found.likely) / 4)  # type: ignore[operator]


def test_the_batch_limits_where_a_step_has_too_few_samples_or_more_than_an_epoch() -> None:
    few = outlook("strong", 65, TASK, certain(FIGURES))
    assert few.likely is None and few.limit == "batch" and few.hours(few.likely) is None and few.shards is None
    assert few.to_json()["samples_per_s"] is None
    assert outlook("strong", 64, TASK, certain(FIGURES)).limit != "batch"
    assert outlook("weak", 250, TASK, certain(FIGURES)).limit == "compute"  # an epoch just
    assert outlook("weak", 251, TASK, certain(FIGURES)).limit == "batch"


def test_shards_are_as_many_as_reading_and_mixing_need() -> None:
    disks = dataclasses.replace(FIGURES, stored_bytes=1e6, file_bytes_per_s=1e7)
    found = outlook("weak", 4, TASK, certain(disks))
    assert found.likely is not None
    assert found.shards_to_read == -(-found.likely.samples_per_s * 1e6 // 1e7)  # files of 10 MB/s each
    assert found.shards_to_mix == 2  # a step of 16 out of shards of 10
    assert found.shards == max(found.shards_to_read, 2)
    assert outlook("weak", 4096, TASK, certain(disks)).shards_to_mix == 100  # there are no more
    assert outlook("weak", 4, TASK, certain(FIGURES)).shards_to_read is None


def test_all_modes_and_numbers_are_projected() -> None:
    found = outlooks(("weak", "strong"), (2, 8), TASK, certain(FIGURES))
    assert [(one.mode, one.ranks) for one in found] == [("weak", 2), ("weak", 8), ("strong", 2), ("strong", 8)]
