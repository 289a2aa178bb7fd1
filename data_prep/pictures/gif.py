"""An animated GIF of drawn pages."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

FRAME_MS, REST_MS = 250, 2000  # how long each frame stands, and the last


def endless_gif(pages: Sequence[bytes]) -> bytes:
    """A GIF that shows the pages (PNG, all of one size) in turn without end and rests on the last.

    One palette for all, so that a colour of the colour bar is the same in every frame, and no dither, so that it stays
    small.
    """
    from PIL import Image

    images = [Image.open(io.BytesIO(page)).convert("RGB") for page in pages]
    counts = Counter[tuple[int, int, int]]()
    for image in (images[0], images[-1]):
        counts.update({colour: count for count, colour in image.getcolors(image.width * image.height)})  # type: ignore
    commonest: dict[tuple[int, int, int], tuple[int, int, int]] = {}
    for (red, green, blue), _ in counts.most_common():  # of colours that look alike the commonest: white stays white
        commonest.setdefault((red >> 3, green >> 3, blue >> 3), (red, green, blue))
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in list(commonest.values())[:256] for part in colour])
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    film = io.BytesIO()
    times_ms = [FRAME_MS] * (len(frames) - 1) + [REST_MS]
    frames[0].save(film, format="GIF", save_all=True, append_images=frames[1:], duration=times_ms, loop=0)
    return film.getvalue()
