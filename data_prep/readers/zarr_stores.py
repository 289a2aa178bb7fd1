"""The readers' door to zarr: stores opened wherever they lie, and their arrays checked before any of them is read.

folder, folder.zarr     with zarr.json (format 3) or .zgroup (format 2) in it
file.zip                a folder like that, zipped; also gzipped, in a tar, or a file object
http://, https://, s3://    by the sources that shards are read through; its metadata must be consolidated,
                        because a web server cannot be asked what a folder holds
"""

from __future__ import annotations

import asyncio
import re
import zipfile
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from data_prep.errors import RadarFileError
from data_prep.readers.files import RadarFile
from data_prep.readers.unpacking import MOST_BYTES
from data_prep.shards.sources import Source, open_source

MARKS = ("zarr.json", ".zgroup")  # of the root of a store
# Codecs that turn bytes into bytes or numbers; not pickle, nor those of objects and texts.
_NUMCODECS = (
    "blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma", "shuffle", "bitround", "delta", "fixedscaleoffset", "quantize",
    "astype", "packbits", "crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3", "pcodec", "zfpy",
)  # fmt: skip
CODECS = {"bytes", "transpose", "sharding_indexed", *_NUMCODECS, *(f"numcodecs.{name}" for name in _NUMCODECS)}
_URL = re.compile(r"(https?|s3):/+(?=[^/])", re.IGNORECASE)


def url_of(place: str | Path) -> str | None:
    """The URL that a source is, also where it went through a Path, which keeps one slash of two; None of local ones."""
    match = _URL.match(str(place))
    return f"{match[1].lower()}://{str(place)[match.end() :]}" if match else None


def open_group(file: RadarFile, resources: ExitStack) -> Any:
    """The root group (zarr.Group) of a store, for reading. resources: are closed when the group is no longer needed."""
    import zarr

    url = url_of(file.name)
    if url:
        source = open_source(url)
        resources.callback(source.close)
        store = _store(_Remote(source))
    elif Path(file.name).is_dir():
        store = zarr.storage.LocalStore(file.name, read_only=True)
    else:
        store = _store(_Zipped(file, resources.enter_context(zipfile.ZipFile(resources.enter_context(file.open())))))
    resources.callback(store.close)
    try:
        return zarr.open_group(store, mode="r")
    except FileNotFoundError as error:
        raise RadarFileError(url or file.name, f"is no Zarr store: it has no group ({' or '.join(MARKS)})") from error


def check_codecs(array: Any, name: str) -> None:
    """That nothing but known codecs of numbers would be run to read an array. Raises RadarFileError."""
    unknown = sorted(set(_codec_names(array.metadata.to_dict())) - CODECS)
    if unknown:
        raise RadarFileError(name, f"array {array.path!r} is stored with {', '.join(unknown)}, which is not read here")


def _codec_names(metadata: dict[str, Any]) -> Iterable[str]:
    if metadata.get("zarr_format") == 2:
        codecs = [metadata.get("compressor"), *(metadata.get("filters") or ())]
        yield from (_name(codec, "id") for codec in codecs if codec is not None)
        return
    pending = list(metadata.get("codecs", ()))
    while pending:
        codec = pending.pop()
        yield _name(codec, "name")
        inner = codec.get("configuration", {}) if isinstance(codec, dict) else {}
        pending += [*inner.get("codecs", ()), *inner.get("index_codecs", ())]


def _name(codec: Any, key: str) -> str:
    if not isinstance(codec, dict):
        return str(getattr(codec, "codec_id", type(codec).__name__))
    return str(codec.get(key))


class _Files(Protocol):
    """Files by name: what a store of our own is made from. names: None where they cannot be listed."""

    names: Iterable[str] | None

    def get(self, name: str) -> bytes | None:
        """A file, whole; None where it is not there."""

    def part(self, name: str, start: int, stop: int | None) -> bytes | None:
        """Bytes [start, stop) of a file, as a slice has them."""


class _Remote:
    """Files of a URL, read by ranges: a shard is many chunks."""

    names: Iterable[str] | None = None

    def __init__(self, source: Source) -> None:
        self._source = source

    def get(self, name: str) -> bytes | None:
        try:
            return self._source.read_all(name)
        except FileNotFoundError:
            return None

    def part(self, name: str, start: int, stop: int | None) -> bytes | None:
        try:
            if start >= 0 and stop is not None:
                return bytes(self._source.read(name, start, stop - start))
            size = self._source.size(name)
            if size is None:
                return self._source.read_all(name)[start:stop]
            inside = range(size)[start:stop]
            return bytes(self._source.read(name, inside.start, len(inside)))
        except FileNotFoundError:
            return None


class _Zipped:
    """Files in a zip, of a store that may have been zipped with the folder it lies in."""

    def __init__(self, file: RadarFile, archive: zipfile.ZipFile) -> None:
        self._name, self._archive = file.name, archive
        entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
        roots = [name for name in entries if name.rpartition("/")[2] in MARKS]
        folder, slash, _ = min(roots, key=len, default="").rpartition("/")
        self._entries = {
            name.removeprefix(folder + slash): entry
            for name, entry in entries.items()
            if name.startswith(folder + slash)
        }
        self.names: Iterable[str] | None = list(self._entries)

    def get(self, name: str) -> bytes | None:
        entry = self._entries.get(name)
        if entry is not None and entry.file_size > MOST_BYTES:
            raise RadarFileError(self._name, f"{entry.filename!r} declares more than {MOST_BYTES} bytes")
        return self._archive.read(entry) if entry is not None else None

    def part(self, name: str, start: int, stop: int | None) -> bytes | None:
        blob = self.get(name)
        return None if blob is None else blob[start:stop]


def _store(files: _Files) -> Any:
    """A zarr.abc.store.Store that reads those files; defined here because zarr is imported when it is used."""
    from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

    class ReadOnlyStore(Store):  # type: ignore[misc]
        supports_writes = supports_deletes = False
        supports_listing = files.names is not None

        def __eq__(self, other: object) -> bool:
            return self is other

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            match byte_range:
                case RangeByteRequest(start, end):
                    blob = await asyncio.to_thread(files.part, key, start, end)
                case OffsetByteRequest(offset):
                    blob = await asyncio.to_thread(files.part, key, offset, None)
                case SuffixByteRequest(suffix):
                    blob = await asyncio.to_thread(files.part, key, -suffix, None)
                case _:
                    blob = await asyncio.to_thread(files.get, key)
            return None if blob is None else prototype.buffer.from_bytes(blob)

        async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
            return [await self.get(key, prototype, part) for key, part in key_ranges]

        async def exists(self, key: str) -> bool:
            return await asyncio.to_thread(files.get, key) is not None

        async def list(self) -> AsyncIterator[str]:
            for name in files.names or ():
                yield name

        async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
            for name in files.names or ():
                if name.startswith(prefix):
                    yield name

        async def list_dir(self, prefix: str) -> AsyncIterator[str]:
            folder = f"{prefix.rstrip('/')}/" if prefix else ""
            below = (name.removeprefix(folder) for name in files.names or () if name.startswith(folder))
            for name in dict.fromkeys(name.partition("/")[0] for name in below):
                yield name

        async def set(self, key: str, value: Any) -> None:
            raise NotImplementedError

        async def delete(self, key: str) -> None:
            raise NotImplementedError

    return ReadOnlyStore(read_only=True)
