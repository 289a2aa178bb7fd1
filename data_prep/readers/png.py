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
_DEPTHS = {
    (1, 0): 1,
    (2, 0): 2,
    (4, 0): 4,
    (8, 0): 8,
    (16, 0): 16,
    (8, 2): 24,
    (8, 6): 32,
}  # by (bit depth, colour type)
_SPREAD = {2: 85, 4: 17}  # Pillow makes these depths fill 8 bits
_STRIP_ROWS = 100  # what Pillow copies at a time: a whole picture would be twice in memory


class PngError(ValueError):
    """A PNG that is damaged or not of the size and depth that it should have."""


def samples(png: bytes, count: int, bits: int) -> NDArray[Any]:
    """The pixels of a PNG in their order, (count,), unsigned integers of at least `bits`.

    bits: of a pixel; 24 and 32 are the channels of a colour, the first the highest. Raises PngError before anything is
    allocated where the PNG declares another number of pixels or depth.
    """
    from PIL import PngImagePlugin

    header, body = _header_and_body(png)
    width, height, depth, colour = struct.unpack_from(">IIBB", header)
    if width * height != count or _DEPTHS.get((depth, colour)) != bits:
        what = f"{width} x {height} pixels of bit depth {depth} and colour type {colour}"
        raise PngError(f"its PNG has {what}, expected {count} pixels of {bits} bits")
    try:
        image = PngImagePlugin.PngImageFile(
            io.BytesIO(body)
        )  # not Image.open: its limit on pixels is the whole process's
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PngError(f"its PNG cannot be decoded ({error})") from error
    dtype = {8: np.uint8, 16: np.uint16}[max(bits, 8)] if bits <= 16 else np.dtype((np.uint8, bits // 8))
    pixels = np.empty((height, width), dtype)
    for row in range(0, height, _STRIP_ROWS):
        strip = image.crop((0, row, width, min(row + _STRIP_ROWS, height)))
        pixels[row : row + _STRIP_ROWS] = np.asarray(strip)
    if bits in _SPREAD:
        pixels //= _SPREAD[bits]
    return _joined(pixels).reshape(-1)


def _joined(pixels: NDArray[Any]) -> NDArray[Any]:
    """(rows, columns) of (rows, columns, channels), the first channel the highest byte."""
    if pixels.ndim == 2:
        return pixels
    joined = np.zeros(pixels.shape[:2], np.uint32)
    for channel in range(pixels.shape[2]):
        joined <<= 8
        joined |= pixels[..., channel]
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
