"""An evaluation that ends half-way, on all ranks alike: a wish to stop, a source that has gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.errors import SourceError
from data_prep.shards.index import Shards, open_shards
from ds_nowcast.ranks import Ranks
from ds_nowcast.scoring.evaluation import Evaluation, StoppedError
from tests.ds_nowcast.scoring.test_evaluation import CODES, DATA, OneOf, highest, ranks, sequences_of
from tests.shard_maker import make_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Ten windows."""
    return open_shards(make_shards(tmp_path_factory.mktemp("scored") / "shards", {"test": sequences_of()}, per_shard=2))


class Leaving:
    """A source whose server goes away after a few reads."""

    local, cache_mb, location = False, None, "http://leaving"

    def __init__(self, near: Any, reads: int) -> None:
        self._near, self._left = near, reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._near, name)

    def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
        self._left -= 1
        if self._left < 0:
            raise SourceError("http://leaving did not answer")
        result: memoryview = self._near.read(name, offset, size, into)
        return result


def from_leaving(shards: Shards, among: Ranks) -> Evaluation:
    data = DATA.model_copy(update={"requests": 1, "threads": 1})
    return Evaluation(replace(shards, source=Leaving(shards.source, 6)), "test", data, CODES, among, micro_batch=2)


def test_a_rank_that_loses_its_source_ends_the_evaluation(tmp_path: Path) -> None:
    shards, calls = open_shards(make_shards(tmp_path / "shards", {"test": sequences_of()}, per_shard=2)), []

    def counted(past_BTHW: torch.Tensor) -> torch.Tensor:
        calls.append(len(past_BTHW))
        return highest(past_BTHW)

    with pytest.raises(SourceError, match="http://leaving did not answer") as caught:
        from_leaving(shards, ranks()).run(counted)
    assert 0 < len(calls) < 5, "it forecast what could be read"
    assert caught.value.rank == 0


class BesideOthers(OneOf):
    """The first of two ranks; the other one's numbers are added to every sum of two, what it says stands behind ours."""

    others: tuple[float, float] = (0.0, 0.0)
    says: Any = None

    def sum(self, numbers: Sequence[float]) -> list[float]:
        return [float(a + b) for a, b in zip(numbers, self.others, strict=True)]

    def gather(self, thing: Any) -> list[Any]:
        return [thing, self.says]


def beside(stopping: float, failing: float, says: str | None = None) -> Ranks:
    among = BesideOthers(0, 2, 0, 2, torch.device("cpu"))
    object.__setattr__(among, "others", (stopping, failing))
    object.__setattr__(among, "says", says)
    return among


@pytest.mark.parametrize(("mine", "another"), [(True, 0.0), (False, 1.0), (True, 1.0)])
def test_a_wish_to_stop_on_any_rank_ends_the_evaluation_on_all_before_the_next_forecast(
    shards: Shards, mine: bool, another: float
) -> None:
    evaluation = Evaluation(shards, "test", DATA, CODES, beside(another, 0.0), micro_batch=2)
    with pytest.raises(StoppedError):
        evaluation.run(lambda past: pytest.fail("predicted"), stops=lambda: mine)


def test_every_batch_asks_for_a_wish_to_stop(shards: Shards) -> None:
    wishes, calls = iter([False, False, True]), []

    def counted(past_BTHW: torch.Tensor) -> torch.Tensor:
        calls.append(len(past_BTHW))
        return highest(past_BTHW)

    evaluation = Evaluation(shards, "test", DATA, CODES, ranks(), micro_batch=2)
    with pytest.raises(StoppedError):
        evaluation.run(counted, stops=lambda: next(wishes))
    assert calls == [2, 2]
    evaluation.run(counted)  # and nothing of it is left


def test_what_another_rank_cannot_read_ends_the_evaluation_also_where_it_was_to_stop(shards: Shards) -> None:
    evaluation = Evaluation(shards, "test", DATA, CODES, beside(1.0, 1.0, "http://b is gone"), micro_batch=2)
    with pytest.raises(SourceError, match="http://b is gone") as caught:
        evaluation.run(highest, stops=lambda: True)
    assert caught.value.rank == 1
