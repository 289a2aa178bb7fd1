"""Where the bytes of a shards folder come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Source(Protocol):
    """A shards folder, wherever it lies. Used from many threads."""

    location: str
    local: bool

    def size(self, name: str) -> int | None:
        """Bytes of a file. Raises FileNotFoundError."""

    def read_all(self, name: str) -> bytes:
        """A small file."""

    def read(self, name: str, offset: int, size: int) -> memoryview:
        """Bytes of a file, valid until this thread reads again. Raises OSError or ValueError."""

    def sha256(self, name: str) -> str:
        """Hash of the whole file."""

    def close(self) -> None:
        """Frees what it holds."""


@dataclass(frozen=True)
class SourceOptions:
    """How to read."""

    allow_pipe: bool = False
    cache_dir: Path | None = None
    cache_mb: int = 20_000
    requests: int = 16
    timeout_s: float = 30
    retries: int = 5


def open_source(location: str | Path, options: SourceOptions | None = None) -> Source:
    """The source at a place."""
    from data_prep.shards.sources.local import LocalSource

    return LocalSource(location)
