"""The reader: what is read together, what stays open, and that a file which changed or is forged is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_prep.errors import RadarFileError
from data_prep.readers import Product
from data_prep.readers.cf import reader as module
from data_prep.readers.file_reader import Entry
from tests.data_prep.readers.cf.memory import RATE, TIME, MemoryDataset, MemoryReader, a_file, frames, on_a_grid


def of_steps(steps: int, chunks: tuple[int, ...] | None, dims: str = "time y x") -> MemoryDataset:
    dataset = on_a_grid()
    dataset.add("time", "time", np.arange(steps) * 5, **TIME)
    values = np.arange(steps * 12.0).reshape(steps, 3, 4)
    axes = [["time", "y", "x"].index(dim) for dim in dims.split()]
    dataset.add("rain", dims, values.transpose(axes), chunks, **RATE)
    return dataset


def read_of_rain(dataset: MemoryDataset) -> list[Any]:
    return [shape for name, shape in dataset.reads if name == "rain"]


def test_a_pass_in_the_order_of_time_reads_each_chunk_once() -> None:
    dataset = of_steps(10, chunks=(4, 2, 2))
    found = frames(dataset)
    assert read_of_rain(dataset) == [(4, 3, 4), (4, 3, 4), (2, 3, 4)]
    assert [frame.field[2, 0] for frame in found] == [12.0 * step for step in range(10)]


def test_steps_that_can_be_read_alone_are() -> None:
    for chunks in (None, (1, 3, 4)):
        dataset = of_steps(3, chunks)
        frames(dataset)
        assert read_of_rain(dataset) == [(1, 3, 4)] * 3


def test_where_the_steps_lie_scattered_many_are_read_together() -> None:
    dataset = of_steps(6, None, "y x time")
    frames(dataset)
    assert read_of_rain(dataset) == [(3, 4, 6)]


def test_what_is_read_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BLOCK_BYTES", 3 * 12 * 8)
    dataset = of_steps(10, chunks=(8, 3, 4))
    found = frames(dataset)
    assert read_of_rain(dataset) == [(3, 3, 4), (3, 3, 4), (2, 3, 4), (2, 3, 4)]
    assert [frame.field[2, 0] for frame in found] == [12.0 * step for step in range(10)]


def test_a_frame_does_not_keep_the_block_it_was_read_with() -> None:
    frame = frames(of_steps(8, chunks=(8, 3, 4)))[0]
    assert frame.stored.base is None or frame.stored.base.size <= 12


def test_frames_of_one_file_open_it_once_and_another_closes_it() -> None:
    first, second = of_steps(3, None), of_steps(2, None)
    frames(first)
    frames(first)
    assert len([name for name, _ in first.reads if name == "time"]) == 1 and first.closed == 0
    frames(second)
    assert first.closed == 1


def test_a_failed_read_forgets_the_open_file() -> None:
    dataset = of_steps(3, None)
    reader = MemoryReader(dataset)
    entry = next(iter(reader.contents(a_file(dataset))))
    dataset.arrays["rain"] = dataset.arrays["rain"][:, :2]
    assert isinstance(entry, Entry)
    with pytest.raises(RadarFileError, match=r"variable 'rain' gave \(1, 2, 4\) values, expected \(1, 3, 4\)"):
        reader.frame(a_file(dataset), entry)
    assert dataset.closed == 1


@pytest.mark.parametrize(("item", "name"), [(3, "rain"), (-1, "rain"), (0, "snow")])
def test_a_step_or_product_that_is_no_longer_there_is_named(item: int, name: str) -> None:
    dataset = of_steps(3, None)
    [first, *_] = MemoryReader(dataset).contents(a_file(dataset))
    assert isinstance(first, Entry)
    with pytest.raises(RadarFileError, match=f"no longer holds step {item} of '{name}' as it was listed"):
        MemoryReader(dataset).frame(a_file(dataset), Entry(first.time, Product(name, "mm/h"), item))


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [((1 << 12, 1 << 10, 1 << 9), "declares more than"), ((1, 0, 1), "")],
)
def test_a_forged_chunk_is_refused_before_it_is_read(chunks: tuple[int, ...], reason: str) -> None:
    dataset = of_steps(3, chunks)
    if reason:
        with pytest.raises(RadarFileError, match=reason):
            frames(dataset)
        assert read_of_rain(dataset) == []
    else:
        assert len(frames(dataset)) == 3


def test_a_field_cut_into_too_many_chunks_is_refused() -> None:
    dataset = on_a_grid()
    dataset.add("y", "y", np.arange(300.0), units="m", standard_name="projection_y_coordinate")
    dataset.add("x", "x", np.arange(300.0), units="m", standard_name="projection_x_coordinate")
    dataset.add("rain", "time y x", np.zeros((2, 300, 300)), (1, 1, 1), **RATE)
    with pytest.raises(RadarFileError, match=r"'rain' is cut into \(1, 1, 1\): too small to be read"):
        frames(dataset)
