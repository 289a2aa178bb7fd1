"""An MP4 film of drawn pages; the one door to PyAV (extra `video`)."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from data_prep.errors import not_installed
from data_prep.pictures.gif import FRAME_MS, REST_MS


def mp4_film(pages: Sequence[bytes]) -> bytes:
    """A film (H.264) that shows the pages (PNG, all of one size) in turn and rests on the last; browsers and phones play it.

    They want colours at half resolution (yuv420p), so sides are even: a white row or column is added where one is odd.
    What says where the pictures lie stands at the file's beginning, so that a film begins before all of it has come.
    Raises UserError where PyAV is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as missing:
        raise not_installed("an MP4 film", "av", "video") from missing
    from PIL import Image

    images = [Image.open(io.BytesIO(page)).convert("RGB") for page in pages]
    size = images[0].width + images[0].width % 2, images[0].height + images[0].height % 2
    with tempfile.TemporaryDirectory() as folder:  # what is put at the beginning is known at the end
        film = Path(folder, "film.mp4")
        with av.open(film, "w", options={"movflags": "faststart"}) as container:
            stream = container.add_stream("libx264", rate=Fraction(1000, FRAME_MS), options={"crf": "18"})
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for image in (*images, *[images[-1]] * (REST_MS // FRAME_MS - 1)):
                page = Image.new("RGB", size, "white")
                page.paste(image)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(page), format="rgb24")))
            container.mux(stream.encode())
        return film.read_bytes()
