"""Trainings of two ranks over shards on a web server: that fails now and then, and that goes away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from tests.data_prep.shards.sources.fault_server import FaultServer, drop_in_the_middle, refuse_connection, status
from tests.launching import Ended, launch, output_of, start, wait

pytestmark = pytest.mark.hosts
SETTINGS = ("nowcast.steps=30", "nowcast.evaluation.every=30", "nowcast.data.retries=3", "nowcast.data.buffer_mb=1")


@pytest.fixture(scope="module")
def local(shards: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of the same training from the disk."""
    run = tmp_path_factory.mktemp("local") / "run"
    ended = launch(
        "ds_nowcast.train", "--deepspeed_config", config, "--shards", shards, "--run", run, "--set", *SETTINGS
    )
    assert ended.code == 0, ended.output[-3000:]
    return (run / "last.safetensors").read_bytes()


@pytest.fixture
def server(shards: Path) -> Iterator[FaultServer]:
    server = FaultServer()
    files = (path for path in shards.rglob("*") if path.is_file())
    server.files = {f"/{path.relative_to(shards).as_posix()}": path.read_bytes() for path in files}
    yield server
    server.close()


def steps_of(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_text().count('"loss"') if metrics.is_file() else 0


def test_a_server_that_goes_away_ends_all_ranks_saved_and_the_same_command_goes_on_bit_for_bit(
    local: bytes, server: FaultServer, config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = (
        "ds_nowcast.train",
        "--deepspeed_config",
        config,
        "--shards",
        server.url,
        "--run",
        run,
        "--set",
        *SETTINGS,
    )
    server.faults.extend([drop_in_the_middle, refuse_connection, status(503)])
    server.latency_s = 0.02
    process = start(*command)
    deadline = time.monotonic() + 90
    while steps_of(run) < 5 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert steps_of(run) >= 5, output_of(process)[-3000:]
    server.faults.extend([status(500)] * 10_000)
    ended = wait(process)
    assert ended.code == 3, ended.output[-3000:]
    [error] = ended.lines("FAILED rank ")
    assert "could not be read in 4 attempts" in error and "the same command goes on" in error
    assert not ended.lines("Traceback")
    step = steps_of(run)
    assert 5 <= step < 30
    assert (run / "checkpoints/latest").read_text() == f"step_{step:08d}"
    assert json.loads((run / "failure.json").read_text())["exit_code"] == 3

    server.faults.clear()
    ended = launch(*command)
    assert ended.code == 0, ended.output[-3000:]
    assert ended.lines(f"resuming at step {step}")
    assert (run / "last.safetensors").read_bytes() == local


def test_a_bucket_trains_to_the_same_weights(
    local: bytes, shards: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    store.start()
    try:
        host, port = store.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        bucket = fsspec.filesystem("s3", endpoint_url=f"http://{host}:{port}", skip_instance_cache=True)
        bucket.mkdir("bucket")
        bucket.put(f"{shards}/", "bucket/tiny/", recursive=True)
        run = tmp_path / "run"
        ended = launch(
            "ds_nowcast.train", "--deepspeed_config", config, "--shards", "s3://bucket/tiny", "--run", run,
            "--set", *SETTINGS,
        )  # fmt: skip
    finally:
        store.stop()
    assert ended.code == 0, ended.output[-3000:]
    assert (run / "last.safetensors").read_bytes() == local


def test_a_server_without_ranges_trains_through_the_cache_to_the_same_weights(
    local: bytes, server: FaultServer, config: Path, tmp_path: Path
) -> None:
    server.ranges = False
    run, cache = tmp_path / "run", tmp_path / "cache"
    ended: Ended = launch(
        "ds_nowcast.train", "--deepspeed_config", config, "--shards", server.url, "--run", run,
        "--set", *SETTINGS, f"nowcast.data.cache_dir={cache}",
    )  # fmt: skip
    assert ended.code == 0, ended.output[-3000:]
    assert (run / "last.safetensors").read_bytes() == local
    whole = [request.path for request in server.requests if request.path.endswith(".tar") and request.range is None]
    # one download of each of 8 shards for both ranks; each rank asks for their sizes, and finds out about ranges
    assert len(whole) <= 8 + 2 * (8 + 1)
