"""One tar sample: a sequence of code frames, compressed in chunks, and a JSON that says what it is.

`<key>.frames.zst` is in the seekable format of the zstd project (contrib/seekable_format, version 0.1.0): independent
zstd frames, then a skippable frame with their sizes. Any zstd decoder reads the whole; `unpack` reads a part.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from threading import local
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

FRAMES_MEMBER, META_MEMBER = "frames.zst", "json"
FRAMES_PER_CHUNK = 4  # a window of 25 at 0, 12 or 24 touches 28 frames at most
LEVEL = 3
_SKIPPABLE_MAGIC, _SEEKABLE_MAGIC = 0x184D2A5E, 0x8F92EAB1
_FOOTER = struct.Struct("<IBI")  # number of chunks, descriptor, magic
_HEAD, _ENTRY = struct.Struct("<II"), np.dtype([("compressed", "<u4"), ("raw", "<u4")])
_of_thread = local()  # its decompressor and its scratch memory


def pack(codes_THW: NDArray[Any], frames_per_chunk: int = FRAMES_PER_CHUNK, level: int = LEVEL) -> bytes:
    """Codes (T, H, W) as bytes, chunks of `frames_per_chunk` frames, each with a checksum of its content."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    parts, table = [], []
    for start in range(0, len(codes_THW), frames_per_chunk):
        raw = np.ascontiguousarray(codes_THW[start : start + frames_per_chunk]).tobytes()
        parts.append(compressor.compress(raw))
        table.append((len(parts[-1]), len(raw)))
    entries = np.array(table, _ENTRY).tobytes()
    footer = _FOOTER.pack(len(table), 0, _SEEKABLE_MAGIC)
    return b"".join(parts) + _HEAD.pack(_SKIPPABLE_MAGIC, len(entries) + len(footer)) + entries + footer


def unpack(
    blob: bytes,
    shape_THW: tuple[int, int, int],
    start: int,
    out_tHW: NDArray[Any],
    frames_per_chunk: int = FRAMES_PER_CHUNK,
) -> None:
    """Decodes frames [start, start + len(out_tHW)) of a member in memory; else as `unpack_from`."""
    whole = memoryview(blob)
    unpack_from(
        lambda offset, size: whole[offset : offset + size], len(blob), shape_THW, start, out_tHW, frames_per_chunk
    )


def unpack_from(
    read: Callable[[int, int], memoryview],
    length: int,
    shape_THW: tuple[int, int, int],
    start: int,
    out_tHW: NDArray[Any],
    frames_per_chunk: int = FRAMES_PER_CHUNK,
) -> None:
    """Decodes frames [start, start + len(out_tHW)) into `out_tHW` (C-contiguous codes); releases the GIL.

    `read(offset, size)` gives bytes of the member of `length` bytes, which need to last until it is called again; it is
    asked for the seek table and then, at once, for the chunks of those frames alone.
    Raises ValueError when the member is not `shape_THW` codes of out's dtype in such chunks, or a checksum fails; then
    `out_tHW` may hold anything.
    """
    frames, rows, columns = shape_THW
    stop = start + len(out_tHW)
    assert 0 <= start < stop <= frames and out_tHW.flags.c_contiguous and out_tHW.shape[1:] == (rows, columns)
    frame_bytes = rows * columns * out_tHW.itemsize
    ends = _chunk_ends(read, length, frames, frames_per_chunk, frame_bytes)
    chunks = range(start // frames_per_chunk, -(-stop // frames_per_chunk))
    base = ends[chunks.start]
    packed = read(base, ends[chunks.stop] - base)
    out = memoryview(out_tHW.reshape(-1).view(np.uint8).data)
    for chunk in chunks:
        part = packed[ends[chunk] - base : ends[chunk + 1] - base]
        first, last = chunk * frames_per_chunk, min(frames, (chunk + 1) * frames_per_chunk)
        begin, end = max(start, first), min(stop, last)
        piece = out[(begin - start) * frame_bytes : (end - start) * frame_bytes]
        if (begin, end) == (first, last):
            _decompress(part, piece)
        else:  # the checksum covers the whole chunk, so the whole is decoded
            whole = _scratch((last - first) * frame_bytes)
            _decompress(part, whole)
            piece[:] = whole[(begin - first) * frame_bytes : (end - first) * frame_bytes]


def _decompress(chunk: memoryview, out: memoryview) -> None:
    """Fills `out`, without a copy in between. Raises ValueError when the chunk does not fill just that, or is damaged."""
    if not hasattr(_of_thread, "zstd"):
        _of_thread.zstd = zstandard.ZstdDecompressor()  # not thread-safe: one per thread
    try:
        if zstandard.frame_content_size(chunk) != len(out):
            raise ValueError("a chunk is not of the size that its shape needs")
        if _of_thread.zstd.stream_reader(chunk).readinto(out) != len(out):
            raise ValueError("damaged chunk (it ends too early)")
    except zstandard.ZstdError as error:
        raise ValueError(f"damaged chunk ({error})") from None


def _scratch(size: int) -> memoryview:
    """Memory of this thread, the same at each call: fresh pages would cost more than what is written to them."""
    if len(getattr(_of_thread, "scratch", b"")) < size:
        _of_thread.scratch = memoryview(bytearray(size))
    scratch: memoryview = _of_thread.scratch
    return scratch[:size]


@lru_cache(maxsize=8)
def _expected_raw(frames: int, frames_per_chunk: int, frame_bytes: int) -> NDArray[np.int64]:
    starts = np.arange(0, frames, frames_per_chunk)
    return np.minimum(frames_per_chunk, frames - starts) * frame_bytes


def _chunk_ends(
    read: Callable[[int, int], memoryview], length: int, frames: int, frames_per_chunk: int, frame_bytes: int
) -> list[int]:
    """[0, end of chunk 0, end of chunk 1, ...] from the seek table; ValueError when it is not one of such frames."""
    count = -(-frames // frames_per_chunk)
    size = count * _ENTRY.itemsize + _FOOTER.size
    if length < size + _HEAD.size:
        raise ValueError(f"{length} bytes are too few for {count} chunks")
    tail = read(length - size, size)
    if _FOOTER.unpack(tail[-_FOOTER.size :]) != (count, 0, _SEEKABLE_MAGIC):
        raise ValueError(f"no seek table of {count} chunks at the end")
    table = np.frombuffer(tail, _ENTRY, count)
    ends = [0, *np.cumsum(table["compressed"], dtype=np.int64).tolist()]
    if not np.array_equal(table["raw"], _expected_raw(frames, frames_per_chunk, frame_bytes)):
        raise ValueError(f"chunks do not hold {frames} frames of {frame_bytes} bytes")
    if ends[-1] + _HEAD.size + size != length:
        raise ValueError("the seek table does not match the bytes before it")
    return ends
