"""Damaged samples are named and counted once each."""

from __future__ import annotations

import pytest
import torch

from data_prep.errors import DataError
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.windows import Sample
from ds_nowcast.training.damage import note_damage

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))


def sample(position: int, key: str, start: int = 0, damage: str = "damaged chunk") -> Sample:
    return Sample(position, "train/train-000000.tar", key, start, damage)


def test_a_sample_is_named_and_counted_once_in_whatever_window_and_for_whatever_reason() -> None:
    known: dict[str, str] = {}
    warned: list[str] = []
    for samples in ([sample(7, "b"), sample(3, "a")], [sample(9, "a", 12, "is gone")], []):
        note_damage(known, samples, 2, "shards", ALONE, warned.append)
    assert known == {"train/train-000000.tar a": "damaged chunk", "train/train-000000.tar b": "damaged chunk"}
    assert warned == [
        f"unreadable sample counts as all missing: train/train-000000.tar {key}: damaged chunk" for key in "ab"
    ]


def test_more_than_the_limit_end_the_run_and_say_what_to_do() -> None:
    known = {"train/train-000000.tar a": "cut"}
    with pytest.raises(
        DataError, match=r"^2 unreadable samples are more than nowcast\.data\.max_bad_samples=1 \(the last:"
    ) as e:
        note_damage(known, [sample(1, "b")], 1, "shards/sevir", ALONE, lambda text: None)
    assert str(e.value).endswith("run `python -m data_prep verify shards/sevir` and copy or build the shard again")
