"""Whole files through a bounded cache, by threads and processes, killed and full."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from data_prep.errors import SourceError, UserError
from data_prep.shards.sources.cache import CachedSource, Download
from data_prep.shards.sources.cache_folder import CacheFolder, default_root
from data_prep.shards.sources.retry import Retries, TransientError
from tests.data_prep.shards.sources.conftest import open_below
from tests.data_prep.shards.sources.made_files import MadeFiles, be_killed, bytes_in, cached, content_of, read_many

pytestmark = pytest.mark.slow

A, B, C, D = "300000-a", "300000-b", "300000-c", "300000-d"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Names of the files downloaded, a line each."""
    return tmp_path / "log"


def names_in(root: Path) -> set[str]:
    return {path.name for path in root.glob("*/*")}


def age(root: Path, name: str, seconds: float) -> None:
    [path] = root.glob(f"*/{name}")
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.parametrize("sized", [True, False])
def test_a_file_is_fetched_once_and_read_from_the_cache(root: Path, log: Path, sized: bool) -> None:
    source = cached(MadeFiles(log, sized=sized), root, 1)
    for offset in (0, 1000, 299_000):
        assert source.read(A, offset, 1000) == content_of(A)[offset : offset + 1000]
    source.close()
    again = cached(MadeFiles(log), root, 1)
    assert again.read(A, 5, 10) == content_of(A)[5:15]
    assert log.read_text().split() == [A]
    assert bytes_in(root) == 300_000
    assert again.cache_mb == 1 and not again.local and again.location == "made:up"
    again.close()


def test_sizes_hashes_and_small_files_are_not_kept(root: Path, log: Path) -> None:
    source = cached(MadeFiles(log), root, 1)
    assert source.size(A) == 300_000
    assert cached(MadeFiles(log, sized=False), root, 1).size(A) is None
    assert source.sha256(A) == hashlib.sha256(content_of(A)).hexdigest()
    assert source.read_all("70000-small") == content_of("70000-small")
    assert not root.exists()


def test_threads_share_one_download(root: Path, log: Path) -> None:
    source = cached(MadeFiles(log, between=lambda: time.sleep(0.01)), root, 1)
    with ThreadPoolExecutor(8) as pool:
        blobs = list(pool.map(lambda i: bytes(source.read(A, i, 50)), range(16)))
    assert blobs == [content_of(A)[i : i + 50] for i in range(16)]
    assert log.read_text().split() == [A]


