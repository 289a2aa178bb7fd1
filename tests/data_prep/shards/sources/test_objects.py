"""An object store on this machine, well; and a server that fails in its place."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from data_prep.errors import SourceError, UserError
from data_prep.shards.sources.objects import ObjectSource
from data_prep.shards.sources.retry import Retries
from tests.data_prep.shards.sources import fault_server as faults
from tests.data_prep.shards.sources.conftest import FOLDER, TAR
from tests.data_prep.shards.sources.fault_server import FaultServer

pytestmark = pytest.mark.slow

Open = Callable[..., ObjectSource]


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key-of-the-test",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """URL of a store that holds FOLDER in s3://bucket/some/shards."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "any")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "any")
        filled = _filling(url)
        filled.mkdir("bucket")
        for name, content in FOLDER.items():
            filled.pipe_file(f"bucket/some/shards/{name}", content)
    yield url
    moto.stop()


def _filling(url: str):  # type: ignore[no-untyped-def]
    import fsspec

    return fsspec.filesystem("s3", endpoint_url=url, skip_instance_cache=True)


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens a place in the store that AWS_ENDPOINT_URL names, with waits that take no time."""
    sources: list[ObjectSource] = []

    def open_(url: str, retries: int = 3, timeout_s: float = 5) -> ObjectSource:
        sources.append(ObjectSource(url, Retries(retries, lambda _: None), requests=16, timeout_s=timeout_s))
        return sources[-1]

    yield open_
    for source in sources:
        source.close()


@pytest.fixture
def source(store: str, opened: Open, monkeypatch: pytest.MonkeyPatch) -> ObjectSource:
    """The store's folder."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    return opened("s3://bucket/some/shards/")


@pytest.fixture
def failing(server: FaultServer, opened: Open, monkeypatch: pytest.MonkeyPatch) -> ObjectSource:
    """The same folder at the server that fails as it is told."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    server.files = {f"/bucket{path}": content for path, content in server.files.items()}
    return opened("s3://bucket/shards")


def test_samples_come_by_range(source: ObjectSource) -> None:
    assert not source.local and source.cache_mb is None and source.location == "s3://bucket/some/shards/"
    assert source.read_all("index.json") == FOLDER["index.json"]
    assert source.size(TAR) == 300_000
    assert source.read(TAR, 100, 1000) == FOLDER[TAR][100:1100]
    assert source.read(TAR, 299_999, 1) == FOLDER[TAR][-1:]
    assert source.read(TAR, 7, 0) == b""
    assert source.sha256(TAR) == hashlib.sha256(FOLDER[TAR]).hexdigest()
    with ThreadPoolExecutor(8) as pool:
        blobs = list(pool.map(lambda i: bytes(source.read(TAR, i * 999, 1000)), range(40)))
    assert blobs == [FOLDER[TAR][i * 999 : i * 999 + 1000] for i in range(40)]


def test_damage_is_told_from_failure(source: ObjectSource) -> None:
    with pytest.raises(ValueError, match=f"{TAR} ends 100 bytes too early"):
        source.read(TAR, 299_000, 1100)
    with pytest.raises(ValueError, match="ends 50 bytes too early"):
        source.read(TAR, 400_000, 50)
    for ask in (source.size, source.read_all, lambda name: source.read(name, 0, 1)):
        with pytest.raises(FileNotFoundError, match=r"s3://bucket/some/shards/train/no.tar"):
            ask("train/no.tar")
        with pytest.raises(UserError, match="leads out"):
            ask("../x")


@pytest.mark.parametrize(
    "failure", [faults.refuse_connection, faults.drop_in_the_middle, faults.status(503), faults.status(429)]
)
def test_what_may_pass_is_tried_again(failure: faults.Fault, failing: ObjectSource, server: FaultServer) -> None:
    server.faults.extend([failure] * 2)
    assert failing.read(TAR, 1000, 5000) == FOLDER[TAR][1000:6000]
    assert [request.range for request in server.requests] == ["bytes=1000-5999"] * 3


def test_a_stall_is_tried_again(failing: ObjectSource, server: FaultServer, opened: Open) -> None:
    server.faults.append(faults.stall)
    source = opened("s3://bucket/shards", timeout_s=0.5)
    assert source.read(TAR, 1000, 5000) == FOLDER[TAR][1000:6000]
    assert len(server.requests) >= 2
    server.faults.append(faults.stall)
    with pytest.raises(SourceError, match=r"1 attempt; .*[Tt]imeout"):
        opened("s3://bucket/shards", timeout_s=0.5, retries=0).read(TAR, 0, 5000)


def test_failing_for_good_names_place_attempts_and_reason(failing: ObjectSource, server: FaultServer) -> None:
    server.faults.extend([faults.status(500)] * 4)
    with pytest.raises(
        SourceError, match=rf"{TAR} of s3://bucket/shards could not.* 4 attempts; .*the store answered 500"
    ):
        failing.read(TAR, 0, 5000)
    assert len(server.requests) == 4


def test_no_store_at_all(opened: Open, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    server.close()
    with pytest.raises(SourceError, match=r"2 attempts; .*Could not connect"):
        opened("s3://bucket/shards", retries=1).read(TAR, 0, 5000)


@pytest.mark.parametrize("code", [400, 401, 403])
def test_a_refusal_is_told_at_once_without_secrets(code: int, failing: ObjectSource, server: FaultServer) -> None:
    server.faults.append(faults.status(code))
    with pytest.raises(SourceError, match=rf"is refused \(the store answered {code}.*AWS_PROFILE") as told:
        failing.read(TAR, 0, 10)
    assert len(server.requests) == 1
    assert "of-the-test" not in str(told.value)


def test_missing_credentials_are_told_at_once(
    source: ObjectSource, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SourceError, match=r"Unable to locate credentials.*AWS_PROFILE"):
        opened("s3://bucket/some/shards").read_all("index.json")


def test_many_requests_are_in_flight_at_once(failing: ObjectSource, server: FaultServer) -> None:
    server.latency_s = 0.1
    failing.read(TAR, 0, 1)
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: failing.read(TAR, i, 1), range(48)))
    assert time.monotonic() - began < 48 * 0.1 / 3


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://bucket/a?versionId=1", "s3://[x/y"])
def test_what_is_no_place_in_a_bucket_is_refused(url: str, opened: Open) -> None:
    with pytest.raises(UserError, match="give s3://bucket/folder"):
        opened(url)


def test_keys_in_the_url_are_refused_and_not_repeated(opened: Open) -> None:
    with pytest.raises(UserError, match="set AWS_ACCESS_KEY_ID") as told:
        opened("s3://KEY:SECRET@bucket/shards")
    assert "SECRET@" not in str(told.value)


def test_without_s3fs_the_extra_is_named(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"pip install 'ds-nowcast\[s3\]'"):
        opened("s3://bucket/shards")
