from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from data_prep.encoding import ENCODINGS
from data_prep.shards.tally import CodeTally, Counter, code_histogram, tally_of


def test_a_histogram_of_wide_codes_is_by_their_high_byte() -> None:
    narrow = np.array([[0, 255], [255, 3]], np.uint8)
    counts = code_histogram(narrow)
    assert counts.shape == (256,) and (counts[0], counts[3], counts[255]) == (1, 1, 2)
    np.testing.assert_array_equal(code_histogram(narrow.astype(np.uint16) * 256 + 17), counts)


def test_a_histogram_counts_every_code_of_any_size_and_layout() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (3, 5, 7)).astype(np.uint8)
    for part in (codes, codes[:2], codes[:, ::-1, 1::2], codes[:0], codes[0, 0, :1]):
        np.testing.assert_array_equal(code_histogram(part), np.bincount(part.reshape(-1), minlength=256))


@pytest.mark.parametrize("codes", [(0,), (255,), (0, 255), (0, 1), (254, 255), range(256)])
@pytest.mark.parametrize("size", [7, 8, 70_001, (1 << 18) + 9, 3 << 18])
def test_a_histogram_counts_runs_of_nothing_and_of_missing_among_others(codes: Sequence[int], size: int) -> None:
    draw = np.random.default_rng(size)
    flat = np.repeat(draw.choice(codes, size), draw.integers(1, 40, size))[:size].astype(np.uint8)
    np.testing.assert_array_equal(code_histogram(flat), np.bincount(flat, minlength=256))


def test_counts_frame_by_frame_are_the_counts_of_all() -> None:
    codes_THW = np.random.default_rng(0).integers(0, 256, (6, 9, 9)).astype(np.uint8)
    counter, parts = Counter(ENCODINGS["vil255"]), CodeTally()
    for codes_HW in codes_THW:
        counter.add(codes_HW)
        parts.add(tally_of(codes_HW, ENCODINGS["vil255"]))
    assert counter.tally == parts == tally_of(codes_THW, ENCODINGS["vil255"])
    assert parts.missing == np.sum(codes_THW == 255) and parts.wet == np.sum((codes_THW >= 16) & (codes_THW < 255))
    assert (parts.pixels, parts.missing_share) == (6 * 81, pytest.approx(parts.missing / 486, abs=1e-6))
