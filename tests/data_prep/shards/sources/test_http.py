"""A web server, with and without Range, well and failing."""

from __future__ import annotations

import hashlib
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from data_prep.errors import SourceError, UserError
from data_prep.shards.sources.cache_folder import CacheFolder
from data_prep.shards.sources.http import HttpFiles, HttpSource
from data_prep.shards.sources.retry import Retries
from tests.data_prep.shards.sources import fault_server as faults
from tests.data_prep.shards.sources.conftest import FOLDER, TAR
from tests.data_prep.shards.sources.fault_server import Fault, FaultServer

Open = Callable[..., HttpSource]


@pytest.fixture
def waits() -> list[float]:
    """Pauses between attempts, none of which is made."""
    return []


@pytest.fixture
def opened(server: FaultServer, tmp_path: Path, waits: list[float]) -> Iterator[Open]:
    """Opens the server's folder, with waits that take no time."""
    sources: list[HttpSource] = []

    def open_(url: str = f"{server.url}/shards/", requests: int = 16, timeout_s: float = 5) -> HttpSource:
        files = HttpFiles(url, requests=requests, timeout_s=timeout_s)
        sources.append(HttpSource(files, CacheFolder(tmp_path / "cache", 10), Retries(3, waits.append)))
        return sources[-1]

    yield open_
    for source in sources:
        source.close()


def test_samples_come_by_range_on_one_connection_each(opened: Open, server: FaultServer) -> None:
    source = opened()
    assert not source.local
    assert source.read_all("index.json") == FOLDER["index.json"]
    assert source.size(TAR) == 300_000
    assert source.read(TAR, 100, 1000) == FOLDER[TAR][100:1100]
    assert source.read(TAR, 299_999, 1) == FOLDER[TAR][-1:]
    assert source.read(TAR, 5, 0) == b""
    assert source.cache_mb is None
    asked = [request.range for request in server.requests]
    assert asked == [None, "bytes=0-0", "bytes=100-1099", "bytes=299999-299999"]


def test_a_hash_is_made_of_pieces(opened: Open, monkeypatch: pytest.MonkeyPatch, server: FaultServer) -> None:
    monkeypatch.setattr("data_prep.shards.sources.ranges._PIECE", 100_001)
    server.faults.extend([faults.fine, faults.fine, faults.drop_in_the_middle])
    assert opened().sha256(TAR) == hashlib.sha256(FOLDER[TAR]).hexdigest()
    assert len(server.requests) == 1 + 3 + 1  # size, pieces, the one that broke again


def test_damage_is_told_from_failure(opened: Open, server: FaultServer, waits: list[float]) -> None:
    source = opened()
    with pytest.raises(ValueError, match=f"{TAR} ends 100 bytes too early"):
        source.read(TAR, 299_000, 1100)
    with pytest.raises(ValueError, match="ends 50 bytes too early"):
        source.read(TAR, 400_000, 50)
    for name in ("train/no.tar", "no.json"):
        with pytest.raises(FileNotFoundError, match="no"):
            source.read(name, 0, 10)
        with pytest.raises(FileNotFoundError):
            source.size(name)
        with pytest.raises(FileNotFoundError):
            source.read_all(name)
    server.faults.append(faults.status(410))
    with pytest.raises(FileNotFoundError):
        source.read(TAR, 0, 10)
    assert waits == []


