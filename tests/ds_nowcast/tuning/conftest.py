"""A search over a made landscape."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_prep.shards.index import open_shards
from ds_nowcast.tuning.combinations import Configs
from tests.ds_nowcast.tuning.landscape import RANKS, START, Case


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote; only a machine would, and these tests stop none."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def case(config: Path, shards: Path, tmp_path: Path) -> Case:
    """64 samples a step on two ranks: 32 of each, cut up in 6 ways; 288 combinations."""
    return Case(Configs(config, START, open_shards(str(shards)), RANKS), tmp_path / "tuned.json")
