from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.encoding import ENCODINGS
from data_prep.float_table import FloatTable

CASES = [(name, unit) for name, codes in ENCODINGS.items() for unit in (*codes.units, "code")]


def around(numbers: NDArray[np.float64]) -> NDArray[np.float32]:
    """The float32 nearest to each, and some on both sides."""
    bits = numbers.astype(np.float32).view(np.int32)
    near = (bits[:, None] + np.arange(-3, 4, dtype=np.int32)).reshape(-1).view(np.float32)
    return np.concatenate([near, -near])


@pytest.mark.parametrize(("name", "unit"), CASES)
def test_encoding_by_the_table_is_encoding_by_search(name: str, unit: str) -> None:
    codes = ENCODINGS[name]
    table = codes._values(unit)
    any_bits = np.random.default_rng(0).integers(0, 1 << 32, 300_000, dtype=np.uint32).view(np.float32)  # NaNs too
    edges = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    values = np.concatenate(
        [
            any_bits,
            around((table[1:] + table[:-1]) / 2),
            around(table),
            edges.view(np.float32),
            (edges - np.uint32(1)).view(np.float32),
        ]
    )
    np.testing.assert_array_equal(codes.encode(values, unit), codes._searched(values, unit))
    assert codes._fast[unit].exact


def test_a_picture_keeps_its_shape_and_may_be_a_view() -> None:
    codes = ENCODINGS["dbz8"]
    picture = np.random.default_rng(0).gamma(0.3, 4.0, (400, 501)).astype(np.float32)
    for part in (picture, picture[::-1, 1::2]):
        np.testing.assert_array_equal(codes.encode(part, "mm/h"), codes._searched(part, "mm/h"))


@settings(max_examples=25, derandomize=True, database=None, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=6))
def test_a_table_that_says_it_is_exact_is_so_for_any_bounds(bounds: list[float]) -> None:
    ascending = np.sort(np.array(bounds, np.float64))

    def of(values: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.where(
            np.isnan(values), 255, np.searchsorted(ascending, np.nan_to_num(values, posinf=np.inf, neginf=-np.inf))
        ).astype(np.uint8)

    table, values = FloatTable(of), around(ascending)
    if table.exact:
        np.testing.assert_array_equal(table(values), of(values))


def test_two_bounds_too_close_together_are_not_exact() -> None:
    def of(values: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.searchsorted(np.array([1.001, 1.002]), np.nan_to_num(values)).astype(np.uint8)

    assert not FloatTable(of).exact