def test_the_least_recently_used_make_room(root: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.shards.sources.cache._USED_EVERY_S", 0.0)
    source = cached(MadeFiles(log), root, 1)
    for seconds, name in [(30, A), (20, B), (10, C)]:
        source.read(name, 0, 1)
        age(root, name, seconds)
    source.read(A, 0, 1)  # B is the oldest now
    source.read(D, 0, 1)
    assert names_in(root) == {A, C, D}
    assert bytes_in(root) <= 2**20
    source.read(B, 0, 1)
    assert log.read_text().split() == [A, B, C, D, B]
    source.close()


def test_a_file_deleted_while_it_is_read_is_fetched_again_and_its_bytes_given_back(root: Path, log: Path) -> None:
    source = cached(MadeFiles(log), root, 1)
    source.read(A, 0, 1)
    for path in root.glob("*/*"):
        path.unlink()
    assert source.read(A, 100, 9) == content_of(A)[100:109]  # it is open
    source.read(B, 0, 1)
    assert open_below(root) == 1  # B, A no more
    assert source.read(A, 100, 9) == content_of(A)[100:109]
    assert log.read_text().split() == [A, B, A]
    source.close()


def test_a_cache_that_is_emptied_for_ever_ends_with_a_reason(root: Path, log: Path) -> None:
    class Emptied(CacheFolder):
        def fill(self, path: Path, *arguments: object) -> None:
            super().fill(path, *arguments)  # type: ignore[arg-type]
            path.unlink()

    source = cached(MadeFiles(log), root, 1)
    source._cache = Emptied(root, 1)
    with pytest.raises(SourceError, match=r"deleted from the cache .* 10 times.*give a larger nowcast.data.cache_mb"):
        source.read(A, 0, 1)


@pytest.mark.parametrize("sized", [True, False])
def test_a_file_larger_than_the_cache_is_refused_naming_both_sizes(root: Path, log: Path, sized: bool) -> None:
    source = cached(MadeFiles(log, sized=sized), root, 1)
    size = "1.9" if sized else r"1\.\d"
    with pytest.raises(UserError, match=rf"2000000-a has {size} MB or more.*nowcast.data.cache_mb=1 in all; give more"):
        source.read("2000000-a", 0, 1)
    assert names_in(root) == set()
    source.close()


def test_damage_is_not_kept(root: Path, log: Path) -> None:
    source = cached(MadeFiles(log), root, 1)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^300000-a ends 50 bytes too early"):
            source.read(A, 299_950, 100)
    assert log.read_text().split() == [A, A]
    with pytest.raises(FileNotFoundError):
        source.read("0-absent", 0, 1)
    source.close()


def test_a_download_that_breaks_is_made_again_from_the_beginning(root: Path, log: Path) -> None:
    calls = iter(range(99))

    def fail_in_the_middle() -> None:
        if next(calls) in (3, 5):
            raise TransientError("a test")

    source = cached(MadeFiles(log, between=fail_in_the_middle, sized=False), root, 1)
    assert source.read(A, 299_000, 1000) == content_of(A)[299_000:]
    assert log.read_text().split() == [A] * 3
    source.close()


def test_another_index_means_other_files(root: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = cached(MadeFiles(log), root, 1)
    source.read(A, 0, 1)
    for index in (b"one", b"other", b"one"):
        with monkeypatch.context() as patched:
            patched.setattr(MadeFiles, "opened", lambda *_, index=index: nullcontext(Download(None, iter([index]))))
            assert source.read_all("index.json") == index
        source.read(A, 0, 1)
    assert log.read_text().split() == [A] * 3
    source.close()


def test_a_full_disk_is_the_networks_failure_not_the_datas(
    root: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cached(MadeFiles(log), root, 1)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SourceError, match=r"cache .* cannot be written \(No space left on device\); free some"):
        source.read(A, 0, 1)
    assert names_in(root) == set()


def test_closing_ends_a_wait_for_another_download(root: Path, log: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(10)

    first, second = cached(MadeFiles(log, between=hold), root, 1), cached(MadeFiles(log), root, 1)
    with ThreadPoolExecutor(2) as pool:
        downloading = pool.submit(first.read, A, 0, 1)
        begun.wait(10)
        waiting = pool.submit(second.read, A, 0, 1)
        time.sleep(0.05)
        second.close()
        assert isinstance(waiting.exception(), SourceError)
        go_on.set()
        assert downloading.result() == content_of(A)[:1]
    first.close()


def in_processes(count: int, function: Callable[..., object], *arguments: object) -> list[object]:
    """The function's results in fresh processes; the last argument but names is the process's number."""
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        return [
            job.result() for job in [pool.submit(function, *arguments[:-1], i, arguments[-1]) for i in range(count)]
        ]


def test_processes_share_a_cache(root: Path, log: Path) -> None:
    names = [f"{size}-{i}" for i, size in enumerate((200_000, 350_000, 500_000, 110_000, 60_000))]
    in_processes(3, read_many, root, log, 2, True, names)
    assert sorted(log.read_text().split()) == sorted(names)  # each once, whoever was first
    assert bytes_in(root) == 1_220_000


@pytest.mark.parametrize("sized", [True, False])
def test_processes_keep_within_the_limit_together(root: Path, log: Path, sized: bool) -> None:
    names = [f"{size}-{i}" for i, size in enumerate([600_000, 700_000, 500_000, 800_000, 400_000, 900_000])]
    most = in_processes(3, read_many, root, log, 1, sized, names)
    assert all(isinstance(size, int) and size <= 2**20 for size in most)
    assert not [name for name in names_in(root) if name.endswith(".partial")]


def test_a_killed_download_leaves_nothing_that_is_used(root: Path, log: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=be_killed, args=(root, log, A))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert names_in(root) == {f"{A}.partial"}
    source = cached(MadeFiles(log), root, 1)
    source.read(B, 0, 1)
    assert names_in(root) == {B}  # swept
    assert source.read(A, 299_000, 1000) == content_of(A)[299_000:]
    source.close()


def test_the_cache_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    assert default_root() == tmp_path / "home/ds-nowcast"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = default_root()
    assert root == tmp_path / f"ds-nowcast-{os.getuid()}"
    reader = CachedSource(MadeFiles(log), CacheFolder(None, 1), Retries(0))
    reader.read(A, 0, 1)
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o777)  # somebody else could have laid the file there
    with pytest.raises(UserError, match=r"is not this user's own folder; give another as nowcast.data.cache_dir"):
        CachedSource(MadeFiles(log), CacheFolder(None, 1), Retries(0)).read(A, 0, 1)
    reader.close()


def test_a_cache_that_cannot_be_read_is_not_the_datas_fault(root: Path, log: Path) -> None:
    source = cached(MadeFiles(log), root, 1)
    source.read(A, 0, 1)
    for path in root.glob("*/*"):
        path.unlink()
        path.mkdir()
    source.close()
    with pytest.raises(SourceError, match=r"cache .* cannot be read \(Is a directory\)"):
        cached(MadeFiles(log), root, 1).read(A, 0, 1)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, log: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be used .*give a writable nowcast.data.cache_dir"):
        cached(MadeFiles(log), tmp_path / "file/cache", 1).read(A, 0, 1)
