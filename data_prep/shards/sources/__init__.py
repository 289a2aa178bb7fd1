"""Where the bytes of a shards folder come from: a disk, a web server, an object store, a command.

    folder or file:///folder     local.py     read where they lie
    http://, https://            http.py      by ranges, many requests in flight
    s3://                        objects.py   by ranges, many requests in flight
    pipe:COMMAND                 pipe.py      whole files into the bounded cache of cache.py, read there

What can go wrong has three kinds. FileNotFoundError and ValueError: the data are damaged, a file is absent or too
short. SourceError: the network or the server failed for good, after all attempts. UserError: the place cannot be used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_prep.errors import UserError
from data_prep.shards.sources.retry import Retries

KNOWN = "a folder, file:///folder, http://, https://, s3:// or pipe:COMMAND"
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):(?P<slashes>/*)", re.IGNORECASE)
_SCHEMES = ("file", "http", "https", "s3")


class Source(Protocol):
    """A shards folder, wherever it lies. Names are posix paths relative to it. All methods are called by many threads."""

    location: str  # for messages: as the user gave it, less passwords; the folder's path where it is local
    local: bool  # on a disk: a read costs no round trip

    @property
    def cache_mb(self) -> int | None:
        """Size of the cache its shards go through, None where none is in use. Of a web server known after `size`."""

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where only reading it all would tell. Raises FileNotFoundError, SourceError."""

    def read_all(self, name: str) -> bytes:
        """A small file, whole. Raises FileNotFoundError, SourceError."""

    def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
        """Exactly `size` bytes, in `into` where it is given, else valid until this thread reads again.

        Raises FileNotFoundError, ValueError where the file is shorter, SourceError.
        """

    def sha256(self, name: str) -> str:
        """Hex sha256 of a file, read in pieces, not from the cache. Raises FileNotFoundError, SourceError."""

    def close(self) -> None:
        """Frees connections and files. A read under way in another thread ends, at the latest at its next attempt."""


@dataclass(frozen=True)
class SourceOptions:
    """How to read from elsewhere."""

    allow_pipe: bool = False  # pipe: runs a command of the user's shell
    cache_dir: Path | None = None  # None: a folder of the user's own among the temporary files
    cache_mb: int = 20_000
    requests: int = 16  # at most in flight
    timeout_s: float = 30  # without a byte
    retries: int = 5


def open_source(location: str | Path, options: SourceOptions | None = None) -> Source:
    """The source that a path or URL names; nothing is read yet. Raises UserError naming the kinds there are."""
    text, options = str(location), options or SourceOptions()
    if not text.strip() or "\0" in text:
        raise UserError(f"{text!r} is not a place of shards; give {KNOWN}")
    if text.startswith("pipe:"):
        return _pipe(text, options)
    found = _URL.match(text)
    scheme = found["scheme"].lower() if found else ""
    if found is None or (scheme not in _SCHEMES and not found["slashes"]):
        return _local(Path(text))  # a colon in a folder's name, or a drive's letter
    if scheme not in _SCHEMES:
        raise UserError(f"{scheme}:// is not a place that shards can be read from; give {KNOWN}")
    if len(found["slashes"]) < 2:
        raise UserError(f"{text} looks like a URL without its //; give {scheme}://..., or ./{text} for a folder")
    return {"file": _file, "http": _http, "https": _http, "s3": _objects}[scheme](text, options)


# Imports are late: each kind needs its own library.


def _local(folder: Path) -> Source:
    from data_prep.shards.sources.local import LocalSource

    return LocalSource(folder)


def _file(url: str, _: SourceOptions) -> Source:
    from data_prep.shards.sources.local import folder_of

    return _local(folder_of(url))


def _http(url: str, options: SourceOptions) -> Source:
    from data_prep.shards.sources.cache_folder import CacheFolder
    from data_prep.shards.sources.http import HttpFiles, HttpSource

    retries = Retries(options.retries)
    files = HttpFiles(url, requests=options.requests, timeout_s=options.timeout_s)
    return HttpSource(files, CacheFolder(options.cache_dir, options.cache_mb), retries)


def _objects(url: str, options: SourceOptions) -> Source:
    from data_prep.shards.sources.objects import ObjectSource

    return ObjectSource(url, Retries(options.retries), requests=options.requests, timeout_s=options.timeout_s)


def _pipe(location: str, options: SourceOptions) -> Source:
    from data_prep.shards.sources.cache import CachedSource
    from data_prep.shards.sources.cache_folder import CacheFolder
    from data_prep.shards.sources.pipe import PipeFiles

    if not options.allow_pipe:
        raise UserError(
            f"{location} would run a command on this machine; set nowcast.data.allow_pipe=true if you trust it"
        )
    retries = Retries(options.retries)
    files = PipeFiles(location, timeout_s=options.timeout_s, check=retries.check)
    return CachedSource(files, CacheFolder(options.cache_dir, options.cache_mb), retries)
