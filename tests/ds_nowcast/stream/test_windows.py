"""Windows out of shards that lie elsewhere, over servers that fail, and what does not fit a cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.errors import SourceError, UserError
from data_prep.shards.index import Shards
from data_prep.shards.sources import retry
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.stream.pipeline import training_stream
from ds_nowcast.stream.windows import open_for
from tests.data_prep.shards.sources.fault_server import (
    FaultServer,
    drop_in_the_middle,
    fine,
    refuse_connection,
    short_range,
    status,
)
from tests.shard_maker import make_shards, moving_blobs

DATA = DataKeys(input_frames=3, output_frames=2, window_stride=4, buffer_mb=1)
FAULTS = [fine, fine, drop_in_the_middle, refuse_connection, short_range, status(503), status(429, Retry_After="0")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    sequences = [moving_blobs(rng, frames=13, size=24) for _ in range(10)]
    return make_shards(tmp_path_factory.mktemp("far") / "shards", {"train": sequences}, per_shard=4)


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(retry, "_LONGEST_WAIT_S", 0.01)
    server = FaultServer()
    files = (path for path in folder.rglob("*") if path.is_file())
    server.files = {f"/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files}
    yield server
    server.close()


def epoch_of(shards: Shards, data: DataKeys) -> torch.Tensor:
    """The 30 windows of an epoch."""
    with training_stream(shards, data, 0, batch=6, rank=0, world=1, start=0, threads=2) as stream:
        batches = []
        for _ in range(5):
            batch = next(stream)
            assert not batch.bad
            batches.append(batch.codes_BTHW.clone())
    shards.source.close()
    return torch.cat(batches)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=40), ranges=st.booleans())
def test_a_failing_server_delivers_the_same_samples(
    folder: Path, server: FaultServer, faults: list[object], ranges: bool
) -> None:
    expected = epoch_of(open_for(str(folder), DATA), DATA)
    data = DATA.model_copy(update={"retries": 40})
    shards = open_for(server.url, data)
    server.ranges = ranges
    server.faults.extend(faults)  # type: ignore[arg-type]
    assert torch.equal(epoch_of(shards, data), expected)
    server.faults.clear()


def test_a_window_is_read_in_ranges_of_its_own_frames_only(folder: Path, server: FaultServer) -> None:
    epoch_of(open_for(server.url, DATA), DATA)
    asked = [request for request in server.requests if request.path.endswith(".tar")]
    assert all(request.range is not None for request in asked)
    ahead = 8 * 6  # windows of batches in hand beyond the epoch
    assert len(asked) <= 1 + 3 + 10 + 30 + ahead  # are there ranges; a size per shard, a table per sequence; windows
    assert [request.path for request in server.requests].count("/train/train-000001.idx") == 1


def test_a_shard_that_is_gone_from_the_server_is_damage_and_a_dead_server_is_not(server: FaultServer) -> None:
    data = DATA.model_copy(update={"max_bad_samples": 99, "retries": 1})
    del server.files["/train/train-000001.tar"]
    shards = open_for(server.url, data)
    with training_stream(shards, data, 0, batch=30, rank=0, world=1, start=0, threads=2) as stream:
        bad = next(stream).bad
    assert len(bad) == 12 and all(s.shard == "train/train-000001.tar" and "is missing" in s.damage for s in bad)
    assert {sample.key for sample in bad} == {f"train{number:04d}" for number in range(4, 8)}
    server.faults.extend([status(500)] * 1000)
    with (
        training_stream(shards, data, 0, batch=30, rank=0, world=1, start=0, threads=2) as stream,
        pytest.raises(SourceError, match="could not be read in 2 attempts"),
    ):
        next(stream)
    shards.source.close()


def test_what_is_shuffled_together_must_fit_the_cache_of_a_source_without_ranges(server: FaultServer) -> None:
    server.ranges = False
    big = DATA.model_copy(update={"cache_mb": 1})
    assert open_for(server.url, big).split("train").samples == 10
    index = server.files["/index.json"].decode()
    size = next(line for line in index.splitlines() if '"bytes"' in line)
    server.files["/index.json"] = index.replace(size, '        "bytes": 700000,').encode()
    fitting = (
        r"cache_mb=1, and those shuffled together are 2 MB; give cache_mb=2 or nowcast\.data\.shuffle_shards=1 or less"
    )
    with pytest.raises(UserError, match=fitting):
        open_for(server.url, big)
    open_for(server.url, big.model_copy(update={"shuffle_shards": 1})).source.close()


def test_a_command_is_not_run_unless_the_config_allows_it(folder: Path, tmp_path: Path) -> None:
    location = f"pipe:touch {tmp_path}/ran; cat {folder}/{{}}"
    with pytest.raises(UserError, match=r"set nowcast\.data\.allow_pipe=true"):
        open_for(location, DATA)
    assert not (tmp_path / "ran").exists()
    data = DATA.model_copy(update={"allow_pipe": True, "cache_dir": str(tmp_path / "cache")})
    assert torch.equal(epoch_of(open_for(location, data), data), epoch_of(open_for(str(folder), DATA), DATA))
