"""How chunks of frames are compressed: the one door to the libraries that do it.

A chunk is one frame in its codec's standard form, with a checksum; chunks laid end to end are what any tool of that
codec reads. docs/performance.md has the measurements that chose between them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from data_prep.errors import UserError

_of_thread = threading.local()  # its zstd decompressor: they are not thread-safe


@dataclass(frozen=True)
class Codec:
    """One way to compress.

    form: what reads it, "lz4", "zstd" or "raw"; stands in the index and ends the member's name. what: for --help.
    compress: one chunk. decompress: consecutive chunks into memory that they must fill; releases the GIL, and raises
    ValueError where they are damaged or of another size. stored: chunks are the codes themselves; without a form of its own
    to hold them, their checksums stand in the table of chunks.
    """

    name: str
    form: str
    what: str
    compress: Callable[[memoryview | bytes], bytes]
    decompress: Callable[[memoryview, memoryview], None]
    stored: bool = False

    @property
    def member(self) -> str:
        """The extension of a sample's frames in a tar."""
        return f"frames.{'zst' if self.form == 'zstd' else self.form}"


def codec_named(name: str) -> Codec:
    """The codec of that name, or of that form. Raises UserError naming those there are."""
    if name not in CODECS:
        raise UserError(f"codec {name!r} is not known; choose one of {', '.join(CODECS)}")
    return CODECS[name]


def _lz4(level: int) -> Callable[[memoryview | bytes], bytes]:
    def compress(raw: memoryview | bytes) -> bytes:
        import lz4.frame  # late: a trainer only reads

        # blocks that are checked before they are decoded: on a quarter of the bytes that a checksum of the content needs
        compressed: bytes = lz4.frame.compress(
            raw, compression_level=level, block_size=_lz4_block(len(raw)), block_linked=False, block_checksum=True,
            content_checksum=False, store_size=True,
        )  # fmt: skip
        return compressed

    return compress


def _lz4_block(size: int) -> int:
    """The smallest of LZ4's block sizes that holds a chunk, by its number in the format: 64 KB, 256 KB, 1 MB, 4 MB."""
    return next((number for number, most in ((4, 2**16), (5, 2**18), (6, 2**20)) if size <= most), 7)


def _lz4_into(chunks: memoryview, out: memoryview) -> None:
    import cramjam

    try:
        written = cramjam.lz4.decompress_into(chunks, out)
    except cramjam.DecompressionError as error:
        raise ValueError(f"damaged chunk ({error})") from None
    if written != len(out):
        raise ValueError(f"a chunk is not of the size that its shape needs ({len(out)} bytes, it has {written})")


def _zstd(level: int) -> Callable[[memoryview | bytes], bytes]:
    def compress(raw: memoryview | bytes) -> bytes:
        import zstandard

        return zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True).compress(raw)

    return compress


def _zstd_into(chunks: memoryview, out: memoryview) -> None:
    import zstandard

    if not hasattr(_of_thread, "zstd"):
        _of_thread.zstd = zstandard.ZstdDecompressor()
    try:
        reader = _of_thread.zstd.stream_reader(chunks, read_across_frames=True)
        written = 0
        while written < len(out) and (more := reader.readinto(out[written:])):
            written += more
        if written != len(out) or reader.read(1):
            raise ValueError(f"a chunk is not of the size that its shape needs ({len(out)} bytes)")
    except zstandard.ZstdError as error:
        raise ValueError(f"damaged chunk ({error})") from None


def _copy_into(chunks: memoryview, out: memoryview) -> None:
    if len(chunks) != len(out):
        raise ValueError(f"a chunk is not of the size that its shape needs ({len(out)} bytes, it has {len(chunks)})")
    out[:] = chunks


def checksum(chunk: memoryview | bytes) -> int:
    """The low 32 bits of XXH64, as zstd's seekable format has it for its table."""
    import xxhash

    return int(xxhash.xxh64_intdigest(chunk)) & 0xFFFFFFFF


_ALL = (
    Codec("lz4", "lz4", "quick to pack and to read", _lz4(0), _lz4_into),
    Codec("lz4hc", "lz4", "smaller and quicker to read, slower to pack", _lz4(3), _lz4_into),
    Codec("zstd", "zstd", "smallest, half as quick to read", _zstd(3), _zstd_into),
    Codec("raw", "raw", "not compressed: quickest where all lies in memory", bytes, _copy_into, stored=True),
)
CODECS = {codec.name: codec for codec in _ALL}
DEFAULT = "lz4"
