"""Pictures in 256 colours: smaller, and a colour that matters is as it was."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.pictures.colours import colour_scale
from data_prep.pictures.indexed import indexed_png

Image = pytest.importorskip("PIL.Image")


def read(png: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "P"
        pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
    return pixels


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_few_different_colours_stay_as_they_are(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    some = rng.permutation(16**3)[:256]
    colours = (np.stack([some >> 8, some >> 4 & 15, some & 15], -1) * 16).astype(np.uint8)
    pixels_HWC = colours[rng.integers(0, len(colours), (height, width))]
    np.testing.assert_array_equal(read(indexed_png(pixels_HWC)), pixels_HWC)


def test_of_many_colours_the_common_are_exact_and_the_others_near() -> None:
    rng = np.random.default_rng(0)
    pixels_HWC = rng.integers(0, 256, (200, 200, 3)).astype(np.uint8)
    scale = np.array([list(bytes.fromhex(colour[1:])) for colour in colour_scale("mm/h").colours], np.uint8)
    pixels_HWC[:20] = scale[rng.integers(0, len(scale), (20, 200))]
    shown_HWC = read(indexed_png(pixels_HWC))
    np.testing.assert_array_equal(shown_HWC[:20], pixels_HWC[:20])
    off = np.abs(shown_HWC.astype(int) - pixels_HWC).max(-1)
    assert off.mean() < 40 and len(np.unique(shown_HWC.reshape(-1, 3), axis=0)) <= 256
