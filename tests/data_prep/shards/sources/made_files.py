"""A place whose files are made up: each is as long as its name says, and each download leaves a line in a log."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_prep.shards.sources.cache import CachedSource, Download
from data_prep.shards.sources.cache_folder import CacheFolder
from data_prep.shards.sources.retry import Retries

PIECE = 50_000


def content_of(name: str) -> bytes:
    """Of a name such as 300000-a: that many bytes, others for each name."""
    return random.Random(name).randbytes(int(name.partition("-")[0]))


class MadeFiles:
    """Files that exist by being asked for, but for 0-... ."""

    location = "made:up"

    def __init__(self, log: Path, *, sized: bool = True, between: Callable[[], object] = lambda: None) -> None:
        """between: is called before each piece."""
        self._log, self._sized, self._between = log, sized, between

    def size(self, name: str) -> int | None:
        """As the name says."""
        return len(content_of(name)) if self._sized else None

    @contextmanager
    def opened(self, name: str) -> Iterator[Download]:
        """Gives the pieces."""
        with open(self._log, "a") as log:
            log.write(f"{name}\n")
        content = content_of(name)
        if not content:
            raise FileNotFoundError(name)
        yield Download(self.size(name), self._pieces(content))

    def _pieces(self, content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content), PIECE):
            self._between()
            yield content[start : start + PIECE]


def cached(files: MadeFiles, root: Path, cache_mb: int) -> CachedSource:
    """The files through a cache."""
    return CachedSource(files, CacheFolder(root, cache_mb), Retries(2, lambda _: None))


def read_many(root: Path, log: Path, cache_mb: int, sized: bool, seed: int, names: list[str]) -> int:
    """In a process of its own: reads places of all files in some order; the most bytes seen in the cache."""
    source = cached(MadeFiles(log, sized=sized, between=lambda: time.sleep(0.002)), root, cache_mb)
    rng, most = random.Random(seed), 0
    for name in rng.sample(names, len(names)):
        content = content_of(name)
        offset = rng.randrange(len(content) - 100)
        if source.read(name, offset, 100) != content[offset : offset + 100]:
            raise AssertionError(f"{name} differs at {offset}")
        most = max(most, bytes_in(root))
    source.close()
    return most


def be_killed(root: Path, log: Path, name: str) -> None:
    """In a process of its own: dies in the middle of a download."""
    pieces = iter(range(3))
    between = lambda: next(pieces, None) is None and os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    cached(MadeFiles(log, between=between), root, 10).read(name, 0, 1)


def bytes_in(root: Path) -> int:
    """Of all files of the cache, those being written at their reserved size, while nobody makes room."""
    sizes: dict[int, int] = {}  # by inode: one that is renamed meanwhile may be seen twice
    with open(root / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in root.glob("*/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                sizes[status.st_ino] = status.st_size
    return sum(sizes.values())
