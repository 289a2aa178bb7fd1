"""PNG with a palette: pictures of fields have few colours that matter, and take a third of the bytes that way."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

_MOST = 256  # colours of a palette


def indexed_png(pixels_HWC: NDArray[np.uint8]) -> bytes:
    """A PNG of red, green and blue pixels. Of colours that look alike the commonest stands for all.

    The 256 commonest that look different are exact; the rest, blends where a picture was scaled, become the nearest.
    """
    from PIL import Image  # matplotlib's own

    height, width = pixels_HWC.shape[:2]
    red, green, blue = np.moveaxis(pixels_HWC.astype(np.uint32), -1, 0)
    colours, which, counts = np.unique(red << 16 | green << 8 | blue, return_inverse=True, return_counts=True)
    channels = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.int32)
    commonest = np.argsort(-counts, kind="stable")
    alike = (channels[commonest] >> 4) @ np.array([256, 16, 1])
    _, first = np.unique(alike, return_index=True)
    palette = channels[commonest[np.sort(first)[:_MOST]]]
    picture = Image.fromarray(_nearest(channels, palette)[which].reshape(height, width))
    picture.putpalette(palette.astype(np.uint8).tobytes())
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()


def _nearest(colours: NDArray[np.int32], palette: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Places in the palette, (colours,); |a - b|² less |a|², which is the same for all b."""
    lengths = np.square(palette).sum(-1)
    pieces = [
        (lengths - 2.0 * (piece @ palette.T)).argmin(-1) for piece in np.array_split(colours.astype(np.float64), 1 + len(colours) // 4096)
    ]  # fmt: skip
    return np.concatenate(pieces).astype(np.uint8)
