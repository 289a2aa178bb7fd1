"""The readers' door to Pillow: the samples of a PNG that must be of a known size and depth.

Nothing but the picture reaches Pillow: a PNG is put together again from its header and picture chunks, after their sizes
and checksums were found right (PNG specification, third edition, 5.3 and 11.2).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# by (bit depth, colour type)
_DEPTHS = {(1, 0): 1, (2, 0): 2, (4, 0): 4, (8, 0): 8, (16, 0): 16, (8, 2): 24, (8, 6): 32}
_SPREAD = {2: 85, 4: 17}  # Pillow makes these depths fill 8 bits
_STRIP_ROWS = 100  # what Pillow copies at a time: a whole picture would be twice in memory


class PngError(ValueError):
    """A PNG that is damaged or not of the size and depth that it should have."""


def samples(png: bytes, count: int, bits: int) -> NDArray[Any]:
    """The pixels of a PNG in their order, (count,), unsigned integers of `bits`.

    bits: of a pixel, or that number rounded up to whole bytes; more than 16 are the channels of a colour, the first the
    highest. Raises PngError, before anything is allocated, where the PNG declares another number of pixels or depth.
    """
    from PIL import PngImagePlugin

    header, body = _header_and_body(png)
    width, height, bit_depth, colour = struct.unpack_from(">IIBB", header)
    depth = _DEPTHS.get((bit_depth, colour))
    if width * height != count or depth not in (bits, -(-bits // 8) * 8):
        what = f"{width} x {height} pixels of bit depth {bit_depth} and colour type {colour}"
        raise PngError(f"its PNG has {what}, expected {count} pixels of {bits} bits")
    try:
        # not Image.open: its limit on pixels is the whole process's
        image = PngImagePlugin.PngImageFile(io.BytesIO(body))
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PngError(f"its PNG cannot be decoded ({error})") from error
    pixels: NDArray[Any] = np.empty((height, width), np.min_scalar_type((1 << depth) - 1))
    for row in range(0, height, _STRIP_ROWS):
        strip = np.asarray(image.crop((0, row, width, min(row + _STRIP_ROWS, height))))
        pixels[row : row + _STRIP_ROWS] = strip if strip.ndim == 2 else _joined(strip)
    if depth in _SPREAD:
        pixels //= _SPREAD[depth]
    return pixels.reshape(-1)


def _joined(strip: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(rows, columns) of (rows, columns, channels), the first channel the highest byte."""
    joined: NDArray[np.uint32] = np.zeros(strip.shape[:2], np.uint32)
    for channel in range(strip.shape[2]):
        joined = (joined << np.uint32(8)) | strip[..., channel]
    return joined


def _header_and_body(png: bytes) -> tuple[bytes, bytes]:
    """What the header chunk holds, and the PNG without all that is not header or picture."""
    parts, header = [_SIGNATURE], b""
    for kind, chunk in _chunks(png):
        if not header:
            if kind != b"IHDR" or len(chunk) != 25:
                raise PngError("its PNG does not begin with a header")
            header = chunk[8:-4]
        elif kind == b"IHDR":
            raise PngError("its PNG has two headers")
        if kind in (b"IHDR", b"IDAT", b"IEND"):
            parts.append(chunk)
    return header, b"".join(parts)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, whole chunk) up to the last."""
    if png[: len(_SIGNATURE)] != _SIGNATURE:
        raise PngError("its data section holds no PNG")
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(png[at : at + 4], "big")
        chunk, kind = png[at : at + 12 + length], png[at + 4 : at + 8]
        if len(chunk) != 12 + length or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise PngError(f"its PNG is damaged at byte {at}")
        yield kind, chunk
        at += 12 + length
