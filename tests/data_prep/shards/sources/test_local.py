"""A folder on a disk."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_prep.errors import SourceError, UserError
from data_prep.files import sha256_of
from data_prep.shards.sources.local import LocalSource, folder_of
from tests.data_prep.shards.sources.conftest import FOLDER, TAR, open_below


def test_reads_what_is_there(folder: Path) -> None:
    source = LocalSource(folder)
    assert source.local and source.location == str(folder) and source.cache_mb is None
    assert source.read(TAR, 100, 1000) == FOLDER[TAR][100:1100]
    assert source.read(TAR, 100, 0) == b""
    assert source.read_all("index.json") == FOLDER["index.json"]
    assert source.size(TAR) == 300_000
    assert source.sha256(TAR) == sha256_of(folder / TAR)
    source.close()


def test_a_file_that_is_too_short_or_absent_is_told_as_such(folder: Path) -> None:
    source = LocalSource(folder)
    with pytest.raises(ValueError, match=f"{TAR} ends 100 bytes too early"):
        source.read(TAR, 299_000, 1100)
    with pytest.raises(ValueError, match="ends 50 bytes too early"):
        source.read(TAR, 400_000, 50)
    for absent in ("train/no.tar", "train"):
        with pytest.raises(FileNotFoundError):
            source.size(absent)
    with pytest.raises(FileNotFoundError):
        source.read("train/no.tar", 0, 1)


@pytest.mark.parametrize("name", ["../shards/index.json", "/etc/passwd", "", "train/../../x", "C:\\x"])
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    source = LocalSource(folder)
    with pytest.raises(UserError, match="leads out of the folder"):
        source.read(name, 0, 1)
    with pytest.raises(UserError, match="leads out of the folder"):
        source.read_all(name)


def test_short_reads_of_a_network_disk_are_continued(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda handle, blobs, offset: whole(handle, [blobs[0][:7]], offset))
    assert LocalSource(folder).read(TAR, 5, 100) == FOLDER[TAR][5:105]


def test_files_evicted_while_others_read_them_stay_open_for_these(tmp_path: Path) -> None:
    names = [f"{i}.tar" for i in range(8)]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([i]) * 5000)
    source = LocalSource(tmp_path, capacity=2)

    def read(job: int) -> None:
        assert source.read(names[job % 8], job % 1000, 4000) == bytes([job % 8]) * 4000

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(4000)))
    assert open_below(tmp_path) == 2
    source.close()
    assert open_below(tmp_path) == 0


def test_a_read_is_its_threads_until_the_thread_reads_again(folder: Path) -> None:
    source = LocalSource(folder)
    mine = source.read(TAR, 0, 1000)
    other = threading.Thread(target=source.read, args=(TAR, 5000, 1000))
    other.start()
    other.join()
    assert mine == FOLDER[TAR][:1000]


def test_deleted_files_are_let_go(folder: Path) -> None:
    source = LocalSource(folder)
    source.read(TAR, 0, 1)
    source.read("index.json", 0, 1)
    (folder / TAR).unlink()
    assert source.read(TAR, 7, 1) == FOLDER[TAR][7:8]
    assert open_below(folder) == 2
    source.forget_deleted()
    assert open_below(folder) == 1
    with pytest.raises(FileNotFoundError):
        source.read(TAR, 0, 1)
    source.close()


def test_file_urls() -> None:
    assert folder_of("file:///data/two%20words") == Path("/data/two words")
    assert folder_of("file://localhost/data") == Path("/data")
    for url in ("file://data/shards", "file://[x/shards"):
        with pytest.raises(UserError, match="file:///folder"):
            folder_of(url)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ESTALE, SourceError), (errno.EMFILE, SourceError), (errno.EIO, OSError), (errno.EACCES, PermissionError)],
)
def test_trouble_that_may_pass_is_told_from_damage(
    number: int, kind: type[Exception], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    source = LocalSource(folder)
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(kind, match=os.strerror(number)):
        source.read(TAR, 0, 10)
    source.close()
