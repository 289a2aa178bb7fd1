"""One tar sample: a sequence of code frames, compressed in chunks, and a JSON that says what it is.

`<key>.frames.lz4` (or `.zst`, `.raw`) is chunks of a few frames laid end to end, then a table of their sizes. The table is that
of the zstd project's seekable format (contrib/seekable_format, version 0.1.0), in a skippable frame, which LZ4's format
shares: any lz4 or zstd tool reads the whole, `Packing` reads a part.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from threading import local
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.shards.codecs import Codec, checksum, codec_named

META_MEMBER = "json"
_CHUNK_BYTES, _CHUNK_FRAMES = 2**17, 4  # at most so many frames, so that a window of 25 decodes 28 at most
_SKIPPABLE_MAGIC, _SEEKABLE_MAGIC = 0x184D2A5E, 0x8F92EAB1
_FOOTER = struct.Struct("<IBI")  # number of chunks, descriptor, magic
_HEAD, _CHECKSUMS = struct.Struct("<II"), 0x80  # descriptor: the table has a checksum of each chunk
_ENTRY = np.dtype([("compressed", "<u4"), ("raw", "<u4")])
_CHECKED_ENTRY = np.dtype([*_ENTRY.descr, ("checksum", "<u4")])
_of_thread = local()  # its scratch memory


class Table(NamedTuple):
    """Where the chunks of one member lie: [0, end of chunk 0, end of chunk 1, ...], and their checksums if it has them."""

    ends: list[int]
    checksums: list[int] | None


def frames_per_chunk(frame_bytes: int, codec: str) -> int:
    """How many frames a chunk holds: large images one, for a part then costs no more than its own frames."""
    return 1 if codec_named(codec).stored else min(max(_CHUNK_BYTES // frame_bytes, 1), _CHUNK_FRAMES)


@dataclass(frozen=True)
class Packing:
    """How the sequences of a shards folder are stored. codec: its name."""

    codec: str
    shape_THW: tuple[int, int, int]
    dtype: np.dtype[Any]
    frames_per_chunk: int

    @cached_property
    def _codec(self) -> Codec:
        return codec_named(self.codec)

    @property
    def form(self) -> str:
        """What the index calls the codec: packers of one form are read alike."""
        return self._codec.form

    @property
    def member(self) -> str:
        """The extension of a sample's frames in a tar."""
        return self._codec.member

    @cached_property
    def frame_bytes(self) -> int:
        """Of one frame of codes."""
        return math.prod(self.shape_THW[1:]) * self.dtype.itemsize

    @cached_property
    def chunks(self) -> int:
        """Of one sequence."""
        return -(-self.shape_THW[0] // self.frames_per_chunk)

    @cached_property
    def table_bytes(self) -> int:
        """How many bytes at the end of a member `table` needs."""
        return self.chunks * self._entry.itemsize + _FOOTER.size

    @property
    def _entry(self) -> np.dtype[Any]:
        return _CHECKED_ENTRY if self._codec.stored else _ENTRY

    @property
    def _descriptor(self) -> int:
        return _CHECKSUMS if self._codec.stored else 0

    def pack(self, codes_THW: NDArray[Any]) -> bytes:
        """A sequence as the bytes of its member."""
        packer = Packer(self)
        for codes_HW in codes_THW:
            packer.add(codes_HW)
        return b"".join(packer.finish())

    def chunk(self, frames: list[NDArray[Any]]) -> tuple[bytes, tuple[int, ...]]:
        """Some frames compressed, and their entry in the table."""
        [first, *others] = (_bytes_of(np.ascontiguousarray(frame)) for frame in frames)
        raw = b"".join([first, *others]) if others else first
        compressed = self._codec.compress(raw)
        return compressed, (len(compressed), len(raw), *([checksum(raw)] if self._codec.stored else []))

    def ending(self, table: list[tuple[int, ...]]) -> bytes:
        """What follows the chunks."""
        entries = np.array(table, self._entry).tobytes()
        footer = _FOOTER.pack(len(table), self._descriptor, _SEEKABLE_MAGIC)
        return _HEAD.pack(_SKIPPABLE_MAGIC, len(entries) + len(footer)) + entries + footer

    def table(self, tail: memoryview | bytes, length: int) -> Table:
        """From the last `table_bytes` of a member of `length` bytes.

        Raises ValueError where it is not a table of such chunks, or does not fit the length.
        """
        if length < self.table_bytes + _HEAD.size or len(tail) != self.table_bytes:
            raise ValueError(f"{length} bytes are too few for {self.chunks} chunks")
        if _FOOTER.unpack(tail[-_FOOTER.size :]) != (self.chunks, self._descriptor, _SEEKABLE_MAGIC):
            raise ValueError(f"no seek table of {self.chunks} chunks at the end")
        table = np.frombuffer(tail, self._entry, self.chunks)
        if not np.array_equal(table["raw"], self._raw_sizes):
            raise ValueError(f"chunks do not hold {self.shape_THW[0]} frames of {self.frame_bytes} bytes")
        ends = [0, *accumulate(table["compressed"].tolist())]
        if ends[-1] + _HEAD.size + self.table_bytes != length:
            raise ValueError("the seek table does not match the bytes before it")
        return Table(ends, table["checksum"].tolist() if self._codec.stored else None)

    @cached_property
    def _raw_sizes(self) -> NDArray[np.int64]:
        starts = np.arange(0, self.shape_THW[0], self.frames_per_chunk)
        return np.minimum(self.frames_per_chunk, self.shape_THW[0] - starts) * self.frame_bytes

    def chunks_of(self, start: int, stop: int) -> range:
        """The chunks that hold frames [start, stop)."""
        return range(start // self.frames_per_chunk, -(-stop // self.frames_per_chunk))

    @property
    def direct(self) -> bool:
        """Whether frames are read straight to their place, by `read_into`, and need no decoding."""
        return self._codec.stored and self.frames_per_chunk == 1

    def read_into(
        self,
        read: Callable[[int, memoryview], object],
        table: Table,
        start: int,
        out_tHW: NDArray[Any],
        *,
        at_once: bool,
    ) -> None:
        """Reads frames of a `direct` packing. read(offset in the member, memory to fill).

        at_once: in one call; else frame by frame, which are then still in the processor's cache to be checked. Raises
        ValueError where they are damaged.
        """
        out, size = _bytes_of(out_tHW), self.frame_bytes
        assert self.direct and table.checksums is not None
        if at_once:
            read(table.ends[start], out)
        for number in range(len(out_tHW)):
            frame = out[number * size : (number + 1) * size]
            if not at_once:
                read(table.ends[start + number], frame)
            _check(frame, table.checksums[start + number])

    def decode(self, packed: memoryview, table: Table, start: int, out_tHW: NDArray[Any]) -> None:
        """Decodes frames [start, start + len(out_tHW)) into `out_tHW` (C-contiguous); releases the GIL.

        packed: the bytes of `chunks_of` those frames. Raises ValueError where they are damaged; then `out_tHW` may hold
        anything.
        """
        stop, per_chunk, size = start + len(out_tHW), self.frames_per_chunk, self.frame_bytes
        assert 0 <= start < stop <= self.shape_THW[0] and out_tHW.shape[1:] == self.shape_THW[1:]
        assert out_tHW.dtype == self.dtype
        out, chunks, ends = _bytes_of(out_tHW), self.chunks_of(start, stop), table.ends
        base = ends[chunks.start]
        if table.checksums is not None:
            for chunk in chunks:
                _check(packed[ends[chunk] - base : ends[chunk + 1] - base], table.checksums[chunk])
        whole = range(-(-start // per_chunk), stop // per_chunk if stop < self.shape_THW[0] else self.chunks)
        if whole:  # chunks that are wanted whole go straight to their place, in one call
            first, last = whole[0] * per_chunk, min((whole[-1] + 1) * per_chunk, self.shape_THW[0])
            span = packed[ends[whole[0]] - base : ends[whole[-1] + 1] - base]
            self._codec.decompress(span, out[(first - start) * size : (last - start) * size])
        for chunk in chunks:
            if chunk not in whole:
                self._decode_part(packed[ends[chunk] - base : ends[chunk + 1] - base], chunk, start, stop, out)

    def _decode_part(self, packed: memoryview, chunk: int, start: int, stop: int, out: memoryview) -> None:
        """The wanted frames of one chunk: its checksum covers all, so the whole is decoded aside."""
        size, first = self.frame_bytes, chunk * self.frames_per_chunk
        last = min(self.shape_THW[0], first + self.frames_per_chunk)
        begin, end = max(start, first), min(stop, last)
        whole = _scratch((last - first) * size)
        self._codec.decompress(packed, whole)
        out[(begin - start) * size : (end - start) * size] = whole[(begin - first) * size : (end - first) * size]

    def unpack(self, blob: bytes | memoryview, start: int, out_tHW: NDArray[Any]) -> None:
        """Decodes frames [start, start + len(out_tHW)) of a member in memory. Raises ValueError where it is damaged."""
        whole = memoryview(blob)
        table = self.table(whole[-self.table_bytes :], len(whole))
        chunks = self.chunks_of(start, start + len(out_tHW))
        self.decode(whole[table.ends[chunks.start] : table.ends[chunks.stop]], table, start, out_tHW)


class Packer:
    """Packs a sequence frame by frame: what it holds is compressed but for the last few frames."""

    def __init__(self, packing: Packing) -> None:
        self._packing = packing
        self._waiting: list[NDArray[Any]] = []
        self._chunks: list[bytes] = []
        self._table: list[tuple[int, ...]] = []

    def add(self, codes_HW: NDArray[Any]) -> None:
        """The next frame, which is copied where it must wait for others."""
        per_chunk = self._packing.frames_per_chunk
        self._waiting.append(codes_HW.copy() if per_chunk > 1 else codes_HW)
        if len(self._waiting) == per_chunk:
            self._compress()

    def finish(self) -> list[bytes]:
        """The sequence as the bytes of its member, in parts that follow each other."""
        if self._waiting:
            self._compress()
        return [*self._chunks, self._packing.ending(self._table)]

    def _compress(self) -> None:
        compressed, entry = self._packing.chunk(self._waiting)
        self._chunks.append(compressed)
        self._table.append(entry)
        self._waiting.clear()


def _bytes_of(codes: NDArray[Any]) -> memoryview:
    assert codes.flags.c_contiguous
    return memoryview(codes.reshape(-1).view(np.uint8).data)


def _check(chunk: memoryview, expected: int) -> None:
    if checksum(chunk) != expected:
        raise ValueError("damaged chunk (its checksum is not the one in the table)")


def _scratch(size: int) -> memoryview:
    """Memory of this thread, the same at each call: fresh pages would cost more than what is written to them."""
    if len(getattr(_of_thread, "scratch", b"")) < size:
        _of_thread.scratch = memoryview(bytearray(size))
    scratch: memoryview = _of_thread.scratch
    return scratch[:size]