PASSING: dict[str, Fault] = {
    "hangs up": faults.refuse_connection,
    "breaks off": faults.drop_in_the_middle,
    "is overloaded": faults.status(503),
    "is limited": faults.status(429),
    "breaks down": faults.status(500),
    "shifts the range": faults.shifted_range,
    "sends too little": faults.short_range,
    "says not what it sends": faults.no_content_range,
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(failure: Fault, opened: Open, server: FaultServer, waits: list[float]) -> None:
    server.faults.extend([failure] * 2)
    assert opened().read(TAR, 1000, 5000) == FOLDER[TAR][1000:6000]
    assert [request.range for request in server.requests] == ["bytes=1000-5999"] * 3
    assert len(waits) == 2


@pytest.mark.slow
def test_a_stall_is_tried_again(opened: Open, server: FaultServer, waits: list[float]) -> None:
    source = opened(timeout_s=0.5)
    server.faults.append(faults.stall)
    assert source.read(TAR, 1000, 5000) == FOLDER[TAR][1000:6000]
    assert len(waits) >= 1
    server.faults.extend([faults.stall] * 4)
    with pytest.raises(SourceError, match=r"4 attempts; the last failed: nothing came for 0.5 s"):
        source.read(TAR, 0, 5000)


@pytest.mark.parametrize("failure", [faults.refuse_connection, faults.drop_in_the_middle, faults.status(502)])
def test_whole_files_too(failure: Fault, opened: Open, server: FaultServer) -> None:
    server.faults.extend([failure] * 2)
    assert opened().read_all("index.json") == FOLDER["index.json"]
    assert len(server.requests) == 3


def test_failing_for_good_names_place_attempts_and_reason(opened: Open, server: FaultServer) -> None:
    source = opened(f"{server.url.replace('//', '//me:secret@')}/shards?key=secret")
    for failure, reason in [
        (faults.status(503), "the server answered 503 Service Unavailable"),
        (faults.drop_in_the_middle, "the connection broke .*2500 more expected"),
        (faults.short_range, r"sent the bytes 0-4999 \(4993 in all\)"),
    ]:
        server.faults.extend([failure] * 4)
        server.requests.clear()
        with pytest.raises(SourceError, match=f"{TAR} of {server.url}/shards could not.* 4 attempts.*{reason}") as told:
            source.read(TAR, 0, 5000)
        assert len(server.requests) == 4
        assert "secret" not in str(told.value)


def test_no_server_at_all(opened: Open, server: FaultServer, waits: list[float]) -> None:
    server.close()
    with pytest.raises(SourceError, match=r"4 attempts.*no connection \(\[Errno 111\] Connection refused\)"):
        opened().read(TAR, 0, 10)
    assert len(waits) == 3


def test_retry_after_is_honoured(opened: Open, server: FaultServer, waits: list[float]) -> None:
    source, soon = opened(), formatdate(time.time() + 90, usegmt=True)
    server.faults.extend([faults.status(503, Retry_After="77"), faults.status(429, Retry_After=soon), faults.fine])
    assert source.read(TAR, 0, 10) == FOLDER[TAR][:10]
    assert waits[0] == 77
    assert 80 < waits[1] <= 90
    server.faults.append(faults.status(503, Retry_After="9999"))
    with pytest.raises(SourceError, match="in 1 attempt;"):
        source.read(TAR, 0, 10)


@pytest.mark.parametrize(("code", "hint"), [(401, "USER:PASSWORD"), (403, "403 Forbidden"), (418, "URL is right")])
def test_a_refusal_is_told_at_once(code: int, hint: str, opened: Open, server: FaultServer) -> None:
    server.faults.append(faults.status(code))
    with pytest.raises(SourceError, match=hint) as told:
        opened(f"{server.url}/shards?token=secret").read(TAR, 0, 10)
    assert len(server.requests) == 1
    assert "secret" not in str(told.value)


def test_a_compressed_answer_is_refused(opened: Open, server: FaultServer) -> None:
    server.faults.append(faults.status(200, Content_Encoding="gzip"))
    with pytest.raises(SourceError, match="comes compressed"):
        opened().read_all("index.json")


def test_redirects_are_followed_but_for_weaker_ones(opened: Open, server: FaultServer) -> None:
    server.files[f"/moved/{TAR}"] = FOLDER[TAR]
    source = opened(f"{server.url.replace('//', '//me:secret@')}/shards")
    for code in (301, 302, 303, 307, 308):
        server.faults.append(faults.redirect(f"/moved/{TAR}", code))
        assert source.read(TAR, 7, 10) == FOLDER[TAR][7:17]
    elsewhere = FaultServer()
    elsewhere.files = server.files
    server.faults.append(faults.redirect(f"{elsewhere.url}/moved/{TAR}"))
    assert source.read(TAR, 7, 10) == FOLDER[TAR][7:17]
    assert server.requests[0].authorization is not None
    assert [request.authorization for request in elsewhere.requests] == [None]  # another host is not told the password
    elsewhere.close()
    for target in ("ftp://host/x", "file:///etc/passwd", "", "http://[x"):
        server.faults.append(faults.redirect(target or "gopher:x"))
        with pytest.raises(SourceError, match="which is not followed"):
            source.read(TAR, 7, 10)
    server.faults.extend([faults.redirect(f"/moved/{TAR}")] * 6)
    with pytest.raises(SourceError, match="more than 5 times"):
        source.read(TAR, 7, 10)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of 127.0.0.1, signed by itself, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    own = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(own, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "own.pem").write_bytes(made.public_bytes(pem) + secret)
    return tmp_path / "own.pem"


def test_a_server_is_trusted_by_its_certificate_and_does_not_lead_to_plain_http(
    opened: Open, server: FaultServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    safe = FaultServer(tls)
    safe.files = server.files
    with pytest.raises(SourceError, match="is not trusted"):
        opened(f"{safe.url}/shards").read(TAR, 0, 10)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    source = opened(f"{safe.url}/shards")
    assert source.read(TAR, 0, 10) == FOLDER[TAR][:10]
    safe.faults.append(faults.redirect(f"{server.url}/shards/{TAR}"))
    with pytest.raises(SourceError, match="only to https"):
        source.read(TAR, 0, 10)
    source.close()
    safe.close()


def test_many_requests_are_in_flight_at_once(opened: Open, server: FaultServer) -> None:
    source = opened()
    server.latency_s = 0.1
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        jobs = range(48)
        for i, blob in zip(jobs, pool.map(lambda i: bytes(source.read(TAR, i * 1000, 1000)), jobs), strict=True):
            assert blob == FOLDER[TAR][i * 1000 : i * 1000 + 1000]
    assert time.monotonic() - began < 48 * 0.1 / 4  # 0.3 s but for the machine's other work


def test_no_more_requests_are_in_flight_than_allowed(opened: Open, server: FaultServer) -> None:
    source = opened(requests=2)
    server.latency_s = 0.05
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: source.read(TAR, i, 1), range(8)))
    assert time.monotonic() - began >= 4 * 0.05


