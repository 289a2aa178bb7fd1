"""Units in words become a rain rate, reflectivity or VIL, or stay unknown; numbers are scaled as exactly as can be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data_prep.readers.coding import Coding, Meaning, meaning_of


@pytest.mark.parametrize(
    ("words", "unit", "factor"),
    [
        ("mm/h", "mm/h", 1.0),
        ("mm h-1", "mm/h", 1.0),
        ("mm h^-1", "mm/h", 1.0),
        ("MM/HR", "mm/h", 1.0),
        ("0.01 mm/h", "mm/h", 0.01),
        ("mm/5min", "mm/h", 12.0),
        ("mm/day", "mm/h", 1 / 24),
        ("kg m**-2 s**-1", "mm/h", 3600.0),
        ("kg/(m^2 s)", "mm/h", 3600.0),
        ("dBZ", "dBZ", 1.0),
        ("kg m-2", "kg/m2", 1.0),
    ],
)
def test_a_unit_in_words_is_so_many_of_ours(words: str, unit: str, factor: float) -> None:
    found = meaning_of(words)
    assert found is not None and found.unit == unit and found.factor == pytest.approx(factor)


def test_a_sum_becomes_a_rate_by_its_interval() -> None:
    assert meaning_of("mm", 300) == Meaning("mm/h", 12.0, is_sum=True)
    assert meaning_of("0.01 mm", 300) == Meaning("mm/h", pytest.approx(0.12), is_sum=True)
    without = meaning_of("mm")
    assert without is not None and math.isnan(without.factor)


@pytest.mark.parametrize("words", ["", "m/s", "m", "%", "1", "mm/0min", "rain", "9" * 300 + "mm"])
def test_velocities_heights_and_the_unknown_are_no_rain(words: str) -> None:
    assert meaning_of(words) is None


def test_the_scale_of_floats_of_few_digits_keeps_its_own() -> None:
    stored = np.array([1500.0, 2000.0, 3.0], np.float16)
    values = Coding("mm/h", 0.0123456, 100.0, frozenset({1500.0}), frozenset({3.0})).values(stored)
    np.testing.assert_array_equal(values, np.array([np.nan, 124.6912, 0.0], np.float32))
    tiny = Coding("mm/h", 1e-9).values(np.array([1000.0], np.float16))
    np.testing.assert_array_equal(tiny, np.array([1e-6], np.float32))
