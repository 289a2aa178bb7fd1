"""Shards that can be read from their beginning only: each goes whole into a bounded local cache, and is read there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import quote

from data_prep.errors import SourceError
from data_prep.shards.sources.cache_folder import CacheFolder, Partial
from data_prep.shards.sources.local import LocalSource, inside
from data_prep.shards.sources.retry import Retries

_INDEX = "index.json"  # holds the hash of every shard: another index, other files
_MOST_VANISHED = 10
_USED_EVERY_S = 1.0

Result = TypeVar("Result")


class Download(NamedTuple):
    """A file that is coming in."""

    size: int | None  # None where that is not known before
    pieces: Iterator[bytes]  # raises TransientError where they stop coming


class WholeFiles(Protocol):
    """A place whose files are read from their beginning. One call is one attempt."""

    location: str

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where only reading it all would tell. Raises as `opened` does."""

    def opened(self, name: str) -> AbstractContextManager[Download]:
        """Begins a download; leaving ends it. Raises FileNotFoundError, TransientError or SourceError, on leaving too."""


class CachedSource:
    """A place's shards, read in the cache. Files of another state of the place (its index says so) are not mixed up."""

    local = False

    def __init__(self, files: WholeFiles, cache: CacheFolder, retries: Retries) -> None:
        self.location, self.cache_mb = files.location, cache.size_mb
        self._files, self._cache, self._retries = files, cache, retries
        self._cached = LocalSource(cache.root)
        self._place = self._place_of(b"")
        self._used: dict[str, float] = {}
        self._prepared = False

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where only reading it all would tell."""
        return self._attempts(name, lambda: self._files.size(name))

    def read_all(self, name: str) -> bytes:
        """A small file, whole, not from the cache."""

        def attempt() -> bytes:
            with self._files.opened(name) as download:
                return b"".join(download.pieces)

        content = self._attempts(name, attempt)
        if name == _INDEX:
            self._place = self._place_of(content)
        return content

    def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
        """Exactly `size` bytes, in `into` or valid until this thread reads again; the file is fetched first if need be."""
        if not self._prepared:  # before anything is read there: others may have laid files where they know it will be
            self._cache.prepare()
            self._prepared = True
        key = self._key(name)
        for _ in range(_MOST_VANISHED):
            blob = self._read_cached(name, key, offset, size, into)
            if blob is not None:
                self._note_use(key)
                return blob
            self._fetch(name, key)
        raise SourceError(
            f"{self._what(name)} was deleted from the cache {self._cache.root} {_MOST_VANISHED} times before it could "
            "be read; give a larger nowcast.data.cache_mb, or a nowcast.data.cache_dir that nothing else empties"
        )

    def sha256(self, name: str) -> str:
        """Hex sha256 of a file as it comes in, not from the cache."""

        def attempt() -> str:
            digest = hashlib.sha256()
            with self._files.opened(name) as download:
                for piece in download.pieces:
                    digest.update(piece)
            return digest.hexdigest()

        return self._attempts(name, attempt)

    def close(self) -> None:
        """Closes files and ends waits; the cache stays for the next run."""
        self._retries.close()
        self._cached.close()

    def _read_cached(self, name: str, key: str, offset: int, size: int, into: memoryview | None) -> memoryview | None:
        """None where the file is not there."""
        try:
            return self._cached.read(key, offset, size, into)
        except FileNotFoundError:
            return None
        except ValueError as error:  # cut off on the way here, perhaps: it is not kept
            self._path(key).unlink(missing_ok=True)
            self._cached.forget(key)
            raise ValueError(str(error).replace(key, name)) from None
        except OSError as error:
            raise SourceError(
                f"the cache {self._cache.root} cannot be read ({error.strerror}); give another nowcast.data.cache_dir"
            ) from None

    def _fetch(self, name: str, key: str) -> None:
        def download(partial: Partial) -> None:
            self._attempts(name, lambda: _copy(self._files.opened(name), partial))

        self._cache.fill(self._path(key), download, self._retries.pause)
        self._cached.forget_deleted()  # whoever made room left them to us, open

    def _attempts(self, name: str, attempt: Callable[[], Result]) -> Result:
        return self._retries.run(self._what(inside(name, self.location)), attempt)

    def _what(self, name: str) -> str:
        return f"{name} of {self.location}"

    def _place_of(self, index: bytes) -> str:
        return hashlib.sha256(self.location.encode("utf-8", "replace") + b"\n" + index).hexdigest()[:20]

    def _key(self, name: str) -> str:
        return f"{self._place}/{quote(name, safe='')}"

    def _path(self, key: str) -> Path:
        return self._cache.root / key

    def _note_use(self, key: str) -> None:
        now = time.monotonic()
        if now - self._used.get(key, -_USED_EVERY_S) >= _USED_EVERY_S:
            self._used[key] = now
            self._cache.used(self._path(key))


def _copy(opened: AbstractContextManager[Download], partial: Partial) -> None:
    partial.empty()  # of what an attempt before this one left
    with opened as download:
        if download.size is not None:
            partial.reserve(download.size)
        for piece in download.pieces:
            partial.write(piece)