def test_a_server_without_ranges_is_read_through_the_cache(opened: Open, server: FaultServer) -> None:
    server.ranges = False
    source = opened()
    with ThreadPoolExecutor(8) as pool:
        jobs = [(name, i * 999) for i in range(50) for name in (TAR, "train/train-000001.tar")]
        for (name, offset), blob in zip(jobs, pool.map(lambda job: bytes(source.read(*job, 1000)), jobs), strict=True):
            assert blob == FOLDER[name][offset : offset + 1000]
    assert source.cache_mb == 10
    assert source.size(TAR) == 300_000
    assert source.sha256(TAR) == hashlib.sha256(FOLDER[TAR]).hexdigest()
    whole = [request for request in server.requests if request.range is None]
    assert len(whole) == 2 + 2  # each shard once; size and hash of one


def test_size_finds_out_that_a_server_has_no_ranges_and_downloads_nothing(opened: Open, server: FaultServer) -> None:
    server.ranges = False
    source = opened()
    assert source.size(TAR) == 300_000
    assert source.cache_mb == 10
    with pytest.raises(FileNotFoundError):
        source.read("train/no.tar", 0, 1)


def test_a_broken_download_into_the_cache_is_made_again(opened: Open, server: FaultServer, tmp_path: Path) -> None:
    server.ranges = False
    source = opened()
    source.size(TAR)
    server.faults.extend([faults.drop_in_the_middle, faults.status(503)])
    assert source.read(TAR, 290_000, 1000) == FOLDER[TAR][290_000:291_000]
    server.faults.extend([faults.drop_in_the_middle] * 4)
    with pytest.raises(SourceError, match="4 attempts"):
        source.read("train/train-000001.tar", 0, 1)
    assert [path.stat().st_size for path in (tmp_path / "cache").glob("*/*")] == [300_000]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_no_name_leads_out_of_the_folder(name: str, opened: Open, server: FaultServer) -> None:
    for ask in (opened().read_all, opened().size, lambda name: opened().read(name, 0, 1)):
        with pytest.raises(UserError, match="leads out"):
            ask(name)
    assert server.requests == []


def test_names_and_queries_are_quoted_and_kept(opened: Open, server: FaultServer) -> None:
    server.files["/shards/two%20words%3F%23/a.json"] = b"odd"
    assert opened(f"{server.url}/shards/?sig=a%2Fb#part").read_all("two words?#/a.json") == b"odd"
    assert server.requests[0].path == "/shards/two%20words%3F%23/a.json?sig=a%2Fb"


def test_through_a_proxy_where_the_environment_names_one(
    opened: Open, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "other.invalid")
    server.files["http://data.invalid/shards/index.json"] = b"by proxy"
    assert opened("http://data.invalid/shards").read_all("index.json") == b"by proxy"


@pytest.mark.parametrize(
    "url", ["http://", "http:///x", "http://h:port/", "http://[::1", "http://h:99999/", "http://a b/"]
)
def test_what_is_not_a_url_is_refused(url: str, opened: Open) -> None:
    with pytest.raises(UserError, match="is not a URL"):
        opened(url)


def test_without_urllib3_the_extra_is_named(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(UserError, match=r"pip install 'ds-nowcast\[http\]'"):
        opened()
