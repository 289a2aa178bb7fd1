"""Which source a path or URL means, and that all kinds give the same bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.errors import UserError
from data_prep.shards.sources import Source, SourceOptions, open_source
from tests.data_prep.shards.sources.conftest import FOLDER
from tests.data_prep.shards.sources.fault_server import FaultServer


def kind(location: str | Path, **options: object) -> str:
    source = open_source(location, SourceOptions(**options))  # type: ignore[arg-type]
    source.close()
    return type(source).__name__


def test_each_place_has_its_kind(tmp_path: Path) -> None:
    assert kind("shards/sevir") == kind(tmp_path) == kind("file:///data/shards") == "LocalSource"
    assert kind("http://host/shards") == kind("HTTPS://host:8080/shards") == "HttpSource"
    assert kind("s3://bucket/shards") == "ObjectSource"
    assert kind("pipe:cat /data/{}", allow_pipe=True) == "CachedSource"


@pytest.mark.parametrize(
    "path", ["data:v2/shards", "C:\\data\\shards", "C:/data", "2024-01-01T12:00", "./s3:bucket", ":", "a//b"]
)
def test_a_colon_does_not_make_a_url(path: str) -> None:
    source = open_source(path)
    assert source.local and Path(source.location) == Path(path)


@pytest.mark.parametrize("url", ["ftp://host/x", "gopher://host", "gs://bucket/x", "ssh://host/x", "ftp:/host/x"])
def test_an_unknown_scheme_names_the_known(url: str) -> None:
    with pytest.raises(UserError, match=r"read from; give a folder, .*http://, https://, s3:// or pipe:COMMAND"):
        open_source(url)


@pytest.mark.parametrize("url", [Path("http://host/x"), "s3:bucket/x", "https:/host", "file:x"])
def test_a_url_that_lost_its_slashes_is_told(url: str | Path) -> None:
    with pytest.raises(UserError, match="looks like a URL without its //"):
        open_source(url)


@pytest.mark.parametrize("text", ["", "  ", "a\0b"])
def test_nothing_is_no_place(text: str) -> None:
    with pytest.raises(UserError, match="not a place of shards"):
        open_source(text)


@given(st.text(max_size=30) | st.from_regex(r"(http|https|s3|file|pipe):/?/?.{0,20}", fullmatch=True))
@settings(max_examples=70, deadline=None, derandomize=True)
def test_no_text_does_anything_but_open_or_be_refused(text: str) -> None:
    try:
        open_source(text, SourceOptions(allow_pipe=True)).close()
    except UserError as error:
        assert str(error)


def test_a_pipe_is_refused_unless_it_is_allowed() -> None:
    with pytest.raises(UserError, match=r"set nowcast.data.allow_pipe=true if you trust it"):
        open_source("pipe:cat /data/{}")


def test_passwords_are_no_part_of_the_location() -> None:
    source = open_source("https://me:secret@host/shards?sig=secret")
    assert source.location == "https://host/shards"
    source.close()


BIG = random.Random(5).randbytes(70_000)


@pytest.fixture(scope="module", params=["local", "http", "http without ranges", "pipe"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """One file, `a/big`, read in each way."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "a").mkdir()
    (folder / "a/big").write_bytes(BIG)
    server = FaultServer()
    server.files["/a/big"], server.ranges = BIG, request.param == "http"
    place = {"local": str(folder), "pipe": f"pipe:cat {folder}/{{}}"}.get(request.param, server.url)
    options = SourceOptions(allow_pipe=True, cache_dir=folder / "cache", cache_mb=1)
    source = open_source(place, options)
    yield source
    source.close()
    server.close()


@given(offset=st.integers(0, len(BIG) + 10), size=st.integers(0, 5000))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_kind_reads_what_is_there(source: Source, offset: int, size: int) -> None:
    missing = min(size, max(0, offset + size - len(BIG)))
    if missing:
        with pytest.raises(ValueError, match=f"^a/big ends {missing} bytes too early"):
            source.read("a/big", offset, size)
    else:
        assert source.read("a/big", offset, size) == BIG[offset : offset + size]


def test_every_kind_reads_from_many_threads_what_is_there(source: Source) -> None:
    from concurrent.futures import ThreadPoolExecutor

    rng = random.Random(1)
    places = [(rng.randrange(len(BIG) - 4000), rng.randrange(4000)) for _ in range(200)]
    with ThreadPoolExecutor(6) as pool:
        blobs = list(pool.map(lambda place: bytes(source.read("a/big", *place)), places))
    assert blobs == [BIG[offset : offset + size] for offset, size in places]


def test_the_options_reach_the_cache(tmp_path: Path, folder: Path) -> None:
    options = SourceOptions(allow_pipe=True, cache_dir=tmp_path / "here", cache_mb=3)
    source = open_source(f"pipe:cat {folder}/{{}}", options)
    assert source.read_all("index.json") == FOLDER["index.json"]
    source.read("train/train-000001.tar", 0, 1)
    assert source.cache_mb == 3
    assert [path.name for path in (tmp_path / "here").glob("*/*")] == ["train%2Ftrain-000001.tar"]
    source.close()
