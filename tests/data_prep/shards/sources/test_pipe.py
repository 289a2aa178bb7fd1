"""A command that writes a file: allowed by name, given harmless names, ended when it hangs."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from data_prep.errors import SourceError, UserError
from data_prep.shards.sources.cache import CachedSource
from data_prep.shards.sources.cache_folder import CacheFolder
from data_prep.shards.sources.pipe import PipeFiles
from data_prep.shards.sources.retry import Retries
from tests.data_prep.shards.sources.conftest import FOLDER, TAR


def pipe(command: str, root: Path, retries: int = 1, timeout_s: float = 5) -> CachedSource:
    tried = Retries(retries, lambda _: None)
    files = PipeFiles(f"pipe:{command}", timeout_s=timeout_s, check=tried.check)
    return CachedSource(files, CacheFolder(root, 10), tried)


def test_a_commands_files_are_read_through_the_cache(folder: Path, tmp_path: Path) -> None:
    source = pipe(f"echo {{}} >> {tmp_path}/log; cat {folder}/{{}}", tmp_path / "cache")
    assert source.read_all("index.json") == FOLDER["index.json"]
    for offset in (0, 1000, 290_000):
        assert source.read(TAR, offset, 1000) == FOLDER[TAR][offset : offset + 1000]
    assert source.size(TAR) is None
    assert source.sha256(TAR) == hashlib.sha256(FOLDER[TAR]).hexdigest()
    assert (tmp_path / "log").read_text().split() == ["index.json", TAR, TAR]
    with pytest.raises(ValueError, match="ends 100 bytes too early"):
        source.read(TAR, 299_000, 1100)
    source.close()


def test_a_failing_command_is_told_with_its_last_words(tmp_path: Path) -> None:
    source = pipe(
        f"echo {{}} >> {tmp_path}/log; printf half; printf 'one\\ntwo: no route\\n' >&2; exit 7", tmp_path / "c"
    )
    with pytest.raises(SourceError, match=r"2 attempts; .* the command ended with 7: two: no route; see") as told:
        source.read(TAR, 0, 1)
    assert f"{TAR} of pipe:echo" in str(told.value)
    assert (tmp_path / "log").read_text().split() == [TAR] * 2
    with pytest.raises(SourceError, match="it says nothing"):
        pipe("exit 1 {}", tmp_path / "c").read_all("index.json")
    assert list((tmp_path / "c").glob("*/*")) == []


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    source = pipe(f"sh -c 'echo $$ >> {tmp_path}/pids; sleep 60' {{}} | cat", tmp_path / "c", 0, timeout_s=0.2)
    with pytest.raises(SourceError, match=r"wrote nothing for 0.2 s"):
        source.read(TAR, 0, 1)
    [pid] = (tmp_path / "pids").read_text().split()
    time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text()


def test_closing_ends_a_command(tmp_path: Path) -> None:
    source = pipe("sleep 60; echo {}", tmp_path / "c", timeout_s=50)
    closer = threading.Timer(0.1, source.close)
    closer.start()
    with pytest.raises(SourceError, match="closed"):
        source.read(TAR, 0, 1)
    closer.join()


@pytest.mark.parametrize(
    "name",
    ["a b.tar", "a'b", 'a"b', "$(touch hit)", "a;touch hit", "`touch hit`", "a\nb", "*", "~", "-rf", "../x", "/x"],
)
def test_no_name_is_read_as_more_than_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("cat {}", 'sh -c "cat {}"', "cat '{}'"):
        with pytest.raises(UserError):
            pipe(command, tmp_path / "c").read(name, 0, 1)
    assert os.listdir(tmp_path) in ([], ["c"])


def test_a_command_that_does_not_say_where_the_name_goes_is_refused() -> None:
    with pytest.raises(UserError, match=r"give pipe:ssh host cat PATH/\{\}"):
        PipeFiles("pipe:ssh host cat", timeout_s=1)
